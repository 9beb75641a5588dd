//! SOPS files with a secret, and what can be wrong with one.
//!
//! They are those of the other tests: what is in them, and the identity that decrypts them, is secret here.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use strongroom::{KeySource, Sops};

use crate::{FOLDER, write_private};

/// What the files hold.
pub(crate) const VALUE: &str = "canary passphrase";

/// Holds the identity in the environment of the process that is watched.
pub(crate) const VARIABLE: &str = "SOPS_AGE_KEY";

/// The age identity as text.
pub(crate) fn identity() -> &'static str {
    static IDENTITY: OnceLock<&str> = OnceLock::new();
    IDENTITY.get_or_init(|| {
        let mut lines = include_str!("../fixtures/sops/keys/age.txt").lines();
        lines.find(|line| line.starts_with("AGE-SECRET-KEY-1")).expect("age writes it so")
    })
}

/// The age identity's 32 bytes, decoded (BIP 173) without a block of memory that would have to be freed.
pub(crate) fn raw_identity() -> &'static [u8] {
    static RAW: OnceLock<[u8; 32]> = OnceLock::new();
    RAW.get_or_init(|| {
        let mut raw = [0; 32];
        for (position, letter) in identity()["AGE-SECRET-KEY-1".len()..].bytes().take(52).enumerate() {
            let group = b"QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L".iter().position(|&other| other == letter);
            let group = group.expect("a letter of bech32");
            for bit in (0..5).filter(|bit| group & (16 >> bit) != 0) {
                let at = position * 5 + bit;
                if at < 256 {
                    raw[at / 8] |= 128 >> (at % 8);
                }
            }
        }
        raw
    })
}

/// A file of each format, and each place where the identity can be.
pub(crate) fn sources() -> Vec<(&'static str, KeySource)> {
    let folder = FOLDER.get_or_init(|| tempfile::tempdir().unwrap());
    let file = folder.path().join("age.txt");
    if !file.exists() {
        write_private(&file, identity().as_bytes());
    }
    let with = |identity: KeySource| Sops::new(fixture("types.yaml")).identity(identity).into();
    vec![
        ("SOPS yaml", KeySource::sops(fixture("types.yaml"), "db_key")),
        ("SOPS json", KeySource::sops(fixture("types.json"), "db_key")),
        ("SOPS dotenv", KeySource::sops(fixture("variables.env"), "db_key")),
        ("SOPS literal identity", with(KeySource::literal(identity()))),
        ("SOPS identity in the environment", with(KeySource::env(VARIABLE))),
        ("SOPS identity in a file", with(KeySource::file(&file))),
        ("SOPS identity from a command", with(KeySource::command(format!("cat {}", file.display())))),
    ]
}

/// Files and identities about which something is wrong.
pub(crate) fn broken_sources(folder: &Path) -> Vec<KeySource> {
    let text = std::fs::read_to_string(fixture("types.yaml")).unwrap();
    let changed = |name: &str, content: &str| {
        let path = folder.join(name);
        std::fs::write(&path, content).unwrap();
        KeySource::sops(path, "db_key")
    };
    let named = |name: &str| KeySource::sops(fixture("types.yaml"), name);
    let with = |identity: KeySource| Sops::new(fixture("types.yaml")).identity(identity).into();
    let half = &identity()[..40];
    vec![
        with(KeySource::file(fixture("keys/other-age.txt"))),
        with(KeySource::literal(std::fs::read(fixture("keys/other-age.txt")).unwrap())),
        with(KeySource::literal(half)),
        with(KeySource::literal(format!("{half}{}", identity()))),
        with(KeySource::command(format!("echo {half}"))),
        with(KeySource::env("NOT_SET")),
        Sops::new(fixture("ssh-rsa.yaml")).into(),
        Sops::new(fixture("ssh-ed25519.yaml")).identity(KeySource::literal(identity())).into(),
        named("missing"),
        named("database"),
        named("list"),
        named("nothing"),
        changed("value.yaml", &text.replacen("data:j", "data:k", 1)),
        changed("mac.yaml", &text.replace("in the clear", "in the dark")),
        changed("no-mac.yaml", &text.replace("    mac: ", "    mac_was: ")),
        changed("moved.yaml", &text.replacen("db_key: ", "db_key: x\nwas: ", 1)),
        changed("truncated.yaml", &text[..text.len() / 2]),
        changed("truncated.json", &std::fs::read_to_string(fixture("types.json")).unwrap()[..400]),
        changed("plain.yaml", "db_key: x\n"),
        changed("age.yaml", &text.replacen("YWdlLW", "YWdlLX", 1)),
    ]
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/sops").join(name)
}
