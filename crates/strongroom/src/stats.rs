//! Counters: what a database handle has done and how many connections it holds.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::pool;

/// A moment's view of a database handle, from [`Database::stats`](crate::Database::stats).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Open physical connections, the writer included.
    pub connections: usize,
    /// The reading connections; on PostgreSQL all. On SQLite, while one holds a snapshot, the log cannot be reset: see its
    /// [`oldest`](crate::pool::Stats::oldest) borrower.
    pub readers: pool::Stats,
    /// Length of SQLite's write-ahead log, in bytes.
    pub log_bytes: u64,
    /// Durable commits.
    pub commits: u64,
    /// Units (statements, batches, sessions) that those commits made durable. Above `commits`, group commit works.
    pub units_committed: u64,
    /// Units that failed and were rolled back alone.
    pub units_failed: u64,
    /// Callers that waited for the writer's turn in vain, up to the acquire timeout.
    pub timeouts: u64,
}

impl Stats {
    /// The numbers in Prometheus' text format (version 0.0.4), with the label `database="name"`, and those of the reading
    /// connections as [`pool::Stats::to_prometheus`] gives them.
    ///
    /// Gauges `strongroom_connections` and `strongroom_log_bytes`; counters `strongroom_commits_total`,
    /// `strongroom_units_committed_total`, `strongroom_units_failed_total` and `strongroom_writer_timeouts_total`.
    pub fn to_prometheus(&self, name: &str) -> String {
        let label = pool::escaped(name);
        let metrics = [
            ("connections", "gauge", "Open physical connections, the writer included.", self.connections as u64),
            ("log_bytes", "gauge", "Length of the write-ahead log.", self.log_bytes),
            ("commits_total", "counter", "Durable commits.", self.commits),
            ("units_committed_total", "counter", "Units that those commits made durable.", self.units_committed),
            ("units_failed_total", "counter", "Units that failed and were rolled back alone.", self.units_failed),
            ("writer_timeouts_total", "counter", "Callers that waited for the writer in vain.", self.timeouts),
        ];
        let mut text = String::new();
        for (metric, kind, help, value) in metrics {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# HELP strongroom_{metric} {help}\n# TYPE strongroom_{metric} {kind}");
            let _ = writeln!(text, "strongroom_{metric}{{database=\"{label}\"}} {value}");
        }
        text + &self.readers.to_prometheus(name)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    commits: AtomicU64,
    units_committed: AtomicU64,
    units_failed: AtomicU64,
    timeouts: AtomicU64,
}

impl Counters {
    pub(crate) fn group_committed(&self, units: usize) {
        if units > 0 {
            self.commits.fetch_add(1, Ordering::Relaxed);
            self.units_committed.fetch_add(units as u64, Ordering::Relaxed);
        }
    }

    pub(crate) fn unit_failed(&self) {
        self.units_failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn timed_out(&self) {
        self.timeouts.fetch_add(1, Ordering::Relaxed);
    }

    /// The counters alone; sizes and ages are the engine's to add.
    pub(crate) fn snapshot(&self) -> Stats {
        Stats {
            commits: self.commits.load(Ordering::Relaxed),
            units_committed: self.units_committed.load(Ordering::Relaxed),
            units_failed: self.units_failed.load(Ordering::Relaxed),
            timeouts: self.timeouts.load(Ordering::Relaxed),
            ..Stats::default()
        }
    }
}
