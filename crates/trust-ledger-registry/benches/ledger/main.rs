//! How fast the ledger is, on an encrypted file with `synchronous=FULL`, against rusqlite that runs the same SQL in a
//! plain loop in the same run.
//!
//! `cargo bench -p trust-ledger-registry`. Certificates are real: EC keys of their own, signed by one CA, so that an import
//! checks each signature. Sizes are set by environment variables:
//!
//! | variable | what | default |
//! |---|---|---|
//! | `LEDGER_BENCH_ROWS` | certificates in the large ledger, imported in ten parts | 1,000,000 |
//! | `LEDGER_BENCH_WRITES` | registrations and single rows written by 64 callers | 10,000 |
//! | `LEDGER_BENCH_CACHE_KIB` | page cache per connection | 65,536, the ledger's |
//! | `LEDGER_BENCH_CA` | the CA's key, `ec` or `rsa` | `ec` |
//! | `LEDGER_BENCH_URL` | an empty PostgreSQL database, which is measured instead of files, against `pgbench`; `throwaway`: on a server that is started for it | none |

mod bundle;
mod import;
mod opening;
mod raw;
mod reads;
mod report;
mod server;
mod writes;

use std::path::Path;

use strongroom::{Config, KeySource};
use trust_ledger_registry::{CACHE_KIB, MIGRATIONS, Registry};

/// Every file's passphrase.
const KEY: &str = "correct horse battery staple";

fn main() {
    // `cargo test --benches` runs this too, with an argument that `cargo bench` does not give.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder for the ledgers");
    if let Ok(url) = std::env::var("LEDGER_BENCH_URL") {
        let server = (url == "throwaway").then(server::start);
        let url = server.as_ref().map_or(url, |server| server.url("app"));
        runtime.block_on(server::run(&url, folder.path()));
        return;
    }
    report::head("Disk and key");
    let sync = opening::fdatasync(folder.path());
    report::line("fdatasync of one 4 KiB page, median", &report::micros(sync));
    runtime.block_on(async {
        opening::connections(folder.path()).await;
        writes::single_rows(folder.path()).await;
        writes::registrations(folder.path()).await;
        let registry = Registry::open(config(&folder.path().join("large.db")).connect().await.expect("a ledger"));
        let registry = import::large(registry, folder.path()).await;
        reads::lookups(&registry, &folder.path().join("large.db")).await;
        reads::pages(&registry).await;
    });
}

/// The settings of every ledger here.
fn config(path: &Path) -> Config {
    let cache = number("LEDGER_BENCH_CACHE_KIB", CACHE_KIB as usize);
    let cache = u32::try_from(cache).expect("a cache under 4 TiB");
    Config::sqlite(path).key(KeySource::literal(KEY)).migrations(&MIGRATIONS).cache_kib(cache)
}

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).map_or(default, |text| text.replace(['_', ','], "").parse().expect("a number"))
}
