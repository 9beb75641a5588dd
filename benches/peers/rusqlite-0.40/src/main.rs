//! The peers that need rusqlite 0.40: one file for each.

mod deadpool_sqlite;
mod statements;
mod tokio_rusqlite;

use harness::{Run, sqlite};

fn main() {
    let run = Run::from_arguments();
    match run.peer.as_str() {
        "deadpool-sqlite" => sqlite::run::<deadpool_sqlite::Database>(&run),
        "tokio-rusqlite" => sqlite::run::<tokio_rusqlite::Database>(&run),
        _ => run.is_unknown(),
    }
}
