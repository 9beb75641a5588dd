//! Counts: how many certificates of each kind there are.
//!
//! They are sums over the table `certificate_count`, which triggers keep in the transaction of each change: it has one row
//! per issuer, category, state of revocation and day of expiry. What time alone changes is the current day, which is
//! counted from an index.

use std::collections::BTreeMap;

use serde::Serialize;
use strongroom::{Dialect, ReadSession, params};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Registry;
use super::filter::Filter;
use super::page::Query;
use super::row::hex;
use crate::certificate::Category;
use crate::error::{Error, Result};
use crate::record::{Finding, ON_HOLD, REVOKED, Status, category_code, category_of};

/// How many certificates of each kind there are at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Counts {
    /// All of them.
    pub total: u64,
    /// By status; each of the five is there.
    pub by_status: BTreeMap<Status, u64>,
    /// By category; each of the five is there.
    pub by_category: BTreeMap<Category, u64>,
    /// By issuer, the one with most first; only those that have any.
    pub by_issuer: Vec<IssuerCount>,
    /// By month of notAfter in UTC, of those that are neither revoked nor on hold, earliest first; only months that have
    /// any.
    pub by_month: Vec<MonthCount>,
}

/// How many certificates of an issuer there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct IssuerCount {
    /// The issuer.
    pub issuer_id: Uuid,
    /// Its name, RFC 4514.
    pub name: String,
    /// Its key identifier in lower-case hex, when one is known: what tells the keys of a CA apart.
    pub key_id: Option<String>,
    /// Certificates.
    pub certificates: u64,
}

/// How many certificates expire in a month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MonthCount {
    /// The year, 0 to 9999.
    pub year: i32,
    /// The month, 1 to 12.
    pub month: u8,
    /// Certificates.
    pub certificates: u64,
}

/// How many certificates have each finding. One may have several.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct FindingCounts {
    /// Certificates with at least one.
    pub certificates: u64,
    /// By finding; each of the four is there.
    pub by_finding: BTreeMap<Finding, u64>,
}

impl Registry {
    /// Counts by status, category, issuer and month of expiry, all of the same moment.
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub async fn counts(&self) -> Result<Counts> {
        let now = self.instant();
        let mut session = self.db.read_session().await?;
        let today = day_of(now);
        let mut counts = Counts::default();
        counts.by_category.extend(Category::ALL.into_iter().map(|category| (category, 0)));
        let mut status = by_state(&mut session, today).await?;
        let (dialect, all) = (self.db.dialect(), Filter::default());
        let expired_today = expired_on(&mut session, dialect, &all, today, now).await?;
        let not_yet_valid = not_yet_valid(&mut session, dialect, &all, now).await?;
        status.expired += expired_today;
        status.unexpired = status.unexpired.saturating_sub(expired_today);
        counts.by_status.extend([
            (Status::Revoked, status.revoked),
            (Status::OnHold, status.on_hold),
            (Status::Expired, status.expired),
            (Status::NotYetValid, not_yet_valid),
            (Status::Valid, status.unexpired.saturating_sub(not_yet_valid)),
        ]);
        counts.total = counts.by_status.values().sum();
        for (category, certificates) in by_category(&mut session).await? {
            counts.by_category.insert(category, certificates);
        }
        counts.by_issuer = by_issuer(&mut session).await?;
        counts.by_month = by_month(&mut session).await?;
        Ok(counts)
    }

    /// How many certificates have each finding.
    ///
    /// # Errors
    ///
    /// [`Error::Database`].
    pub async fn findings(&self) -> Result<FindingCounts> {
        const SQL: &str = "-- findings\n\
            SELECT c.weak, c.duplicate_serial, c.key_reused, count(*) FROM certificate AS c \
            WHERE c.weak + c.duplicate_serial + c.key_reused > 0 GROUP BY 1, 2, 3";
        let mut counts = FindingCounts::default();
        counts.by_finding.extend(Finding::ALL.into_iter().map(|finding| (finding, 0)));
        for row in self.db.fetch_all(SQL, params![]).await? {
            let certificates: u64 = row.get(3)?;
            counts.certificates += certificates;
            for finding in Finding::from_columns(row.get(0)?, row.get(1)?, row.get(2)?) {
                *counts.by_finding.entry(finding).or_default() += certificates;
            }
        }
        Ok(counts)
    }
}

#[derive(Default)]
struct ByState {
    revoked: u64,
    on_hold: u64,
    expired: u64,
    unexpired: u64,
}

impl Registry {
    /// How many certificates match a filter that [is of kinds](Filter::is_of_kind).
    pub(super) async fn count_of_kind(&self, filter: &Filter, now: OffsetDateTime) -> Result<u64> {
        let dialect = self.db.dialect();
        let mut session = self.db.read_session().await?;
        let today = day_of(now);
        let (revoked, days) = match filter.status {
            None => (None, None),
            Some(Status::Revoked) => (Some(REVOKED), None),
            Some(Status::OnHold) => (Some(ON_HOLD), None),
            Some(Status::Expired) => (Some(0), Some(" AND expiry_day < $")),
            Some(Status::Valid) => (Some(0), Some(" AND expiry_day >= $")),
            Some(Status::NotYetValid) => return not_yet_valid(&mut session, dialect, filter, now).await,
            Some(Status::Unknown) => return Ok(0),
        };
        let mut query =
            Query::new(dialect, "-- count of a kind\nSELECT coalesce(sum(n), 0) FROM certificate_count WHERE 1 = 1");
        query.push_some(" AND issuer = $", filter.issuer);
        query.push_some(" AND category = $", filter.category.map(category_code));
        query.push_some(" AND revoked = $", revoked);
        if let Some(days) = days {
            query.push(days, today);
        }
        let (sql, params) = query.into_parts();
        let sum: u64 = session.fetch_one(&sql, params).await?.get(0)?;
        if days.is_none() {
            return Ok(sum);
        }
        let expired_today = expired_on(&mut session, dialect, filter, today, now).await?;
        if filter.status == Some(Status::Expired) {
            return Ok(sum + expired_today);
        }
        let not_yet_valid = not_yet_valid(&mut session, dialect, filter, now).await?;
        Ok(sum.saturating_sub(expired_today + not_yet_valid))
    }
}

/// Sums by state; the days before today have expired.
async fn by_state(session: &mut ReadSession, today: i64) -> Result<ByState> {
    const SQL: &str = "-- counts by state\n\
        SELECT revoked, expiry_day < $1, sum(n) FROM certificate_count GROUP BY 1, 2";
    let mut by = ByState::default();
    for row in session.fetch_all(SQL, params![today]).await? {
        let certificates: u64 = row.get(2)?;
        match (row.get(0)?, row.get(1)?) {
            (REVOKED, _) => by.revoked += certificates,
            (ON_HOLD, _) => by.on_hold += certificates,
            (_, true) => by.expired += certificates,
            (_, false) => by.unexpired += certificates,
        }
    }
    Ok(by)
}

/// Of those of a kind that expire today, the ones that have.
async fn expired_on(
    session: &mut ReadSession,
    dialect: Dialect,
    kind: &Filter,
    today: i64,
    now: OffsetDateTime,
) -> Result<u64> {
    let midnight = OffsetDateTime::from_unix_timestamp(today * 86_400).unwrap_or(now);
    let mut query = Query::new(
        dialect,
        "-- counts expired today\n\
         SELECT count(*) FROM certificate AS c WHERE c.lapsed IN (0, 1) AND c.revoked = 0",
    );
    query.push(" AND c.not_after >= $", midnight);
    query.push(" AND c.not_after < $", now);
    query.check_some(" AND +c.issuer = $", kind.issuer);
    query.check_some(" AND +c.category = $", kind.category.map(category_code));
    let (sql, params) = query.into_parts();
    Ok(session.fetch_one(&sql, params).await?.get(0)?)
}

/// Of those of a kind, the ones whose validity has not begun.
async fn not_yet_valid(session: &mut ReadSession, dialect: Dialect, kind: &Filter, now: OffsetDateTime) -> Result<u64> {
    let (sql, params) = Filter { status: Some(Status::NotYetValid), ..kind.clone() }.count(dialect, now);
    Ok(session.fetch_one(&sql, params).await?.get(0)?)
}

async fn by_category(session: &mut ReadSession) -> Result<Vec<(Category, u64)>> {
    const SQL: &str =
        "-- counts by category\nSELECT category, sum(n) FROM certificate_count GROUP BY 1 HAVING sum(n) > 0";
    let category = |code: i64| {
        category_of(code).ok_or_else(|| Error::Damaged { what: "category", object: format!("a count of code {code}") })
    };
    session.fetch_all(SQL, params![]).await?.iter().map(|row| Ok((category(row.get(0)?)?, row.get(1)?))).collect()
}

async fn by_issuer(session: &mut ReadSession) -> Result<Vec<IssuerCount>> {
    const SQL: &str = "-- counts by issuer\n\
        SELECT i.id, i.name, i.key_id, sum(s.n) FROM certificate_count AS s JOIN issuer AS i ON i.id = s.issuer \
        GROUP BY i.id, i.name, i.key_id HAVING sum(s.n) > 0 ORDER BY 4 DESC, 2, 1";
    let rows = session.fetch_all(SQL, params![]).await?;
    rows.iter()
        .map(|row| {
            let key_id = row.get::<Option<Vec<u8>>>(2)?.as_deref().map(hex);
            Ok(IssuerCount { issuer_id: row.get(0)?, name: row.get(1)?, key_id, certificates: row.get(3)? })
        })
        .collect()
}

async fn by_month(session: &mut ReadSession) -> Result<Vec<MonthCount>> {
    const SQL: &str = "-- counts by day of expiry\n\
        SELECT expiry_day, sum(n) FROM certificate_count WHERE revoked = 0 GROUP BY 1 HAVING sum(n) > 0";
    let mut months = BTreeMap::<(i32, u8), u64>::new();
    for row in session.fetch_all(SQL, params![]).await? {
        let day: i64 = row.get(0)?;
        let date = day
            .checked_mul(86_400)
            .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
            .ok_or_else(|| Error::Damaged { what: "expiry_day", object: format!("a count of day {day}") })?;
        *months.entry((date.year(), date.month().into())).or_default() += row.get::<u64>(1)?;
    }
    Ok(months.into_iter().map(|((year, month), certificates)| MonthCount { year, month, certificates }).collect())
}

/// The day of a time, in days since 1970-01-01.
fn day_of(time: OffsetDateTime) -> i64 {
    time.unix_timestamp().div_euclid(86_400)
}
