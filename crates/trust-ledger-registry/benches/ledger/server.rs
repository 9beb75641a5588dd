//! The ledger on a PostgreSQL server, against `pgbench` on the same server in the same run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use strongroom::Config;
use test_servers::Postgres;
use tokio::task::JoinSet;
use trust_ledger_registry::{Annotations, Certificate, MIGRATIONS, Registry, Serial};

use crate::bundle::{self, Ca};
use crate::{import, number, reads, report};

/// As many as `pgbench` has clients.
const CALLERS: usize = 16;

const LOOKUPS: usize = 5_000;

/// A server that writes durably, with room for the indexes of a million certificates; the rest as PostgreSQL comes.
pub(crate) fn start() -> Postgres {
    let server = Postgres::plain().durable().setting("shared_buffers", "512MB").setting("max_wal_size", "4GB");
    server.setting("checkpoint_timeout", "15min").start()
}

/// Everything that there is to measure on an empty database.
pub(crate) async fn run(url: &str, folder: &Path) {
    report::head("Server");
    let peer = pgbench(url);
    match peer {
        Some(rate) => report::line("pgbench -N -M prepared -c 16 -j 2", &format!("{rate:.0}/s")),
        None => report::line("pgbench", "not found: no peer to compare with"),
    }
    let config = Config::from_url(url).expect("LEDGER_BENCH_URL is a URL");
    let config = config.pool_max_size(CALLERS).migrations(&MIGRATIONS).migrate(true);
    let registry =
        Registry::open(config.connect().await.expect("the server can be reached, and the database is empty"));
    registrations(&registry, peer).await;
    let registry = import::large(registry, folder).await;
    registry.database().vacuum().await.unwrap();
    registry.database().optimize().await.unwrap();
    lookups(&registry).await;
    reads::pages(&registry).await;
}

/// Transactions per second that `pgbench` makes, with tables of its own in the same database, which it removes again.
fn pgbench(url: &str) -> Option<f64> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let installed = versions.map(|version| version.path().join("bin/pgbench"));
    let program = installed.filter(|path| path.exists()).max().unwrap_or_else(|| PathBuf::from("pgbench"));
    let run = |arguments: &[&str]| {
        let out = Command::new(&program).args(arguments).arg(url).output().ok()?;
        assert!(out.status.success(), "pgbench: {}", String::from_utf8_lossy(&out.stderr));
        Some(String::from_utf8_lossy(&out.stdout).into_owned())
    };
    run(&["-i", "-q", "-s", "10"])?;
    let told = run(&["-N", "-M", "prepared", "-c", "16", "-j", "2", "-T", "10"])?;
    run(&["-i", "-I", "d"])?;
    let rate = told.lines().find_map(|line| line.strip_prefix("tps = "))?;
    rate.split(' ').next()?.parse().ok()
}

/// Record, names, issuer and event, each durable when it is answered.
async fn registrations(registry: &Registry, peer: Option<f64>) {
    report::head("Registrations (record, names, issuer, event)");
    let ca = Ca::new();
    let count = number("LEDGER_BENCH_WRITES", 10_000) / CALLERS * CALLERS;
    let parsed = |x509: openssl::x509::X509| Certificate::from_der(&x509.to_der().unwrap()).unwrap();
    // Others than the import's, which has another CA of this name.
    let certificates = Arc::new(ca.issue_all(0..count, parsed));
    registry.register(&parsed(ca.x509.clone()), &Annotations::default()).await.unwrap();
    for callers in [1, CALLERS] {
        let some = certificates.len() / 2;
        let of = if callers == 1 { 0..some / 4 } else { some..certificates.len() };
        let (start, done) = (Instant::now(), of.len());
        let mut tasks = JoinSet::new();
        for caller in 0..callers {
            let (registry, certificates, of) = (registry.clone(), certificates.clone(), of.clone());
            tasks.spawn(async move {
                for number in of.skip(caller).step_by(callers) {
                    registry.register(&certificates[number], &Annotations::default()).await.unwrap();
                }
            });
        }
        tasks.join_all().await;
        let rate = report::per_second(done, start.elapsed());
        report::line(&format!("{callers} callers, signatures verified"), &format!("{rate:.0}/s"));
        if let Some(peer) = peer.filter(|_| callers == CALLERS) {
            report::against("  of pgbench's transactions", rate / peer, "at least 0.5", rate / peer >= 0.5);
        }
    }
}

async fn lookups(registry: &Registry) {
    let rows = number("LEDGER_BENCH_ROWS", 1_000_000) / 10 * 10;
    report::head(&format!("Single lookups among {rows}, one after the other"));
    let picked = move |round: usize| usize::try_from(bundle::mixed(round as u64) % rows as u64).unwrap();
    let told = |what: &str, mut times: Vec<Duration>| {
        let median = report::median(&mut times);
        let met = if median <= Duration::from_micros(300) { "met" } else { "MISSED" };
        report::line(what, &format!("{} (target at most 300 µs: {met})", report::micros(median)));
    };
    let registry = registry.clone();
    // On a task of the runtime, where a service's callers are.
    let measured = tokio::spawn(async move {
        let (mut by_serial, mut by_name) = (Vec::new(), Vec::new());
        for round in 0..LOOKUPS {
            let serial = Serial::from_content(&bundle::serial(picked(round))).unwrap();
            let start = Instant::now();
            assert!(!registry.by_serial(&serial, None).await.unwrap().is_empty());
            by_serial.push(start.elapsed());
            let name = bundle::host(picked(round));
            let start = Instant::now();
            std::hint::black_box(registry.by_name(&name).await.unwrap());
            by_name.push(start.elapsed());
        }
        (by_serial, by_name)
    });
    let (by_serial, by_name) = measured.await.unwrap();
    told("by serial, median", by_serial);
    told("by name, median", by_name);
}
