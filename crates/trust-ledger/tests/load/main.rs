//! The service under load: how fast it is, what memory it takes, and the proof that nothing went astray.
//!
//! `cargo xtask soak --http` runs it; a plain `cargo test` runs it small and short. The real `trust-ledger serve` answers
//! on loopback, on an encrypted file or a PostgreSQL server; clients are in this process. Speed and memory are printed beside
//! what is aimed at and never asserted, because machines differ. Asserted is that
//!
//! * every request is answered as it must be, and nothing says that the service failed;
//! * what was answered is in the ledger, once and as it was last answered, and nothing that nobody sent;
//! * no request is under way at the end, no error is in the log, and SIGTERM ends the service with 0.
//!
//! `TRUST_LEDGER_LOAD_SECONDS`, `TRUST_LEDGER_LOAD_ROWS` and `TRUST_LEDGER_LOAD_DB` (`postgres`, or a file) set how long the mixed
//! load lasts, how many certificates there are before, and where.

mod certificates;
mod client;
mod measures;
mod mixed;
mod random;
mod report;
mod served;

use std::sync::Arc;
use std::time::Duration;

use self::certificates::Issuer;
use self::served::{Ledger, Served};

fn main() {
    if !is_wanted() {
        return;
    }
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seconds = number("TRUST_LEDGER_LOAD_SECONDS").unwrap_or(1);
    let rows = number("TRUST_LEDGER_LOAD_ROWS").unwrap_or(1_000).max(100);
    let on_server = std::env::var_os("TRUST_LEDGER_LOAD_DB").is_some_and(|db| db == "postgres");
    if on_server && !test_servers::needs::postgres() {
        return;
    }
    let ledger = if on_server { Ledger::on_server() } else { Ledger::on_file() };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("threads can be had").block_on(load(&ledger, rows, seconds));
}

async fn load(ledger: &Ledger, rows: u64, seconds: u64) {
    // Each rate is measured for a part of the time, and long enough to be one.
    let length = Duration::from_secs(seconds).div_f64(5.0).clamp(Duration::from_millis(200), Duration::from_secs(10));
    let issuer = Arc::new(Issuer::new());
    ledger.run(&["init"]);
    let (reader, registrar) = (ledger.token("reader", "reader"), ledger.token("registrar", "registrar"));
    let admin = ledger.token("admin", "admin");

    report::title(&format!("The service: {}", ledger.name()));
    measures::machine(&issuer);
    let served = Served::start(ledger).await;
    measures::start(&served, "empty");
    measures::bulk(&served, &registrar, &issuer, rows).await;
    served.terminate();

    report::title(&format!("{rows} certificates"));
    measures::machine(&issuer);
    let served = Served::start(ledger).await;
    measures::start(&served, "full");
    let idle = measures::idle_memory(&served).await;
    let registrations = 3_000 * length.as_millis() as u64 / 1_000;
    measures::register(&served, &admin, &issuer, rows..rows + registrations).await;
    measures::get_by_serial(&served, &reader, rows, length).await;
    measures::beside_silent_clients(&served, &reader, rows, length).await;
    measures::lists(&served, &admin, rows).await;

    let next = rows + registrations;
    let patience = Duration::from_secs(seconds.clamp(2, 60));
    measures::machine(&issuer);
    let settle = async |served: &Served| measures::memory_after(served, idle, patience).await;
    mixed::run(served, ledger, &admin, issuer, next, Duration::from_secs(seconds), settle).await;
    println!();
}

/// Whether this program's test is among those that `cargo test` was asked for. What it is told besides is not for it.
fn is_wanted() -> bool {
    let mut filters = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--list" => {
                println!("load: test");
                return false;
            }
            "--ignored" => return false,
            // These come with a value.
            "--skip" if arguments.next().is_some_and(|skipped| "load".contains(&skipped)) => return false,
            "--test-threads" | "--format" | "--color" | "--logfile" | "--shuffle-seed" | "-Z" => drop(arguments.next()),
            flag if flag.starts_with('-') => {}
            _ => filters.push(argument),
        }
    }
    filters.is_empty() || filters.iter().any(|filter| "load".contains(filter.as_str()))
}
