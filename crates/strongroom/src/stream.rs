//! Streams: a query's rows as they come, in bounded memory.

use std::collections::VecDeque;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use tokio::sync::mpsc;

use crate::error::{Error, Result};
use crate::row::Row;
use crate::sqlite::FlowReader;

type Opening<'a> = Pin<Box<dyn Future<Output = Result<Rows>> + Send + 'a>>;

/// The rows of a query, read while they are asked for. At most about 1 MiB (or four single rows) waits in memory.
///
/// Nothing is sent before the first row is asked for. Dropped before its end, it stops the query and frees the
/// connection; kept longer than [`session_max_age`](crate::Config::session_max_age), it ends with
/// [`SessionExpired`](Error::SessionExpired). It is a [`Stream`], and [`next`](Self::next) needs no extension trait.
///
/// A statement that writes (`INSERT … RETURNING`) is run to its end and committed before the first row arrives; so is
/// every query of a database in memory, whose one connection is not held while rows are read.
#[must_use = "a stream does nothing before its first row is asked for"]
pub struct RowStream<'a> {
    state: State<'a>,
    /// A stream from a session borrows the session.
    _borrowed: PhantomData<&'a mut ()>,
}

enum State<'a> {
    Opening(Opening<'a>),
    Open { chunk: VecDeque<Row>, rows: Rows },
    Ended,
}

impl<'a> RowStream<'a> {
    pub(crate) fn new(opening: impl Future<Output = Result<Rows>> + Send + 'a) -> Self {
        RowStream { state: State::Opening(Box::pin(opening)), _borrowed: PhantomData }
    }

    /// The next row; `None` at the end, and after an error.
    ///
    /// Cancel safe: a future that is dropped takes no row along.
    pub async fn next(&mut self) -> Option<Result<Row>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    /// What takes no waiting: a row that is in memory, or the end.
    pub(crate) fn next_at_hand(&mut self) -> Poll<Option<Row>> {
        match &mut self.state {
            State::Opening(_) => Poll::Pending,
            State::Open { chunk, .. } => chunk.pop_front().map_or(Poll::Pending, |row| Poll::Ready(Some(row))),
            State::Ended => Poll::Ready(None),
        }
    }

    /// Stops the query: there is no further row.
    pub(crate) fn end(&mut self) {
        self.state = State::Ended;
    }
}

impl Stream for RowStream<'_> {
    type Item = Result<Row>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Row>>> {
        loop {
            let this = &mut *self;
            match &mut this.state {
                State::Ended => return Poll::Ready(None),
                State::Opening(opening) => match std::task::ready!(opening.as_mut().poll(context)) {
                    Ok(rows) => this.state = State::Open { chunk: VecDeque::new(), rows },
                    Err(error) => {
                        this.state = State::Ended;
                        return Poll::Ready(Some(Err(error)));
                    }
                },
                State::Open { chunk, rows } => {
                    if let Some(row) = chunk.pop_front() {
                        return Poll::Ready(Some(Ok(row)));
                    }
                    match std::task::ready!(next_chunk(rows, context)) {
                        Ok(next) if next.is_empty() => this.state = State::Ended,
                        Ok(next) => *chunk = next,
                        Err(error) => {
                            this.state = State::Ended;
                            return Poll::Ready(Some(Err(error)));
                        }
                    }
                }
            }
        }
    }
}

/// The rows of a query, as they come or all at once. An empty chunk is the end.
pub(crate) enum Rows {
    /// From a thread of SQLite's, each chunk against a credit.
    Flowing(FlowReader),
    /// From a task that reads them from a server, as far ahead as the channel is long.
    Pumped(mpsc::Receiver<Result<Vec<Row>>>),
    Buffered(VecDeque<Row>),
}

/// The next rows; none at the end.
fn next_chunk(rows: &mut Rows, context: &mut Context<'_>) -> Poll<Result<VecDeque<Row>>> {
    match rows {
        Rows::Buffered(rows) => Poll::Ready(Ok(std::mem::take(rows))),
        Rows::Pumped(chunks) => {
            // The task ends a stream with an empty chunk; without one its runtime was shut down, or its session ended.
            let next = std::task::ready!(chunks.poll_recv(context)).unwrap_or(Err(Error::Closed));
            Poll::Ready(next.map(VecDeque::from))
        }
        Rows::Flowing(FlowReader { chunks, credits, .. }) => {
            // The engine ends a stream with an empty chunk; without one its thread is gone.
            let next = std::task::ready!(chunks.poll_recv(context)).unwrap_or(Err(Error::Closed));
            // The engine's end is gone when it was closed meanwhile; the next poll tells.
            let _ = credits.send(());
            Poll::Ready(next.map(VecDeque::from))
        }
    }
}
