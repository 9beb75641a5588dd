//! strongroom and those of its peers that can be linked with it.
//!
//! One file for each. The others need another SQLite and are programs of their own: `rusqlite-0.40` and `sqlx`.

mod bb8;
mod deadpool;
mod deadpool_postgres;
mod diesel_async;
mod pgbench;
mod qorb;
mod r2d2;
mod rusqlite;
mod servers;
mod strongroom;
mod tokio_postgres;

use harness::{Run, pool, postgres, sqlite};

fn main() {
    let run = Run::from_arguments();
    match (run.peer.as_str(), run.workload.as_str()) {
        ("strongroom", "prepare") => strongroom::prepare(&run),
        ("strongroom", workload) if workload.starts_with("checkout") => pool::run::<strongroom::Pool>(&run),
        ("strongroom", "servers") => servers::serve(&run),
        ("strongroom", workload) if workload.starts_with("pg-") => postgres::run::<strongroom::Server>(&run),
        ("strongroom", _) => sqlite::run::<strongroom::Database>(&run),
        ("bb8", _) => pool::run::<bb8::Pool>(&run),
        ("deadpool", _) => pool::run::<deadpool::Pool>(&run),
        ("deadpool-postgres", _) => postgres::run::<deadpool_postgres::Pool>(&run),
        ("diesel-async", _) => postgres::run::<diesel_async::Diesel>(&run),
        ("pgbench", _) => pgbench::run(&run),
        ("qorb", _) => pool::run::<qorb::Pool>(&run),
        ("r2d2", _) => r2d2::run(&run),
        ("rusqlite", _) => rusqlite::run(&run),
        ("rusqlite-16", _) => rusqlite::run_competing(&run),
        ("tokio-postgres", _) => postgres::run::<tokio_postgres::Clients>(&run),
        _ => run.is_unknown(),
    }
}
