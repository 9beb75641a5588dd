//! Rows as they come, for a thread that waits for them.

use std::iter::FusedIterator;
use std::task::Poll;

use crate::blocking::wait;
use crate::error::{Error, Result};
use crate::row::Row;
use crate::stream::RowStream;

/// The rows of a query, read while they are asked for: a [`RowStream`] as an [`Iterator`].
///
/// Memory, age and end are as there. Dropped before its end, it stops the query and frees the connection, without waiting.
/// The first error is the last item.
#[must_use = "rows are not read before they are asked for"]
pub struct Rows<'a> {
    inner: RowStream<'a>,
}

impl<'a> Rows<'a> {
    pub(super) fn new(inner: RowStream<'a>) -> Self {
        Rows { inner }
    }
}

impl Iterator for Rows<'_> {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Poll::Ready(next) = self.inner.next_at_hand() {
            return next.map(Ok);
        }
        let next = wait(async { Ok::<_, Error>(self.inner.next().await) });
        next.unwrap_or_else(|error| {
            // Whoever reads on after errors comes to an end.
            self.inner.end();
            Some(Err(error))
        })
    }
}

impl FusedIterator for Rows<'_> {}
