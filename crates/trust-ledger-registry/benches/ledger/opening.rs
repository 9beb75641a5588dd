//! What the disk and the key cost before anything else does.

use std::io::{Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use openssl::hash::MessageDigest;

use crate::{KEY, config, report};

/// Median time to make one page durable.
pub(crate) fn fdatasync(folder: &Path) -> Duration {
    let mut file = std::fs::File::create(folder.join("page")).unwrap();
    let mut times = Vec::new();
    for round in 0..300_u32 {
        file.rewind().unwrap();
        file.write_all(&[u8::try_from(round % 251).unwrap(); 4096]).unwrap();
        let start = Instant::now();
        file.sync_data().unwrap();
        times.push(start.elapsed());
    }
    report::median(&mut times)
}

/// Ten connections to an encrypted file against one derivation of its key.
pub(crate) async fn connections(folder: &Path) {
    let path = folder.join("opening.db");
    config(&path).connect().await.unwrap().close().await.unwrap();
    let (mut derivations, mut openings) = (Vec::new(), Vec::new());
    for _ in 0..7 {
        let start = Instant::now();
        let mut key = [0; 32];
        openssl::pkcs5::pbkdf2_hmac(KEY.as_bytes(), &[7; 16], 256_000, MessageDigest::sha512(), &mut key).unwrap();
        derivations.push(start.elapsed());
        let start = Instant::now();
        let db = config(&path).pool_min_size(10).connect().await.unwrap();
        // Those beyond the first may be opened behind the caller's back; they count all the same.
        while db.pool_size() < 10 {
            assert!(start.elapsed() < Duration::from_secs(10), "ten connections are opened");
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
        openings.push(start.elapsed());
        db.close().await.unwrap();
    }
    let (derivation, opening) = (report::median(&mut derivations), report::median(&mut openings));
    report::line("one key derivation (PBKDF2, 256,000 rounds)", &report::micros(derivation));
    report::line("opening with 10 connections", &report::micros(opening));
    let ratio = opening.as_secs_f64() / derivation.as_secs_f64();
    report::against("  in derivations", ratio, "at most 1.2", ratio <= 1.2);
}
