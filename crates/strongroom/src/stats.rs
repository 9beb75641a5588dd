//! Counters: what a database handle has done and how many connections it holds.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::pool;

/// A moment's view of a database handle, from [`Database::stats`](crate::Database::stats).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Open physical connections, the writer included.
    pub connections: usize,
    /// The reading connections. While one holds a snapshot, the log cannot be reset: see its
    /// [`oldest`](crate::pool::Stats::oldest) borrower.
    pub readers: pool::Stats,
    /// Length of the write-ahead log, in bytes.
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
