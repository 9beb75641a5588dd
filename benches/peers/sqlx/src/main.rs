//! sqlx. It would test at each checkout, which is switched off.

mod postgres;
mod sqlite;

use harness::Run;

fn main() {
    let run = Run::from_arguments();
    match (run.peer.as_str(), run.workload.as_str()) {
        ("sqlx", workload) if workload.starts_with("pg-") => harness::postgres::run::<postgres::Database>(&run),
        ("sqlx", _) => harness::sqlite::run::<sqlite::Database>(&run),
        _ => run.is_unknown(),
    }
}
