//! Lists of certificates, page by page.

use std::cmp::Reverse;
use std::fmt::Write as _;
use std::str::FromStr;
use std::sync::LazyLock;

use serde::Serialize;
use strongroom::{Dialect, Params, ReadSession, Value, params};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Registry;
use super::filter::{Filter, Window};
use super::page::Query;
use super::row::{damaged, record_columns, record_query, records as records_of, revocation_join};
use crate::error::{Error, Result};
use crate::name::{Name, NamePattern};
use crate::record::Record;
use crate::serial::Serial;

/// Records on a page at most.
pub const MAX_PAGE: u32 = 10_000;

/// One match in so many certificates is rare: at a million, sorting the matches is then as quick as meeting a page of
/// them.
const RARE: u32 = 30;

/// Records fetched by one statement when their ids are known; its text has as many placeholders.
const TOGETHER: usize = 100;

/// Certificates with the same serial that are fetched without a look at how many there are.
const FEW: u32 = 10;

pub(super) const FEW_BY_SERIAL: &str =
    record_query!("list few by serial", "certificate AS c", "WHERE c.serial = $1 LIMIT $2");

/// Which part of a list is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Where it begins: [`next`](ListPage::next) of the page before; `None` for the first page.
    pub after: Option<String>,
    /// Records on the page at most. Default 100, 1 to 10,000.
    pub limit: u32,
    /// Whether to count all that match. Of nothing but status, category and issuer this is a sum of a few rows, of more a look
    /// at each match.
    pub total: bool,
}

impl Default for Page {
    fn default() -> Self {
        Page { after: None, limit: 100, total: false }
    }
}

impl Page {
    pub(super) fn cursor(&self) -> Result<Option<Uuid>> {
        let parse = |text: &String| Uuid::from_str(text).map_err(|_| Error::Cursor { found: text.clone() });
        self.after.as_ref().map(parse).transpose()
    }

    pub(super) fn checked_limit(&self) -> Result<u32> {
        match self.limit {
            1..=MAX_PAGE => Ok(self.limit),
            found => Err(Error::PageSize { found, most: MAX_PAGE }),
        }
    }
}

/// A part of a list, newest registered first.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ListPage {
    /// The records.
    pub records: Vec<Record>,
    /// Where the next page begins; `None` when this is the last. Opaque, and good for as long as the ledger is: records
    /// registered later are not on later pages, deleted ones are missing.
    pub next: Option<String>,
    /// How many match, if that was asked for.
    pub total: Option<u64>,
}

impl ListPage {
    /// The page of the first `limit` of these records.
    fn of(mut records: Vec<Record>, limit: usize, total: Option<u64>) -> ListPage {
        let more = records.len() > limit;
        records.truncate(limit);
        let next = records.last().filter(|_| more).map(|record| record.id.to_string());
        ListPage { records, next, total }
    }
}

impl Registry {
    /// The certificates that match, newest registered first, one page at a time.
    ///
    /// A page costs the same wherever it is, and whatever the size of the ledger, as long as there is at most one
    /// condition. Two conditions are quick when either is rare or both are common. Name patterns and dates whose
    /// matches are neither few nor a large part of the ledger take longer; [`NamePattern::Infix`] reads every name.
    ///
    /// # Errors
    ///
    /// [`Error::Cursor`], [`Error::PageSize`], [`Error::Database`].
    pub async fn list(&self, filter: &Filter, page: &Page) -> Result<ListPage> {
        // One more than asked for tells whether there is a next page.
        let limit = page.checked_limit()?;
        let window = Window { cursor: page.cursor()?, limit: Some(limit + 1), now: self.instant() };
        if let Some(pattern @ NamePattern::Infix(_)) = &filter.name {
            return self.list_by_scan(filter, pattern, page, window).await;
        }
        if let Some(serial) = filter.only_serial()
            && let Some(mut all) = self.few_with(serial, window.now).await?
        {
            let total = page.total.then_some(all.len() as u64);
            all.retain(|record| window.cursor.is_none_or(|cursor| record.id < cursor));
            return Ok(ListPage::of(all, limit as usize, total));
        }
        let records = if filter.is_range() {
            self.list_range(filter, window).await?
        } else {
            let (sql, params) = page_query(self.db.dialect(), filter, window);
            records_of(self.db.fetch_all(&sql, params).await?, window.now)?
        };
        let total = if page.total { Some(self.total(filter, window.now).await?) } else { None };
        Ok(ListPage::of(records, limit as usize, total))
    }

    /// All certificates with this serial, newest registered first, if they are few, as they should be: so they need not be found
    /// first and fetched then.
    async fn few_with(&self, serial: &Serial, now: OffsetDateTime) -> Result<Option<Vec<Record>>> {
        let rows = self.db.fetch_all(FEW_BY_SERIAL, params![serial.as_bytes(), i64::from(FEW) + 1]).await?;
        if rows.len() > FEW as usize {
            return Ok(None);
        }
        let mut records = records_of(rows, now)?;
        records.sort_unstable_by_key(|record| Reverse(record.id));
        Ok(Some(records))
    }

    /// How many certificates match.
    async fn total(&self, filter: &Filter, now: OffsetDateTime) -> Result<u64> {
        if filter.is_of_kind() {
            return self.count_of_kind(filter, now).await;
        }
        let (sql, params) = filter.count(self.db.dialect(), now);
        Ok(self.db.fetch_one(&sql, params).await?.get(0)?)
    }

    /// A page of matches that an index has in another order. Where they are frequent, they are met soon in the list's own
    /// order; where they are rare, sorting all of them is quick.
    async fn list_range(&self, filter: &Filter, window: Window) -> Result<Vec<Record>> {
        let wanted = window.limit.unwrap_or(MAX_PAGE);
        let mut session = self.db.read_session().await?;
        let mut look = wanted.saturating_mul(3);
        for _ in 0..2 {
            let ids = newest_that_fit(&mut session, self.db.dialect(), filter, window, look).await?;
            if let Some(ids) = ids.get(..wanted as usize) {
                return fetch_together(&mut session, ids, window.now).await;
            }
            let found = u32::try_from(ids.len()).unwrap_or(u32::MAX);
            if found <= look / RARE {
                break;
            }
            // As many more as this share promises, and half of that again.
            look = (u64::from(look) * u64::from(wanted) * 3 / u64::from(found) / 2).try_into().unwrap_or(u32::MAX);
        }
        let (sql, params) = page_query(self.db.dialect(), filter, window);
        records_of(session.fetch_all(&sql, params).await?, window.now)
    }

    /// A page of what only reading every name can find.
    async fn list_by_scan(
        &self,
        filter: &Filter,
        pattern: &NamePattern,
        page: &Page,
        window: Window,
    ) -> Result<ListPage> {
        const NAMES: &str = "-- list by scan\nSELECT n.name, n.certificate FROM certificate_name AS n";
        let rest = Filter { name: None, ..filter.clone() };
        let limit = page.limit as usize;
        let mut session = self.db.read_session().await?;
        let mut ids: Vec<Uuid> = Vec::new();
        let mut rows = session.fetch(NAMES, params![]);
        while let Some(row) = rows.next().await {
            let row = row?;
            if pattern.matches(&row.get::<String>(0)?) {
                ids.push(row.get(1)?);
            }
        }
        drop(rows);
        ids.sort_unstable_by(|a, b| b.cmp(a));
        ids.dedup();
        let mut fitting = Vec::new();
        let mut total = 0;
        for some in ids.chunks(TOGETHER) {
            let some = if rest == Filter::default() {
                some.to_vec()
            } else {
                let mut query = Query::new(self.db.dialect(), "-- list by scan, other conditions\n");
                rest.among(&mut query, some, window.now);
                let (sql, params) = query.into_parts();
                let rows = session.fetch_all(&sql, params).await?;
                rows.iter().map(|row| Ok(row.get(0)?)).collect::<Result<Vec<Uuid>>>()?
            };
            total += some.len() as u64;
            let after_cursor = some.into_iter().filter(|id| window.cursor.is_none_or(|cursor| *id < cursor));
            fitting.extend(after_cursor.take(limit + 1 - fitting.len().min(limit + 1)));
            if !page.total && fitting.len() > limit {
                break;
            }
        }
        let next = fitting.get(limit - 1).filter(|_| fitting.len() > limit).map(Uuid::to_string);
        fitting.truncate(limit);
        let records = fetch_together(&mut session, &fitting, window.now).await?;
        Ok(ListPage { records, next, total: page.total.then_some(total) })
    }
}

/// The statement for a page of records, found by one index.
pub(super) fn page_query(dialect: Dialect, filter: &Filter, window: Window) -> (String, Params) {
    // The ids are found first, from indexes alone where there is one condition; only theirs are read.
    let mut query = Query::new(dialect, record_columns!("list"));
    query.text("FROM (");
    filter.ids(&mut query, window);
    query.text(") AS page CROSS JOIN certificate AS c");
    query.text(revocation_join!());
    query.text("WHERE c.id = page.id ORDER BY page.id DESC");
    query.into_parts()
}

/// Those of the `look` newest certificates that match, newest first.
async fn newest_that_fit(
    session: &mut ReadSession,
    dialect: Dialect,
    filter: &Filter,
    window: Window,
    look: u32,
) -> Result<Vec<Uuid>> {
    let mut query = Query::new(dialect, "-- list newest\n");
    filter.among_newest(&mut query, window, look);
    let (sql, params) = query.into_parts();
    let mut ids = Vec::new();
    for row in session.fetch_all(&sql, params).await? {
        let id: Uuid = row.get(0)?;
        let fits = match &filter.name {
            None => true,
            Some(pattern) => {
                let common_name: Option<String> = row.get(1)?;
                let names: Vec<Name> =
                    serde_json::from_str(&row.get::<String>(2)?).map_err(|_| damaged("names", id))?;
                common_name.is_some_and(|name| pattern.matches(&name))
                    || names.iter().any(|name| pattern.matches(&name.value))
            }
        };
        if fits {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// The records with these ids, in their order.
async fn fetch_together(session: &mut ReadSession, ids: &[Uuid], now: OffsetDateTime) -> Result<Vec<Record>> {
    const RECORDS: &str = record_query!("list by ids", "certificate AS c", "WHERE c.id IN ($1");
    static SQL: LazyLock<String> = LazyLock::new(|| {
        let mut sql = RECORDS.to_owned();
        for number in 2..=TOGETHER {
            // Writing to a String cannot fail.
            let _ = write!(sql, ", ${number}");
        }
        sql + ") ORDER BY c.id DESC"
    });
    let mut found = Vec::with_capacity(ids.len());
    for some in ids.chunks(TOGETHER) {
        let filling = std::iter::repeat_n(some[0], TOGETHER - some.len());
        let values: Vec<Value> = some.iter().copied().chain(filling).map(Value::from).collect();
        found.extend(records_of(session.fetch_all(&SQL, Params::from(values)).await?, now)?);
    }
    Ok(found)
}
