//! Streams, at the engine's end: running a query as fast as its consumer takes the rows.

use std::sync::mpsc::RecvTimeoutError;
use std::time::Instant;

use crate::batch::{Step, Want};
use crate::error::{Error, Result};
use crate::row::Row;
use crate::sqlite::connection::Connection;
use crate::sqlite::work::Flow;

/// Rows in the first chunk; each later one may hold four times as many, so that the first row comes soon.
const FIRST_CHUNK_ROWS: usize = 8;
const CHUNK_ROWS: usize = 512;
const CHUNK_BYTES: usize = 256 * 1024;

impl Flow {
    /// Runs the query to its end, to its consumer's, or to the deadline, and tells the consumer how it ended.
    ///
    /// # Errors
    ///
    /// What the consumer was told, for whoever must know whether the connection is still good.
    pub(crate) fn pump(self, connection: &Connection, step: &Step, deadline: Instant, expired: Error) -> Result<()> {
        let mut chunk = Vec::new();
        let (mut size, mut most) = (0, FIRST_CHUNK_ROWS);
        let mut timed_out = false;
        let outcome = connection.each_row(step, |row| {
            size += row.size();
            chunk.push(row);
            if chunk.len() < most && size < CHUNK_BYTES {
                return true;
            }
            size = 0;
            most = (most * 4).min(CHUNK_ROWS);
            let credit = self.credits.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            timed_out = credit == Err(RecvTimeoutError::Timeout);
            credit.is_ok() && self.chunks.send(Ok(std::mem::take(&mut chunk))).is_ok()
        });
        let outcome = match outcome {
            Err(Error::Cancelled) if Instant::now() >= deadline => Err(expired),
            Ok(()) if timed_out => Err(expired),
            outcome => outcome,
        };
        self.end(chunk, outcome)
    }

    /// Runs a statement that writes to its end, so that it takes effect as a whole, and then hands over its rows.
    pub(crate) fn run(self, connection: &Connection, step: &Step) -> Result<()> {
        self.hand_over(connection.run(step, Want::Rows { at_most: usize::MAX }).map(|answer| answer.rows))
    }

    /// Hands over rows that were read before.
    pub(crate) fn hand_over(self, rows: Result<Vec<Row>>) -> Result<()> {
        match rows {
            Ok(rows) => self.end(rows, Ok(())),
            Err(error) => self.end(Vec::new(), Err(error)),
        }
    }

    /// Answers a stream that is not begun.
    pub(crate) fn refuse(self, error: Error) -> Result<()> {
        self.end(Vec::new(), Err(error))
    }

    /// Whether the consumer still listens makes no difference here.
    fn end(self, rest: Vec<Row>, outcome: Result<()>) -> Result<()> {
        if outcome.is_ok() && !rest.is_empty() {
            let _ = self.chunks.send(Ok(rest));
        }
        let _ = self.chunks.send(outcome.clone().map(|()| Vec::new()));
        outcome
    }
}
