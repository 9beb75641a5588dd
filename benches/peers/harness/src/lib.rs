//! What strongroom and its peers are measured with: the settings that all get, and the workloads.
//!
//! * **Peer**: a crate, ours included, as somebody would use it who wants what strongroom gives.
//! * **Workload**: what a peer is made to do. **Case**: one number that comes out of it.
//!
//! A program of this folder runs one workload with one peer, once, in a process of its own, and prints a line for each
//! case: its name and the number. `cargo xtask bench` runs them in turn, again and again, and compares the medians.
//!
//! Start from [`Run::from_arguments`], then [`pool`], [`postgres`] or [`sqlite`].

mod measure;
pub mod memory;
pub mod pool;
pub mod postgres;
pub mod sqlite;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use self::measure::{Measured, Operation, tasks, threads};

/// Connections of each pool; of a strongroom database, its writer is one of them.
pub const CONNECTIONS: usize = 8;
/// Tasks that compete for them.
pub const TASKS: u64 = 64;
/// How long to wait for a connection, and for a lock.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Threads that run tasks.
pub const WORKERS: usize = 2;

/// One measurement, as the command line asks for it: `PEER WORKLOAD FOLDER MILLISECONDS`.
pub struct Run {
    pub peer: String,
    pub workload: String,
    /// Where the databases are; the same for all runs.
    pub folder: PathBuf,
    /// How long to measure what is repeated.
    pub time: Duration,
}

impl Run {
    /// # Panics
    ///
    /// When the arguments are others.
    pub fn from_arguments() -> Self {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let [peer, workload, folder, milliseconds] = &arguments[..] else {
            panic!("expected PEER WORKLOAD FOLDER MILLISECONDS; `cargo xtask bench` calls this");
        };
        Run {
            peer: peer.clone(),
            workload: workload.clone(),
            folder: PathBuf::from(folder),
            time: Duration::from_millis(milliseconds.parse().expect("MILLISECONDS is a number")),
        }
    }

    /// The path of a database that is there already.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The path of a database that is not there yet.
    pub fn fresh_file(&self) -> PathBuf {
        let path = self.folder.join("fresh.db");
        remove(&path);
        path
    }

    /// # Panics
    ///
    /// Always: the peer does not take part in the workload.
    pub fn is_unknown(&self) -> ! {
        panic!("{} does not take part in {}", self.peer, self.workload)
    }
}

/// Removes a database and what SQLite has put beside it.
pub fn remove(path: &Path) {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        // Most are not there.
        let _ = std::fs::remove_file(name);
    }
}

/// Prints a case's number.
pub fn report(case: &str, value: f64) {
    println!("{case} {value}");
}

/// The runtime that every asynchronous peer gets.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build().expect("a runtime starts")
}
