//! Statements and transactions on two engines.

use std::time::Duration;

use strongroom::{Dialect, Session};

use super::Registry;
use crate::error::{Error, Result};

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

/// How often a transaction that others kept getting in the way of is begun anew, after the times that the database does that.
const ROUNDS: u32 = 10;

impl Registry {
    /// Runs work in a transaction, as [`Database::transaction`](strongroom::Database::transaction) does, but with more patience:
    /// on a server, the deletion of a thousand certificates conflicts with every revocation of one of them.
    pub(super) async fn transaction<T, F, Fut>(&self, work: F) -> Result<T>
    where
        F: Fn(Session) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T>> + Send,
        T: Send,
    {
        for round in 1..=ROUNDS {
            match self.db.transaction(&work).await {
                Err(Error::Database(error)) if error.is_retryable() => {
                    tokio::time::sleep(Duration::from_millis(10 * u64::from(round))).await;
                }
                outcome => return outcome,
            }
        }
        self.db.transaction(&work).await
    }
}
