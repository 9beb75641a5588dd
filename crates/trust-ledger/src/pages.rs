//! Going through lists of any length, page by page.

use trust_ledger_registry::{Filter, Page, Record, Registry};

use crate::failure::Result;

/// Records fetched at once.
const AT_ONCE: u32 = 1_000;

/// A walk through the certificates that match, newest registered first.
pub(crate) struct Pages<'a> {
    registry: &'a Registry,
    filter: &'a Filter,
    /// Records that may still come; `None` for all.
    left: Option<u64>,
    after: Option<String>,
    ended: bool,
}

impl<'a> Pages<'a> {
    /// Begins after the given cursor, or at the beginning; ends after `limit` records, or at the end.
    pub(crate) fn new(
        registry: &'a Registry,
        filter: &'a Filter,
        limit: Option<u64>,
        after: Option<String>,
    ) -> Pages<'a> {
        Pages { registry, filter, left: limit, after, ended: limit == Some(0) }
    }

    /// The next records; `None` after the last.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Record>>> {
        if self.ended {
            return Ok(None);
        }
        let limit = self.left.map_or(AT_ONCE, |left| u32::try_from(left).unwrap_or(AT_ONCE).min(AT_ONCE));
        let page = Page { after: self.after.take(), limit, total: false };
        let found = self.registry.list(self.filter, &page).await?;
        self.left = self.left.map(|left| left - (found.records.len() as u64).min(left));
        self.after = found.next;
        self.ended = self.after.is_none() || self.left == Some(0);
        Ok(Some(found.records))
    }

    /// Where the list goes on, when it was cut off.
    pub(crate) fn cursor(&self) -> Option<&str> {
        self.after.as_deref()
    }
}
