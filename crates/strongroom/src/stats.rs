//! Counters: what a database handle has done and how many connections it holds.

use std::sync::atomic::{AtomicU64, Ordering};

/// A moment's view of a database handle, from [`Database::stats`](crate::Database::stats).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Open physical connections, the writer included.
    pub connections: usize,
    /// Reading connections lent to a caller now.
    pub readers_busy: usize,
    /// Durable commits.
    pub commits: u64,
    /// Units (statements, batches, sessions) that those commits made durable. Above `commits`, group commit works.
    pub units_committed: u64,
    /// Units that failed and were rolled back alone.
    pub units_failed: u64,
    /// Callers that waited the acquire timeout in vain.
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

    pub(crate) fn snapshot(&self, connections: usize, readers_busy: usize) -> Stats {
        Stats {
            connections,
            readers_busy,
            commits: self.commits.load(Ordering::Relaxed),
            units_committed: self.units_committed.load(Ordering::Relaxed),
            units_failed: self.units_failed.load(Ordering::Relaxed),
            timeouts: self.timeouts.load(Ordering::Relaxed),
        }
    }
}
