//! Copying a ledger into another, from whichever engine to whichever.
//!
//! There is no record of how far a copy is: the target itself is it. Rows are written in the order of their keys, a page in a
//! transaction, and each is left alone when it is there. So a copy that was cut short goes on by comparing what the target
//! holds with the source, which also tells whether it is a copy of this source at all, before anything is written.

mod table;

use std::cmp::Ordering;
use std::collections::VecDeque;

use serde::Serialize;
use strongroom::{ReadSession, Value, params};

use self::table::{COUNTS, Entry, Sum, TABLES, Table};
use super::Registry;
use super::row::hex;
use crate::error::{Error, Result};

/// How far a copy is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyProgress {
    /// What is being done.
    pub phase: CopyPhase,
    /// Rows done in this phase, of all tables.
    pub rows: u64,
    /// Rows there are.
    pub total: u64,
}

/// What a copy is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyPhase {
    /// Comparing what the target holds already with the source.
    Comparing,
    /// Copying rows.
    Copying,
    /// Reading the target back.
    Proving,
}

/// What a copy did, and the proof of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Copied {
    /// Whether every table is equal in source and target.
    pub equal: bool,
    /// Whether the source has changed since the copy began: the target is equal to what it was then.
    pub source_changed: bool,
    /// Rows that were copied now; those of an earlier copy that was cut short are not among them.
    pub rows_copied: u64,
    /// The tables, and the sums of `certificate_count`.
    pub tables: Vec<CopiedTable>,
}

/// A table as it was read from the source and, after the copy, from the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CopiedTable {
    /// Its name.
    pub table: &'static str,
    /// Whether source and target are equal, by number of rows and hash.
    pub equal: bool,
    /// Rows in the source.
    pub source_rows: u64,
    /// Rows in the target.
    pub target_rows: u64,
    /// SHA-256 over all rows of the source in the order of their keys, lower-case hex. It is the same on every engine.
    pub source_sha256: String,
    /// The same of the target.
    pub target_sha256: String,
}

/// Where a copy's reports go.
type Report<'a> = &'a mut (dyn FnMut(CopyProgress) + Send);

impl Registry {
    /// Copies this ledger into another one, which must be empty or hold what an earlier copy of this one left; then reads it
    /// back, and tells whether the two are equal.
    ///
    /// The source is read in one snapshot, which others may write behind: what they do is not copied, and
    /// [`source_changed`](Copied::source_changed) says so. Copied again, a target gets what has come since; when something
    /// that it holds has *changed* since, it is refused. Nobody else may write to the target meanwhile.
    ///
    /// A table is copied in pages of at most 3,000 rows, each a transaction; no more than two pages are in memory. The
    /// snapshot must last for all of it: open the source, and the target, which is read back in one, too, with
    /// [`session_max_age`](strongroom::Config::session_max_age) at its most.
    ///
    /// `progress` is called after each page.
    ///
    /// # Errors
    ///
    /// [`Error::CopySource`] and [`Error::CopyTarget`] when a database fails; what was written stays, and copying again goes on
    /// from there. [`Error::CopyRefused`] when the target holds something else; nothing was written.
    ///
    /// # Cancel safety
    ///
    /// Dropped, the page under way is stored or not; copying again goes on from there.
    pub async fn copy_to(&self, target: &Registry, progress: &mut (dyn FnMut(CopyProgress) + Send)) -> Result<Copied> {
        let mut source = self.db.read_session().await.map_err(source_failed)?;
        let events = latest_event(&mut source).await.map_err(source_failed)?;
        let mut total = 0;
        for table in &TABLES {
            total += count(&mut source, table).await.map_err(source_failed)?;
        }
        let begun = target.compare(&mut source, total, progress).await?;

        let mut sums = Vec::new();
        let mut rows_copied = 0;
        let mut rows = 0;
        for (table, begun) in TABLES.iter().zip(begun) {
            let report = &mut |new: u64| {
                rows += new;
                progress(CopyProgress { phase: CopyPhase::Copying, rows, total });
            };
            let (sum, copied) = target.fill(table, &mut source, begun, report).await?;
            sums.push(sum);
            rows_copied += copied;
        }
        target.sum_up_counts().await.map_err(target_failed)?;
        sums.push(sum_of(&COUNTS, &mut source, &mut |_| ()).await.map_err(source_failed)?);
        drop(source);

        let tables = target.prove(sums, total, progress).await?;
        let mut source = self.db.read_session().await.map_err(source_failed)?;
        let source_changed = latest_event(&mut source).await.map_err(source_failed)? != events;
        let equal = tables.iter().all(|table| table.equal);
        Ok(Copied { equal, source_changed, rows_copied, tables })
    }

    /// Looks at what this target holds, and refuses it when that is not from the source. Writes nothing.
    async fn compare(&self, source: &mut ReadSession, total: u64, progress: Report<'_>) -> Result<Vec<Begun>> {
        let mut target = self.db.read_session().await.map_err(target_failed)?;
        let mut begun = Vec::new();
        let mut rows = 0;
        for table in &TABLES {
            begun.push(match count(&mut target, table).await.map_err(target_failed)? {
                0 => Begun::default(),
                _ => {
                    let report = &mut |new: u64| {
                        rows += new;
                        progress(CopyProgress { phase: CopyPhase::Comparing, rows, total });
                    };
                    compare(table, source, &mut target, report).await?
                }
            });
        }
        Ok(begun)
    }

    /// Writes what is missing of a table. Answers the sum of the source's rows, and how many were written.
    async fn fill(
        &self,
        table: &Table,
        source: &mut ReadSession,
        begun: Begun,
        report: &mut (dyn FnMut(u64) + Send),
    ) -> Result<(Sum, u64)> {
        report(begun.before);
        if begun.is_whole {
            return Ok((begun.sum, 0));
        }
        let is_new = begun.sum.rows == 0;
        let (mut sum, mut copied) = (begun.sum, 0);
        let mut page = table.page(source, begun.after.as_deref()).await.map_err(source_failed)?;
        while let Some(last) = page.last() {
            let rows = page.len() as u64;
            let (after, is_last) = (table.key_of(last).to_vec(), table.is_last(&page));
            if is_new {
                page.iter().for_each(|entry| sum.add(entry));
            }
            // The next page is read while this one is written.
            let (sql, params) = table.insert(self.db.dialect(), page);
            let next = async {
                match is_last {
                    true => Ok(Vec::new()),
                    false => table.page(source, Some(&after)).await,
                }
            };
            let (written, next) = tokio::join!(self.db.execute_many(&sql, params), next);
            copied += written.map_err(target_failed)?;
            report(rows);
            page = next.map_err(source_failed)?;
        }
        Ok((sum, copied))
    }

    /// Reads all of this target, and compares it with the source's sums.
    async fn prove(&self, sums: Vec<Sum>, total: u64, progress: Report<'_>) -> Result<Vec<CopiedTable>> {
        let mut session = self.db.read_session().await.map_err(target_failed)?;
        let mut tables = Vec::new();
        let mut rows = 0;
        for (table, source) in TABLES.iter().chain([&COUNTS]).zip(sums) {
            let report = &mut |new: u64| {
                rows += new;
                progress(CopyProgress { phase: CopyPhase::Proving, rows: rows.min(total), total });
            };
            let target = sum_of(table, &mut session, report).await.map_err(target_failed)?;
            let (source_sha256, target_sha256) = (hex(&source.sha256()), hex(&target.sha256()));
            tables.push(CopiedTable {
                table: table.name,
                equal: source.rows == target.rows && source_sha256 == target_sha256,
                source_rows: source.rows,
                target_rows: target.rows,
                source_sha256,
                target_sha256,
            });
        }
        Ok(tables)
    }
}

/// What a target holds of a table before a copy goes on.
#[derive(Default)]
struct Begun {
    /// Of all the source's rows, if there was anything to compare.
    sum: Sum,
    /// The key of the last row before the first that is missing; `None` when the first is.
    after: Option<Vec<Value>>,
    /// Rows up to there.
    before: u64,
    /// Whether none is missing.
    is_whole: bool,
}

/// Walks through both, side by side. Every row of the target must be the source's.
async fn compare(
    table: &Table,
    source: &mut ReadSession,
    target: &mut ReadSession,
    report: &mut (dyn FnMut(u64) + Send),
) -> Result<Begun> {
    let refused = || Error::CopyRefused { table: table.name };
    let mut begun = Begun { is_whole: true, ..Begun::default() };
    let (mut ours, mut theirs) = (Walk::new(table, source), Walk::new(table, target));
    let mut there = theirs.next().await.map_err(target_failed)?;
    let mut unreported = 0;
    while let Some(entry) = ours.next().await.map_err(source_failed)? {
        begun.sum.add(&entry);
        let is_there = match there.as_ref().map(|there| (table.order(there, &entry), there)) {
            // Behind the end of what is there, or within a gap.
            None | Some((Ordering::Greater, _)) => false,
            Some((Ordering::Equal, there)) if *there == entry => true,
            Some(_) => return Err(refused()),
        };
        if is_there {
            there = theirs.next().await.map_err(target_failed)?;
        }
        begun.is_whole &= is_there;
        if begun.is_whole {
            begun.before += 1;
            begun.after = Some(table.key_of(&entry).to_vec());
        }
        unreported += 1;
        if unreported == 1_000 {
            report(std::mem::take(&mut unreported));
        }
    }
    report(unreported);
    if there.is_some() { Err(refused()) } else { Ok(begun) }
}

/// A table's rows in the order of their keys, read page by page.
struct Walk<'s> {
    table: &'s Table,
    session: &'s mut ReadSession,
    page: VecDeque<Entry>,
    /// Where the next page begins.
    after: Option<Vec<Value>>,
    is_last: bool,
}

impl<'s> Walk<'s> {
    fn new(table: &'s Table, session: &'s mut ReadSession) -> Walk<'s> {
        Walk { table, session, page: VecDeque::new(), after: None, is_last: false }
    }

    async fn next(&mut self) -> strongroom::Result<Option<Entry>> {
        if self.page.is_empty() && !self.is_last {
            let page = self.table.page(self.session, self.after.as_deref()).await?;
            self.is_last = self.table.is_last(&page);
            self.after = page.last().map(|last| self.table.key_of(last).to_vec());
            self.page = page.into();
        }
        Ok(self.page.pop_front())
    }
}

/// The sum over all rows of a table.
async fn sum_of(
    table: &Table,
    session: &mut ReadSession,
    report: &mut (dyn FnMut(u64) + Send),
) -> strongroom::Result<Sum> {
    let mut sum = Sum::default();
    let mut after: Option<Vec<Value>> = None;
    loop {
        let page = table.page(session, after.as_deref()).await?;
        page.iter().for_each(|entry| sum.add(entry));
        report(page.len() as u64);
        if table.is_last(&page) {
            return Ok(sum);
        }
        after = page.last().map(|last| table.key_of(last).to_vec());
    }
}

async fn count(session: &mut ReadSession, table: &Table) -> strongroom::Result<u64> {
    session.fetch_one(&table.count(), params![]).await?.get(0)
}

/// What tells one state of a ledger from another: every change appends an event.
async fn latest_event(session: &mut ReadSession) -> strongroom::Result<(u64, Option<Vec<u8>>)> {
    const SQL: &str = "-- copy: latest event\n\
        SELECT (SELECT count(*) FROM event), (SELECT id FROM event ORDER BY id DESC LIMIT 1)";
    let row = session.fetch_one(SQL, params![]).await?;
    let id: Option<uuid::Uuid> = row.get(1)?;
    Ok((row.get(0)?, id.map(|id| id.as_bytes().to_vec())))
}

fn source_failed(error: strongroom::Error) -> Error {
    Error::CopySource(error)
}

fn target_failed(error: strongroom::Error) -> Error {
    Error::CopyTarget(error)
}
