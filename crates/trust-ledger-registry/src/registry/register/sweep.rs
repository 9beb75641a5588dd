//! Keeping the column `lapsed` near the truth, and a server's other tables small.
//!
//! Status is computed from the clock, so it needs no upkeep. But in the order of ids, which lists have, no index could tell
//! expired certificates from valid ones without a column that says which were seen to expire. Registrations keep it:
//! once a minute, one of them takes the update along. What it has not reached yet is found by other means, so a ledger
//! that is only read stays right and gets slower at most.
//!
//! On a server it is done by statements of their own, after a registration: within its transaction they would get in the
//! way of others that do the same. What another does already is passed over. They find rows by their place (`ctid`): which
//! way a join is done goes by how large the tables were when a connection planned it, and that can be when they were empty.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use strongroom::{Batch, Dialect, params};
use time::OffsetDateTime;
use uuid::Uuid;

use super::super::Registry;
use crate::error::Result;

/// Seconds between two sweeps.
const INTERVAL: i64 = 60;

/// Certificates that one sweep marks at most.
const AT_MOST: i64 = 1_000;

/// Registrations after which a server's tables are tidied up though it is not time yet.
const MANY: u64 = 10_000;

/// Rows of counts and claims that one statement removes at most.
const ROWS: i64 = 3_000;

/// When the last sweep was, in seconds since 1970; and what has come since.
#[derive(Default)]
pub(in super::super) struct Sweep {
    last: AtomicI64,
    /// Certificates registered since, on a server.
    inserted: AtomicU64,
}

impl Sweep {
    fn make_due(&self) {
        self.last.store(i64::MIN / 2, Ordering::Relaxed);
    }
}

impl Registry {
    /// Adds the sweep to a batch when it is due, and tells where in the batch it is. For a file.
    pub(super) fn sweep(&self, batch: &mut Batch) -> Option<usize> {
        const LAPSED: &str = "-- sweep lapsed\n\
            UPDATE certificate SET lapsed = 1 WHERE id IN (\
                SELECT id FROM certificate WHERE lapsed = 0 AND not_after < $1 ORDER BY not_after LIMIT $2)";
        // For when the clock was wrong before.
        const REVIVED: &str = "-- sweep revived\n\
            UPDATE certificate SET lapsed = 0 WHERE id IN (\
                SELECT id FROM certificate WHERE lapsed = 1 AND not_after >= $1 ORDER BY not_after LIMIT $2)";
        let now = self.instant();
        self.is_due(now).then(|| {
            let position = batch.len();
            batch.push(LAPSED, params![now, AT_MOST]);
            batch.push(REVIVED, params![now, AT_MOST]);
            position
        })
    }

    /// Sweeps when it is due or much has come, adds the parts of counts to their sums, and removes old claims. For a server.
    ///
    /// What fails is done a minute later: the registration before it is durable, and nothing depends on this.
    pub(super) async fn tidy(&self, inserted: u64) {
        let now = self.instant();
        let before = self.sweep.inserted.fetch_add(inserted, Ordering::Relaxed);
        if before + inserted < MANY && !self.is_due(now) {
            return;
        }
        self.sweep.inserted.store(0, Ordering::Relaxed);
        if let Err(error) = self.tidy_at(now).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "the ledger's tables could not be tidied up");
        }
    }

    async fn tidy_at(&self, now: OffsetDateTime) -> Result<()> {
        const LAPSED: &str = "-- sweep lapsed\n\
            UPDATE certificate SET lapsed = 1 WHERE ctid = ANY (ARRAY(\
                SELECT ctid FROM certificate WHERE lapsed = 0 AND not_after < $1 ORDER BY not_after LIMIT $2 \
                FOR UPDATE SKIP LOCKED))";
        const REVIVED: &str = "-- sweep revived\n\
            UPDATE certificate SET lapsed = 0 WHERE ctid = ANY (ARRAY(\
                SELECT ctid FROM certificate WHERE lapsed = 1 AND not_after >= $1 ORDER BY not_after LIMIT $2 \
                FOR UPDATE SKIP LOCKED))";
        for sql in [LAPSED, REVIVED] {
            if self.db.execute(sql, params![now, AT_MOST]).await? == AT_MOST.unsigned_abs() {
                self.sweep.make_due();
            }
        }
        Ok(self.sum_up_counts().await?)
    }

    /// Adds the parts of counts to their sums, and removes old claims. Does nothing in a file, which has neither.
    pub(in super::super) async fn sum_up_counts(&self) -> strongroom::Result<()> {
        const COUNTS: &str = "-- sum up counts\n\
            WITH parts AS (\
                DELETE FROM certificate_count WHERE ctid = ANY (ARRAY(\
                    SELECT ctid FROM certificate_count WHERE part > $1 ORDER BY part LIMIT $2 FOR UPDATE SKIP LOCKED)) \
                RETURNING issuer, category, revoked, expiry_day, n), \
            summed AS (\
                INSERT INTO certificate_count AS s (part, issuer, category, revoked, expiry_day, n) \
                SELECT $1, issuer, category, revoked, expiry_day, sum(n) FROM parts \
                GROUP BY issuer, category, revoked, expiry_day ORDER BY issuer, category, revoked, expiry_day \
                ON CONFLICT (part, issuer, category, revoked, expiry_day) DO UPDATE SET n = s.n + excluded.n) \
            SELECT count(*) FROM parts";
        const CLAIMS: &str = "-- remove old claims\n\
            DELETE FROM claim WHERE ctid = ANY (ARRAY(\
                SELECT ctid FROM claim WHERE at < now() - INTERVAL '5 minutes' LIMIT $1 FOR UPDATE SKIP LOCKED))";
        if self.db.dialect() == Dialect::Sqlite {
            return Ok(());
        }
        while self.db.fetch_one(COUNTS, params![Uuid::nil(), ROWS]).await?.get::<i64>(0)? == ROWS {}
        while self.db.execute(CLAIMS, params![ROWS]).await? == ROWS.unsigned_abs() {}
        Ok(())
    }

    /// Whether it is time to sweep, and for this caller to do it.
    fn is_due(&self, now: OffsetDateTime) -> bool {
        let last = self.sweep.last.load(Ordering::Relaxed);
        let due = now.unix_timestamp().abs_diff(last) >= INTERVAL.unsigned_abs();
        due && self
            .sweep
            .last
            .compare_exchange(last, now.unix_timestamp(), Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    /// Makes the next registration go on when a sweep had more to do.
    pub(super) fn swept(&self, position: Option<usize>, affected: &[u64]) {
        let Some(position) = position else { return };
        if affected.iter().skip(position).take(2).any(|affected| *affected == AT_MOST.unsigned_abs()) {
            self.sweep.make_due();
        }
    }
}
