//! What expires soon.

use std::time::Duration;

use strongroom::{Params, params};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Registry;
use super::list::MAX_PAGE;
use super::row::{is_replaced, record_columns, records, revocation_join};
use super::sql::Sql;
use crate::error::{Error, Result};
use crate::record::Record;

/// What counts as expiring soon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiring {
    /// Expires within this time from now. Default `None`: less than a third of its lifetime or less than 30 days left,
    /// whichever is less, which is when automatic renewal should have happened.
    pub within: Option<Duration>,
    /// Also those that have been replaced. Default no.
    pub all: bool,
    /// Records at most. Default and most 10,000.
    pub limit: u32,
    /// Go on after this one: notAfter and id of the last record of a list before.
    pub after: Option<(OffsetDateTime, Uuid)>,
}

impl Default for Expiring {
    fn default() -> Self {
        Expiring { within: None, all: false, limit: MAX_PAGE, after: None }
    }
}

/// The default's 30 days.
const DEFAULT_WITHIN: Duration = Duration::from_secs(30 * 86_400);

/// The soonest of those that `lapsed` says are, or are not, past their end; in the order of the index, so that it is read
/// only as far as the limit.
macro_rules! soonest {
    ($lapsed:literal, $unindexed:literal) => {
        concat!(
            "SELECT id, not_after FROM (SELECT c.id AS id, c.not_after AS not_after FROM certificate AS c WHERE ",
            $lapsed,
            " AND c.not_after >= $6 AND c.not_after <= $2 AND (c.not_after > $6 OR c.id > $7) AND ",
            $unindexed,
            "c.revoked = 0 AND ",
            $unindexed,
            "c.not_before <= $1 \
              AND ($3 = 0 OR c.not_after - $1 < (c.not_after - c.not_before) / 3) \
              AND ($4 = 1 OR NOT EXISTS (SELECT 1 FROM certificate AS o WHERE ",
            is_replaced!(),
            ")) ORDER BY c.not_after, c.revoked, c.id LIMIT $5) AS soonest"
        )
    };
}

// The column `lapsed` may lag behind: rows it is wrong about are in the range all the same.
macro_rules! expiring {
    ($unindexed:literal) => {
        concat!(
            record_columns!("expiring"),
            "FROM (",
            soonest!("c.lapsed = 0", $unindexed),
            " UNION ALL ",
            soonest!("c.lapsed = 1", $unindexed),
            " ORDER BY not_after, id LIMIT $5) AS soon CROSS JOIN certificate AS c",
            revocation_join!(),
            "WHERE c.id = soon.id ORDER BY soon.not_after, soon.id"
        )
    };
}

macro_rules! count {
    ($unindexed:literal) => {
        concat!(
            "-- count expiring\nSELECT count(*) FROM (",
            soonest!("c.lapsed = 0", $unindexed),
            " UNION ALL ",
            soonest!("c.lapsed = 1", $unindexed),
            ") AS soon"
        )
    };
}

pub(super) const EXPIRING: Sql = Sql { sqlite: expiring!("+"), postgres: expiring!("") };

const COUNT: Sql = Sql { sqlite: count!("+"), postgres: count!("") };

impl Registry {
    /// The certificates that are valid and expire soon, soonest first.
    ///
    /// # Errors
    ///
    /// [`Error::PageSize`], [`Error::Database`].
    pub async fn expiring(&self, question: &Expiring) -> Result<Vec<Record>> {
        let limit = match question.limit {
            1..=MAX_PAGE => question.limit,
            found => return Err(Error::PageSize { found, most: MAX_PAGE }),
        };
        let (now, params) = self.expiring_params(question, i64::from(limit));
        records(self.db.fetch_all(EXPIRING.of(self.db.dialect()), params).await?, now)
    }

    /// How many certificates [`expiring`](Registry::expiring) would list without a limit.
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub async fn count_expiring(&self, question: &Expiring) -> Result<u64> {
        let (_, params) = self.expiring_params(question, i64::MAX);
        Ok(self.db.fetch_one(COUNT.of(self.db.dialect()), params).await?.get(0)?)
    }

    /// The moment of the question, and the parameters of its statements.
    fn expiring_params(&self, question: &Expiring, limit: i64) -> (OffsetDateTime, Params) {
        let now = self.instant();
        let within = time::Duration::try_from(question.within.unwrap_or(DEFAULT_WITHIN)).unwrap_or(time::Duration::MAX);
        let until = now.checked_add(within).unwrap_or(crate::certificate::NEVER);
        let by_lifetime = i64::from(question.within.is_none());
        // No id is below the nil UUID.
        let (from, after) = question.after.unwrap_or((now, Uuid::nil()));
        (now, params![now, until, by_lifetime, i64::from(question.all), limit, from.max(now), after])
    }
}
