//! Statements and units on two engines.

use std::time::Duration;

use strongroom::{Batch, Dialect};
use uuid::Uuid;

use super::Registry;
use crate::error::Result;

/// A statement in the words of each engine, where one text does not do for both.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sql {
    /// Often with a unary `+`, which keeps the planner from another index than the one that is meant.
    pub(super) sqlite: &'static str,
    pub(super) postgres: &'static str,
}

impl Sql {
    pub(super) const fn of(&self, dialect: Dialect) -> &'static str {
        match dialect {
            Dialect::Sqlite => self.sqlite,
            Dialect::Postgres => self.postgres,
        }
    }
}

/// How often a unit is done again at once because another transaction was in its way; each time that one has been done.
const TRIES: u32 = 20;

impl Registry {
    /// Runs a batch as one unit. On a server, when another transaction was in the way, again: it decides by what its
    /// statements see, so it may.
    ///
    /// A file has one writer, in whose way nobody is.
    pub(super) async fn unit(&self, batch: Batch) -> Result<Vec<u64>> {
        if self.db.dialect() == Dialect::Sqlite {
            return Ok(self.db.batch(batch).await?);
        }
        for attempt in 0..TRIES {
            match self.db.batch(batch.clone()).await {
                Err(error) if error.is_retryable() => tokio::time::sleep(pause_after(attempt)).await,
                outcome => return Ok(outcome?),
            }
        }
        Ok(self.db.batch(batch).await?)
    }
}

/// A random pause, longer with each attempt: up to 1 ms first, up to 64 ms in the end.
fn pause_after(attempt: u32) -> Duration {
    let most = 1_000 << attempt.min(6);
    // The last bytes of a UUIDv7 are random.
    let random = u64::from(Uuid::now_v7().as_fields().3[7]) << 8 | u64::from(Uuid::now_v7().as_fields().3[6]);
    Duration::from_micros(random % most)
}
