//! Streams: a task that reads a query's rows from the server as fast as their consumer takes them.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::connection::{Access, Connection, Tenure};
use super::connector::Lease;
use super::go_home;
use super::run::Chunks;
use super::sql::Class;
use super::work::stop;
use crate::batch::{Step, Want};
use crate::error::{Error, QueryErrorKind, Result};
use crate::row::Row;

/// Chunks that wait for the consumer; one more is in the making, and what the sockets hold.
const CHUNKS_AHEAD: usize = 2;

/// The engine's end of a stream. An empty chunk is the end.
pub(crate) struct Flow {
    chunks: Chunks,
}

/// Makes both ends of a stream.
pub(crate) fn flow() -> (Flow, mpsc::Receiver<Result<Vec<Row>>>) {
    let (chunks, reader) = mpsc::channel(CHUNKS_AHEAD);
    (Flow { chunks }, reader)
}

impl Flow {
    pub(super) fn chunks(&self) -> &Chunks {
        &self.chunks
    }

    /// Streams outside any session.
    pub(super) async fn serve(self, mut lease: Lease, step: Step, deadline: Instant, max_age: Duration) {
        let watch = Arc::clone(lease.watch());
        let outcome = {
            let mut work = pin!(self.stream_alone(&mut lease, &step, Tenure::Passing));
            let expired = tokio::select! {
                biased;
                outcome = &mut work => Ok(outcome),
                () = self.chunks.closed() => Err(false),
                () = sleep_until(deadline) => Err(true),
            };
            match expired {
                Ok(outcome) => outcome,
                Err(expired) => match stop(work.as_mut(), &watch, expired).await {
                    Some(outcome) if !expired => outcome,
                    Some(told @ (Ok(true) | Err(Error::CommitUnknown { .. }))) => told,
                    None if watch.may_be_committed() => Err(Error::CommitUnknown { source: None }),
                    // What could not be stopped is dropped with its connection.
                    _ => Err(Error::SessionExpired { age: max_age }),
                },
            }
        };
        let outcome = go_home(lease, outcome);
        self.end(outcome.map(drop)).await;
    }

    /// Streams a query that stands alone. A read-only transaction tells for sure whether it writes; then it is run again, and
    /// its rows handed over once it is committed. Whether all rows were taken.
    pub(super) async fn stream_alone(&self, connection: &mut Connection, step: &Step, tenure: Tenure) -> Result<bool> {
        if !matches!(Class::of(&step.sql)?, Class::Changes | Class::Stateful) {
            connection.begin(Access::Read);
            let read = connection.pump(step, tenure, &self.chunks).await;
            let rolled_back = connection.roll_back().await;
            match read {
                Err(error) if error.query_kind() == Some(QueryErrorKind::ReadOnly) => {}
                read => return read.and_then(|whole| rolled_back.map(|()| whole)),
            }
        }
        let answer = connection.run_alone(step, Want::Rows { at_most: usize::MAX }, tenure).await?;
        let whole = connection.hand_over(answer.rows, &self.chunks).await;
        if !whole && connection.watch().is_stopping() {
            // It is committed, but the rows that would say so did not get through in time.
            return Err(Error::CommitUnknown { source: None });
        }
        Ok(whole)
    }

    /// Tells the consumer how it ended; whether one listens makes no difference here.
    pub(super) async fn end(self, outcome: Result<()>) {
        let _ = self.chunks.send(outcome.map(|()| Vec::new())).await;
    }
}
