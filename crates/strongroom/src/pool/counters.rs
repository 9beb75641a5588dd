//! What a pool has done since it was made, counted under its lock.

use std::time::Duration;

/// Why a connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// It came home in a state that nobody may be lent: a transaction open, an error that breaks it, a panic.
    Unclean,
    /// It failed the test that it was put to after a time idle, or the hook before checkout.
    TestFailed,
    /// It was idle for longer than `idle_timeout`, and the pool above its least size.
    Idle,
    /// It reached `max_lifetime`.
    Lifetime,
    /// Its generation was ended: an old password, a server that is no longer the primary.
    Generation,
    /// Somebody wanted the database to himself.
    Paused,
    /// The pool was closed.
    PoolClosed,
}

impl CloseReason {
    /// All reasons, in the order of their declaration.
    pub const ALL: [CloseReason; 7] = [
        CloseReason::Unclean,
        CloseReason::TestFailed,
        CloseReason::Idle,
        CloseReason::Lifetime,
        CloseReason::Generation,
        CloseReason::Paused,
        CloseReason::PoolClosed,
    ];

    /// The reason as a label: `unclean`, `test_failed`, `idle`, `lifetime`, `generation`, `paused`, `pool_closed`.
    pub fn as_str(self) -> &'static str {
        match self {
            CloseReason::Unclean => "unclean",
            CloseReason::TestFailed => "test_failed",
            CloseReason::Idle => "idle",
            CloseReason::Lifetime => "lifetime",
            CloseReason::Generation => "generation",
            CloseReason::Paused => "paused",
            CloseReason::PoolClosed => "pool_closed",
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) created: u64,
    pub(crate) acquired: u64,
    pub(crate) released: u64,
    pub(crate) timeouts: u64,
    pub(crate) connect_errors: u64,
    pub(crate) closed: [u64; CloseReason::ALL.len()],
    pub(crate) waits: Histogram,
    pub(crate) uses: Histogram,
}

impl Counters {
    pub(super) fn acquired(&mut self, waited: Duration) {
        self.acquired += 1;
        self.waits.record(waited);
    }

    pub(super) fn released(&mut self, used: Duration) {
        self.released += 1;
        self.uses.record(used);
    }

    pub(super) fn closed(&mut self, reason: CloseReason) {
        self.closed[reason as usize] += 1;
    }
}

/// How often something took how long. Each bucket reaches to four times the one before: 1 µs, 4 µs, 16 µs … 67 s.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// The last one counts what took longer than all bounds.
    buckets: [u64; BOUNDS + 1],
    total: Duration,
}

/// Buckets with an upper bound.
const BOUNDS: usize = 14;

impl Histogram {
    /// The buckets: an upper bound (inclusive; none for the last) and how many took no longer than that and longer than
    /// the bound before.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> + '_ {
        self.buckets.iter().enumerate().map(|(index, &count)| (bound(index), count))
    }

    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// How long they took together.
    pub fn total(&self) -> Duration {
        self.total
    }

    pub(crate) fn record(&mut self, took: Duration) {
        // Beyond ten years the bucket is the same.
        let micros = took.as_secs().min(1 << 28) * 1_000_000 + u64::from(took.subsec_nanos().div_ceil(1_000));
        // The smallest power of four that is not below it.
        let index = micros.max(1).next_power_of_two().trailing_zeros().div_ceil(2) as usize;
        self.buckets[index.min(BOUNDS)] += 1;
        self.total = self.total.saturating_add(took);
    }
}

fn bound(index: usize) -> Option<Duration> {
    (index < BOUNDS).then(|| Duration::from_micros(1 << (2 * index)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_in_the_bucket_whose_bounds_hold_it() {
        let cases =
            [(0, 0), (1, 0), (2, 1), (4, 1), (5, 2), (16, 2), (67_108_864, 13), (67_108_865, 14), (u64::MAX, 14)];
        for (micros, expected) in cases {
            let mut histogram = Histogram::default();
            histogram.record(Duration::from_micros(micros));
            let found = histogram.buckets().position(|(_, count)| count == 1);
            assert_eq!(found, Some(expected), "{micros} µs");
        }
        assert_eq!(bound(0), Some(Duration::from_micros(1)));
        assert_eq!(bound(13), Some(Duration::from_micros(67_108_864)));
    }
}
