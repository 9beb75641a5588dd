//! What was done how often, and what went wrong.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Operations by kind. The order is the table's.
pub(crate) struct Tally<const KINDS: usize> {
    names: [&'static str; KINDS],
    counts: [[AtomicU64; 3]; KINDS],
    faults: Mutex<Vec<String>>,
}

/// How an operation ended.
#[derive(Clone, Copy)]
pub(crate) enum End {
    Done,
    Failed,
    Cancelled,
}

impl<const KINDS: usize> Tally<KINDS> {
    pub(crate) fn new(names: [&'static str; KINDS]) -> Self {
        Tally { names, counts: std::array::from_fn(|_| Default::default()), faults: Mutex::default() }
    }

    pub(crate) fn count(&self, kind: usize, end: End) {
        self.counts[kind][end as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Something that must not be.
    pub(crate) fn fault(&self, what: impl Into<String>) {
        let what = what.into();
        let mut faults = self.faults.lock().expect("nothing panics while it is held");
        // One cause may show a thousand times; the first ones tell.
        if faults.len() < 20 {
            eprintln!("\nviolation: {what}");
            faults.push(what);
        }
    }

    pub(crate) fn faults(&self) -> usize {
        self.faults.lock().expect("nothing panics while it is held").len()
    }

    pub(crate) fn sums(&self) -> [u64; 3] {
        std::array::from_fn(|end| self.counts.iter().map(|ends| ends[end].load(Ordering::Relaxed)).sum())
    }
}

/// The table: one line a kind, and the sums.
impl<const KINDS: usize> fmt::Display for Tally<KINDS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, ends: [u64; 3]| {
            let [done, failed, cancelled] = ends;
            writeln!(f, "{name:<22} {done:>10} {failed:>10} {cancelled:>10}")
        };
        for (name, ends) in self.names.iter().zip(&self.counts) {
            line(name, std::array::from_fn(|end| ends[end].load(Ordering::Relaxed)))?;
        }
        line("all", self.sums())
    }
}
