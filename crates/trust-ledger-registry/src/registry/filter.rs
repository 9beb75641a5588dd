//! Which certificates a list is asked for, and the statement that finds their ids.
//!
//! Lists are in the order of ids, newest registered first, so that a page is a range after a cursor. One condition,
//! the *driver*, is answered by an index that ends in the id; the others are checked on each row it yields. Their columns
//! carry a unary `+`, which keeps SQLite's planner from choosing another index than this module did. PostgreSQL's goes by its
//! statistics, but where these mislead it.

use strongroom::{Dialect, Params, Value};
use time::OffsetDateTime;
use uuid::Uuid;

use super::page::Query;
use crate::certificate::Category;
use crate::name::NamePattern;
use crate::record::{Status, category_code, without_nul};
use crate::serial::Serial;

/// Which certificates are asked for; all conditions must hold, and what is `None` or false matches all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// With this serial.
    pub serial: Option<Serial>,
    /// With this status now.
    pub status: Option<Status>,
    /// Of this category.
    pub category: Option<Category>,
    /// Of this issuer.
    pub issuer: Option<Uuid>,
    /// With a common name or alternative name that fits. [`NamePattern::Infix`] reads every name.
    pub name: Option<NamePattern>,
    /// Of this owner.
    pub owner: Option<String>,
    /// With this tag.
    pub tag: Option<String>,
    /// From this source.
    pub source: Option<String>,
    /// With at least one finding.
    pub weak: bool,
    /// With notAfter at or after this.
    pub expires_from: Option<OffsetDateTime>,
    /// With notAfter before this.
    pub expires_until: Option<OffsetDateTime>,
    /// Registered at or after this.
    pub registered_from: Option<OffsetDateTime>,
    /// Registered before this.
    pub registered_until: Option<OffsetDateTime>,
}

/// What bounds a page of ids.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// Only ids below this; none for the first page.
    pub(super) cursor: Option<Uuid>,
    /// At most so many; none for all, which only counts ask for.
    pub(super) limit: Option<u32>,
    pub(super) now: OffsetDateTime,
}

/// The condition whose index is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Driver {
    Name,
    Serial,
    Tag,
    Owner,
    Weak,
    Revoked,
    NotYetValid,
    Source,
    Issuer,
    /// Valid or expired.
    Lapsed,
    Category,
    Expiry,
    Id,
}

impl Filter {
    /// The serial, when that is all that is asked for.
    pub(super) fn only_serial(&self) -> Option<&Serial> {
        self.serial.as_ref().filter(|serial| *self == Filter { serial: Some((*serial).clone()), ..Filter::default() })
    }

    /// Whether it asks for nothing but what certificates are counted by: status, category and issuer.
    pub(super) fn is_of_kind(&self) -> bool {
        let Filter { status, category, issuer, .. } = *self;
        *self == Filter { status, category, issuer, ..Filter::default() }
    }

    /// The index that is expected to leave least to check. Names, serials, tags and owners are narrow, categories and
    /// validity wide.
    fn driver(&self) -> Driver {
        match self.status {
            _ if self.name.is_some() => Driver::Name,
            _ if self.serial.is_some() => Driver::Serial,
            _ if self.tag.is_some() => Driver::Tag,
            _ if self.owner.is_some() => Driver::Owner,
            _ if self.weak => Driver::Weak,
            Some(Status::Revoked | Status::OnHold) => Driver::Revoked,
            Some(Status::NotYetValid) => Driver::NotYetValid,
            _ if self.source.is_some() => Driver::Source,
            _ if self.issuer.is_some() => Driver::Issuer,
            _ if self.category.is_some_and(|category| category != Category::Device) => Driver::Category,
            Some(_) => Driver::Lapsed,
            None if self.category.is_some() => Driver::Category,
            None if self.expires_from.is_some() || self.expires_until.is_some() => Driver::Expiry,
            None => Driver::Id,
        }
    }

    /// Whether matches are found by a range of another order than the list's, so that all of them have to be sorted.
    pub(super) fn is_range(&self) -> bool {
        match self.driver() {
            Driver::Name => matches!(self.name, Some(NamePattern::Prefix(_) | NamePattern::Suffix(_))),
            driver => driver == Driver::Expiry,
        }
    }

    /// Adds the query for the ids to `query`: in descending order, each once.
    pub(super) fn ids(&self, query: &mut Query, window: Window) {
        match (self.driver(), self.status) {
            (Driver::Lapsed, Some(status)) => {
                // Those that the column tells right, in the order of ids, and the few that it does not yet.
                let lapsed = i64::from(status == Status::Expired);
                query.text("SELECT id FROM (SELECT c.id AS id FROM certificate AS c WHERE c.revoked = 0");
                query.push(" AND c.lapsed = $", lapsed);
                self.close(query, window, Driver::Lapsed, "c.id");
                query.text(") AS told UNION ALL SELECT id FROM (SELECT c.id AS id FROM certificate AS c WHERE 1 = 1");
                query.push(" AND c.lapsed = $", 1 - lapsed);
                untold(query, status, window.now);
                self.close(query, window, Driver::Expiry, "c.id");
                query.text(") AS untold");
                if let Some(limit) = window.limit {
                    query.push(" ORDER BY id DESC LIMIT $", limit);
                }
            }
            (Driver::NotYetValid, _) => {
                // What begins in the future did so when it was registered, unless that is in the future too.
                query.text("SELECT id FROM (");
                let key = self.open(query, Driver::NotYetValid, window.now);
                self.close(query, window, Driver::NotYetValid, key);
                query.text(") AS told UNION ALL SELECT id FROM (SELECT c.id AS id FROM certificate AS c WHERE 1 = 1");
                query.push(" AND c.id >= $", first_id(window.now));
                query.check_text(" AND +c.not_before <= c.registered_at");
                self.close(query, window, Driver::Id, "c.id");
                query.text(") AS untold");
                if let Some(limit) = window.limit {
                    query.push(" ORDER BY id DESC LIMIT $", limit);
                }
            }
            (driver, _) => {
                let key = self.open(query, driver, window.now);
                self.close(query, window, driver, key);
            }
        }
    }

    /// The statement that counts those that match.
    pub(super) fn count(&self, dialect: Dialect, now: OffsetDateTime) -> (String, Params) {
        let mut query = Query::new(dialect, "-- total\nSELECT count(*) FROM (");
        self.ids(&mut query, Window { cursor: None, limit: None, now });
        query.text(") AS matches");
        query.into_parts()
    }

    /// Adds the query for those of the `look` newest certificates that meet all conditions but the name's, with their
    /// names, newest first.
    pub(super) fn among_newest(&self, query: &mut Query, window: Window, look: u32) {
        query.text("SELECT c.id, c.common_name, c.names FROM (SELECT ");
        query.text(match query.dialect() {
            Dialect::Sqlite => "n.id",
            // A join would be planned for a tenth of the ledger: how many are looked at is not known then.
            Dialect::Postgres => {
                "n.id, n.common_name, n.names, n.serial, n.revoked, n.not_before, n.not_after, n.owner, n.weak, n.duplicate_serial, \
                 n.key_reused, n.source, n.issuer, n.category, n.registered_at"
            }
        });
        query.text(" FROM certificate AS n WHERE 1 = 1");
        query.push_some(" AND n.id < $", window.cursor);
        query.push(" ORDER BY n.id DESC LIMIT $", look);
        query.text(match query.dialect() {
            Dialect::Sqlite => ") AS newest CROSS JOIN certificate AS c WHERE c.id = newest.id",
            Dialect::Postgres => ") AS c WHERE 1 = 1",
        });
        self.residue(query, window.now, Driver::Name);
        query.text(match query.dialect() {
            Dialect::Sqlite => " ORDER BY newest.id DESC",
            Dialect::Postgres => " ORDER BY c.id DESC",
        });
    }

    /// Adds the query for those of some certificates that meet all conditions but the name's, newest first.
    pub(super) fn among(&self, query: &mut Query, ids: &[Uuid], now: OffsetDateTime) {
        query.text("SELECT c.id FROM certificate AS c WHERE c.id IN (NULL");
        for id in ids {
            query.push(", $", *id);
        }
        query.text(")");
        self.residue(query, now, Driver::Name);
        query.text(" ORDER BY c.id DESC");
    }

    /// Writes `SELECT … WHERE` with the driver's condition; gives back the column with the id.
    fn open(&self, query: &mut Query, driver: Driver, now: OffsetDateTime) -> &'static str {
        const BY_NAME: &str = "SELECT DISTINCT n.certificate AS id FROM certificate_name AS n";
        const BY_REVERSED: &str = "SELECT DISTINCT n.certificate AS id FROM certificate_name_reversed AS n";
        const BY_TAG: &str = "SELECT n.certificate AS id FROM certificate_tag AS n";
        const BY_CERTIFICATE: &str = "SELECT c.id AS id FROM certificate AS c WHERE 1 = 1";
        let joined = |query: &mut Query| {
            if self.has_more_than(driver) {
                query.text(" CROSS JOIN certificate AS c WHERE c.id = n.certificate");
            } else {
                query.text(" WHERE 1 = 1");
            }
        };
        match (driver, &self.name) {
            (Driver::Name, Some(NamePattern::Suffix(prefix))) => {
                query.text(BY_REVERSED);
                joined(query);
                range(query, prefix);
                return "n.certificate";
            }
            (Driver::Name, Some(NamePattern::Prefix(prefix))) => {
                query.text(BY_NAME);
                joined(query);
                range(query, prefix);
                return "n.certificate";
            }
            (Driver::Name, Some(NamePattern::Exact(key))) => {
                query.text(BY_NAME);
                joined(query);
                query.push(" AND n.name = $", key);
                return "n.certificate";
            }
            (Driver::Tag, _) => {
                query.text(BY_TAG);
                joined(query);
                query.push_some(" AND n.tag = $", self.tag.as_deref().map(without_nul));
                return "n.certificate";
            }
            _ => query.text(BY_CERTIFICATE),
        }
        match driver {
            Driver::Serial => query.push_some(" AND c.serial = $", self.serial.as_ref().map(Serial::as_bytes)),
            Driver::Owner => query.push_some(" AND c.owner = $", self.owner.as_deref().map(without_nul)),
            Driver::Weak => query.text(" AND c.weak + c.duplicate_serial + c.key_reused > 0"),
            Driver::Revoked => {
                query.text(" AND c.revoked > 0");
                query.push(" AND c.revoked = $", if self.status == Some(Status::OnHold) { 1 } else { 2 });
            }
            Driver::NotYetValid => query.push(" AND c.not_before > c.registered_at AND c.not_before > $", now),
            Driver::Source => query.push_some(" AND c.source = $", self.source.as_deref().map(without_nul)),
            Driver::Issuer => query.push_some(" AND c.issuer = $", self.issuer),
            Driver::Category => query.push_some(" AND c.category = $", self.category.map(category_code)),
            Driver::Expiry => {
                query.text(" AND c.lapsed IN (0, 1)");
                query.push_some(" AND c.not_after >= $", self.expires_from);
                query.push_some(" AND c.not_after < $", self.expires_until);
            }
            Driver::Name | Driver::Tag | Driver::Lapsed | Driver::Id => {}
        }
        "c.id"
    }

    /// Whether conditions other than the driver's need the certificate's row.
    fn has_more_than(&self, driver: Driver) -> bool {
        let rest = match driver {
            Driver::Name => Filter { name: None, ..self.clone() },
            _ => Filter { tag: None, ..self.clone() },
        };
        rest != Filter::default()
    }

    /// Writes the conditions that are left, the cursor, and the order.
    fn close(&self, query: &mut Query, window: Window, driver: Driver, key: &'static str) {
        self.residue(query, window.now, driver);
        match (key, driver) {
            ("n.certificate", _) => query.push_some(" AND n.certificate < $", window.cursor),
            // The range is the index's; the order of ids is made afterwards.
            (_, Driver::Serial | Driver::Expiry | Driver::NotYetValid) => {
                query.check_some(" AND +c.id < $", window.cursor)
            }
            _ => query.push_some(" AND c.id < $", window.cursor),
        }
        if let Some(limit) = window.limit {
            match (key, driver) {
                ("n.certificate", _) => query.push(" ORDER BY n.certificate DESC LIMIT $", limit),
                (_, Driver::Serial | Driver::Expiry | Driver::NotYetValid) => match query.dialect() {
                    Dialect::Sqlite => query.push(" ORDER BY +c.id DESC LIMIT $", limit),
                    // The same order, which no index has.
                    Dialect::Postgres => query.push(" ORDER BY uuid_send(c.id) DESC LIMIT $", limit),
                },
                _ => query.push(" ORDER BY c.id DESC LIMIT $", limit),
            }
        }
    }

    fn residue(&self, query: &mut Query, now: OffsetDateTime, driver: Driver) {
        let not = |other: Driver| driver != other;
        if not(Driver::Revoked) {
            match self.status {
                Some(Status::Revoked) => query.check_text(" AND +c.revoked = 2"),
                Some(Status::OnHold) => query.check_text(" AND +c.revoked = 1"),
                Some(Status::Expired) => {
                    query.check_text(" AND +c.revoked = 0");
                    query.check(" AND +c.not_after < $", now);
                }
                Some(Status::NotYetValid) => {
                    query.check_text(" AND +c.revoked = 0");
                    query.check(" AND +c.not_after >= $", now);
                    query.check(" AND +c.not_before > $", now);
                }
                Some(Status::Valid) => {
                    query.check_text(" AND +c.revoked = 0");
                    query.check(" AND +c.not_after >= $", now);
                    query.check(" AND +c.not_before <= $", now);
                }
                // No certificate has it.
                Some(Status::Unknown) => query.text(" AND 1 = 0"),
                None => {}
            }
        }
        if not(Driver::Serial) {
            query.check_some(" AND +c.serial = $", self.serial.as_ref().map(Serial::as_bytes));
        }
        if not(Driver::Tag) {
            query.push_some(
                " AND EXISTS (SELECT 1 FROM certificate_tag AS t WHERE t.certificate = c.id AND t.tag = $)",
                self.tag.as_deref().map(without_nul),
            );
        }
        if not(Driver::Owner) {
            query.check_some(" AND +c.owner = $", self.owner.as_deref().map(without_nul));
        }
        if not(Driver::Weak) && self.weak {
            query.check_text(" AND +c.weak + c.duplicate_serial + c.key_reused > 0");
        }
        if not(Driver::Source) {
            query.check_some(" AND +c.source = $", self.source.as_deref().map(without_nul));
        }
        if not(Driver::Issuer) {
            query.check_some(" AND +c.issuer = $", self.issuer);
        }
        if not(Driver::Category) {
            query.check_some(" AND +c.category = $", self.category.map(category_code));
        }
        query.check_some(" AND +c.not_after >= $", self.expires_from);
        query.check_some(" AND +c.not_after < $", self.expires_until);
        query.check_some(" AND +c.registered_at >= $", self.registered_from);
        query.check_some(" AND +c.registered_at < $", self.registered_until);
        if matches!(driver, Driver::Id) {
            // An id's time is its certificate's registration, to the millisecond.
            query.push_some(" AND c.id >= $", self.registered_from.map(first_id));
            query.push_some(" AND c.id < $", self.registered_until.map(first_id_after));
        }
    }
}

/// Those that the column `lapsed` does not tell right yet.
fn untold(query: &mut Query, status: Status, now: OffsetDateTime) {
    match (query.dialect(), status) {
        (Dialect::Sqlite, Status::Expired) => query.push(" AND c.not_after < $", now),
        (Dialect::Sqlite, _) => query.push(" AND c.not_after >= $", now),
        // They are few, but PostgreSQL takes the two columns for independent and expects as many as it expects expired ones. Of a
        // range with an end that it does not know while it plans, it expects little.
        (Dialect::Postgres, Status::Expired) => {
            query.push(" AND c.not_after >= '-infinity' AND c.not_after < (SELECT $::timestamptz)", now);
        }
        (Dialect::Postgres, _) => {
            query.push(" AND c.not_after >= (SELECT $::timestamptz) AND c.not_after <= 'infinity'", now);
        }
    }
}

/// Names that begin with a prefix.
fn range(query: &mut Query, prefix: &str) {
    query.push(" AND n.name >= $", prefix);
    query.push_some(" AND n.name < $", after_all(prefix));
}

/// The least text greater than every text with this prefix; None when there is none.
fn after_all(prefix: &str) -> Option<String> {
    let mut head = prefix.to_owned();
    while let Some(last) = head.pop() {
        let next = (u32::from(last) + 1..=u32::from(char::MAX)).find_map(char::from_u32);
        if let Some(next) = next {
            head.push(next);
            return Some(head);
        }
    }
    None
}

/// The least UUIDv7 of a time: registrations at or after it have no lesser one.
pub(super) fn first_id(time: OffsetDateTime) -> Value {
    least_id(millis(time))
}

/// The least UUIDv7 of the next millisecond: registrations up to a time have lesser ones.
fn first_id_after(time: OffsetDateTime) -> Value {
    least_id(millis(time) + 1)
}

fn millis(time: OffsetDateTime) -> u64 {
    u64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or_default()
}

fn least_id(millis: u64) -> Value {
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    bytes[6] = 0x70;
    bytes[8] = 0x80;
    Value::Uuid(Uuid::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::after_all;

    #[test]
    fn the_end_of_a_prefix_is_above_all_that_begin_with_it() {
        for prefix in ["a", "com.example.", "z\u{10ffff}", "\u{d7ff}", "é"] {
            let end = after_all(prefix).expect(prefix);
            assert!(end.as_str() > prefix && end > format!("{prefix}\u{10ffff}\u{10ffff}"), "{prefix}");
            assert!(!end.starts_with(prefix));
        }
        assert_eq!(after_all("\u{10ffff}"), None);
    }
}
