//! Keeping the column `lapsed` near the truth.
//!
//! Status is computed from the clock, so it needs no upkeep. But in the order of ids, which lists have, no index could tell
//! expired certificates from valid ones without a column that says which were seen to expire. Registrations keep it:
//! once a minute, one of them takes the update along. What it has not reached yet is found by other means, so a ledger
//! that is only read stays right and gets slower at most.

use std::sync::atomic::{AtomicI64, Ordering};

use strongroom::{Batch, params};

use super::super::Registry;

/// Seconds between two sweeps.
const INTERVAL: i64 = 60;

/// Certificates that one sweep marks at most.
const AT_MOST: i64 = 1_000;

/// When the last sweep was, in seconds since 1970.
#[derive(Default)]
pub(in super::super) struct Sweep(AtomicI64);

impl Registry {
    /// Adds the sweep to a batch when it is due, and tells where in the batch it is.
    pub(super) fn sweep(&self, batch: &mut Batch) -> Option<usize> {
        const LAPSED: &str = "-- sweep lapsed\n\
            UPDATE certificate SET lapsed = 1 WHERE id IN (\
                SELECT id FROM certificate WHERE lapsed = 0 AND not_after < $1 ORDER BY not_after LIMIT $2)";
        // For when the clock was wrong before.
        const REVIVED: &str = "-- sweep revived\n\
            UPDATE certificate SET lapsed = 0 WHERE id IN (\
                SELECT id FROM certificate WHERE lapsed = 1 AND not_after >= $1 ORDER BY not_after LIMIT $2)";
        let now = self.instant();
        let last = self.sweep.0.load(Ordering::Relaxed);
        let due = now.unix_timestamp().abs_diff(last) >= INTERVAL.unsigned_abs();
        let mine = due
            && self.sweep.0.compare_exchange(last, now.unix_timestamp(), Ordering::Relaxed, Ordering::Relaxed).is_ok();
        mine.then(|| {
            let position = batch.len();
            batch.push(LAPSED, params![now, AT_MOST]);
            batch.push(REVIVED, params![now, AT_MOST]);
            position
        })
    }

    /// Makes the next registration go on when a sweep had more to do.
    pub(super) fn swept(&self, position: Option<usize>, affected: &[u64]) {
        let Some(position) = position else { return };
        if affected.iter().skip(position).take(2).any(|affected| *affected == AT_MOST.unsigned_abs()) {
            self.sweep.0.store(i64::MIN / 2, Ordering::Relaxed);
        }
    }
}
