//! What a ledger consists of: its tables, their columns, and how each engine writes them.
//!
//! A migration that adds a table or a column adds it here; a test compares this with both schemas.

use std::cmp::Ordering;

use sha2::{Digest, Sha256};
use strongroom::{Dialect, FromValue, Params, ReadSession, Row, Value};
use time::OffsetDateTime;
use uuid::Uuid;

use self::Kind::{Bytes, Id, Int, Text, Time};

/// A table of the ledger, the columns of its primary key first.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) columns: &'static [(&'static str, Kind)],
    /// How many columns the primary key has.
    key: usize,
    /// Rows that are read and written at once: bounds the memory that a copy takes.
    page: u16,
}

/// What a column holds. SQLite hands ids back as bytes and times as integers; here they are the same from either engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Id,
    Bytes,
    Text,
    Int,
    Time,
}

/// Tables in an order in which no row comes before what it refers to. Certificates come before revocations, so that the
/// triggers, which see every row that is copied, find nothing to change: what they keep is copied as it is.
pub(super) const TABLES: [Table; 10] = [
    Table {
        name: "issuer",
        columns: &[
            ("id", Id),
            ("dn_key", Bytes),
            ("name", Text),
            ("key_id", Bytes),
            ("public_key", Bytes),
            ("recorded_at", Time),
        ],
        key: 1,
        page: 2_000,
    },
    Table {
        name: "certificate",
        columns: &[
            ("id", Id),
            ("fingerprint", Bytes),
            ("issuer", Id),
            ("serial", Bytes),
            ("subject", Text),
            ("issuer_name", Text),
            ("common_name", Text),
            ("names", Text),
            ("not_before", Time),
            ("not_after", Time),
            ("category", Int),
            ("key_algorithm", Text),
            ("key_bits", Int),
            ("signature_algorithm", Text),
            ("is_ca", Int),
            ("is_precertificate", Int),
            ("weak", Int),
            ("duplicate_serial", Int),
            ("key_reused", Int),
            ("public_key_hash", Bytes),
            ("key_holder", Int),
            ("names_key", Bytes),
            ("source", Text),
            ("owner", Text),
            ("tags", Text),
            ("note", Text),
            ("files", Id),
            ("list_signer", Bytes),
            ("list_delegate", Bytes),
            ("registered_at", Time),
            ("revoked", Int),
            ("lapsed", Int),
            ("der", Bytes),
        ],
        key: 1,
        page: 2_000,
    },
    Table {
        name: "certificate_name",
        columns: &[("name", Text), ("not_before", Time), ("certificate", Id)],
        key: 3,
        page: 3_000,
    },
    Table { name: "certificate_name_reversed", columns: &[("name", Text), ("certificate", Id)], key: 2, page: 3_000 },
    Table { name: "certificate_tag", columns: &[("tag", Text), ("certificate", Id)], key: 2, page: 3_000 },
    Table {
        name: "revocation",
        columns: &[
            ("issuer", Id),
            ("serial", Bytes),
            ("revoked_at", Time),
            ("reason", Int),
            ("invalidity_date", Time),
            ("source", Text),
            ("list", Bytes),
            ("checked", Int),
            ("recorded_at", Time),
            ("not_after", Time),
        ],
        key: 2,
        page: 3_000,
    },
    Table {
        name: "revocation_list",
        columns: &[
            ("fingerprint", Bytes),
            ("issuer", Id),
            ("number", Bytes),
            ("this_update", Time),
            ("scope", Bytes),
            ("source", Text),
            ("checked", Int),
            ("whole", Int),
            ("der", Bytes),
            ("recorded_at", Time),
        ],
        key: 2,
        // A row may hold a CRL of 16 MiB.
        page: 4,
    },
    Table {
        name: "forged_list",
        columns: &[("fingerprint", Bytes), ("issuer", Id), ("source", Text), ("recorded_at", Time)],
        key: 1,
        page: 3_000,
    },
    Table {
        name: "event",
        columns: &[
            ("id", Id),
            ("at", Time),
            ("actor", Text),
            ("action", Text),
            ("object", Id),
            ("before", Text),
            ("after", Text),
            ("origin", Text),
            ("request", Text),
        ],
        key: 1,
        page: 3_000,
    },
    Table {
        name: "token",
        columns: &[
            ("id", Id),
            ("name", Text),
            ("taken_name", Text),
            ("role", Text),
            ("secret_hash", Bytes),
            ("created_at", Time),
            ("created_by", Text),
            ("expires_at", Time),
            ("revoked_at", Time),
            ("last_used_at", Time),
        ],
        key: 1,
        page: 3_000,
    },
];

/// What `certificate_count` comes to. It is not copied: the target's triggers count what comes in. On a server, a count is in
/// parts; a count of nothing may be a row or none.
pub(super) const COUNTS: Table = Table {
    name: "certificate_count",
    columns: &[("issuer", Id), ("category", Int), ("revoked", Int), ("expiry_day", Int), ("n", Int)],
    key: 4,
    page: 3_000,
};

/// A row, of the same values from either engine.
pub(super) type Entry = Vec<Value>;

impl Table {
    /// The columns that make a row's key, of its values.
    pub(super) fn key_of<'e>(&self, entry: &'e Entry) -> &'e [Value] {
        &entry[..self.key]
    }

    /// In the order in which both engines read: bytes as they are, text by its bytes.
    pub(super) fn order(&self, one: &Entry, other: &Entry) -> Ordering {
        let pairs = self.key_of(one).iter().zip(self.key_of(other));
        pairs.map(|(one, other)| order(one, other)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }

    /// The rows behind a key, or the first ones: a page of them.
    pub(super) async fn page(
        &self,
        session: &mut ReadSession,
        after: Option<&[Value]>,
    ) -> strongroom::Result<Vec<Entry>> {
        let sql = match (self.name == COUNTS.name, after.is_some()) {
            (false, _) => self.select(after.is_some()),
            (true, false) => COUNTED.to_owned(),
            (true, true) => COUNTED_AFTER.to_owned(),
        };
        let mut params = after.unwrap_or_default().to_vec();
        params.push(self.page.into());
        let rows = session.fetch_all(&sql, Params::from(params)).await?;
        rows.iter().map(|row| self.entry(row)).collect()
    }

    /// Whether this page is the last one.
    pub(super) fn is_last(&self, page: &[Entry]) -> bool {
        page.len() < usize::from(self.page)
    }

    pub(super) fn count(&self) -> String {
        format!("-- copy: count\nSELECT count(*) FROM {}", self.name)
    }

    /// The text is made of the names above, and of nothing else.
    fn select(&self, after: bool) -> String {
        let (columns, key) = (self.names(self.columns.len()), self.names(self.key));
        let place: Vec<String> = (1..=self.key).map(|number| format!("${number}")).collect();
        let (filter, limit) = match after {
            true => (format!(" WHERE ({key}) > ({})", place.join(", ")), self.key + 1),
            false => (String::new(), 1),
        };
        format!("-- copy: read\nSELECT {columns} FROM {}{filter} ORDER BY {key} LIMIT ${limit}", self.name)
    }

    fn names(&self, columns: usize) -> String {
        let names: Vec<&str> = self.columns[..columns].iter().map(|(name, _)| *name).collect();
        names.join(", ")
    }

    /// The statement that stores rows, with the parameter sets it is to be run with. Rows that are there already stay.
    pub(super) fn insert(&self, dialect: Dialect, entries: Vec<Entry>) -> (String, Vec<Params>) {
        let (name, columns) = (self.name, self.names(self.columns.len()));
        let places = |of: &dyn Fn(usize, Kind) -> String| {
            let places = self.columns.iter().enumerate().map(|(column, (_, kind))| of(column + 1, *kind));
            places.collect::<Vec<_>>().join(", ")
        };
        match dialect {
            Dialect::Sqlite => {
                let values = places(&|number, _| format!("${number}"));
                let sql =
                    format!("-- copy: write\nINSERT INTO {name} ({columns}) VALUES ({values}) ON CONFLICT DO NOTHING");
                (sql, entries.into_iter().map(Params::from).collect())
            }
            Dialect::Postgres => {
                let arrays = places(&|number, kind| format!("${number}::{}[]", kind.on_postgres()));
                let sql = format!(
                    "-- copy: write\nINSERT INTO {name} ({columns}) SELECT {columns} FROM unnest({arrays}) \
                     AS e ({columns}) ON CONFLICT DO NOTHING"
                );
                let mut arrays: Vec<Vec<Value>> = vec![Vec::with_capacity(entries.len()); self.columns.len()];
                for entry in entries {
                    arrays.iter_mut().zip(entry).for_each(|(array, value)| array.push(value));
                }
                (sql, vec![Params::from(arrays.into_iter().map(Value::Array).collect::<Vec<_>>())])
            }
        }
    }

    fn entry(&self, row: &Row) -> strongroom::Result<Entry> {
        self.columns.iter().enumerate().map(|(column, (_, kind))| kind.read(row, column)).collect()
    }
}

const COUNTED: &str = "-- copy: read counts\n\
    SELECT issuer, category, revoked, expiry_day, CAST(sum(n) AS bigint) FROM certificate_count \
    GROUP BY issuer, category, revoked, expiry_day HAVING sum(n) <> 0 \
    ORDER BY issuer, category, revoked, expiry_day LIMIT $1";

const COUNTED_AFTER: &str = "-- copy: read more counts\n\
    SELECT issuer, category, revoked, expiry_day, CAST(sum(n) AS bigint) FROM certificate_count \
    WHERE (issuer, category, revoked, expiry_day) > ($1, $2, $3, $4) \
    GROUP BY issuer, category, revoked, expiry_day HAVING sum(n) <> 0 \
    ORDER BY issuer, category, revoked, expiry_day LIMIT $5";

impl Kind {
    /// The type of a parameter; the server narrows integers to the column's, checked.
    fn on_postgres(self) -> &'static str {
        match self {
            Id => "uuid",
            Bytes => "bytea",
            Text => "text",
            Int => "bigint",
            Time => "timestamptz",
        }
    }

    fn read(self, row: &Row, column: usize) -> strongroom::Result<Value> {
        fn value<T: FromValue + Into<Value>>(row: &Row, column: usize) -> strongroom::Result<Value> {
            Ok(row.get::<Option<T>>(column)?.into())
        }
        match self {
            Id => value::<Uuid>(row, column),
            Bytes => value::<Vec<u8>>(row, column),
            Text => value::<String>(row, column),
            Int => value::<i64>(row, column),
            Time => value::<OffsetDateTime>(row, column),
        }
    }
}

/// Values of one column of a key, which is never NULL.
fn order(one: &Value, other: &Value) -> Ordering {
    match (one, other) {
        (Value::Uuid(one), Value::Uuid(other)) => one.cmp(other),
        (Value::Bytes(one), Value::Bytes(other)) => one.cmp(other),
        (Value::Text(one), Value::Text(other)) => one.cmp(other),
        (Value::Int(one), Value::Int(other)) => one.cmp(other),
        (Value::Timestamp(one), Value::Timestamp(other)) => one.cmp(other),
        _ => unreachable!("a column of a key has one kind and no NULL"),
    }
}

/// A hash over rows in the order of their keys: equal hashes are equal tables, whichever engine they are in.
#[derive(Clone, Default)]
pub(super) struct Sum {
    hash: Sha256,
    pub(super) rows: u64,
}

impl Sum {
    /// Each value begins with its kind, and what has no fixed length with its length: no two rows are the same bytes.
    pub(super) fn add(&mut self, entry: &Entry) {
        self.rows += 1;
        for value in entry {
            match value {
                Value::Null => self.hash.update([0]),
                Value::Uuid(id) => self.fixed(1, id.as_bytes()),
                Value::Bytes(bytes) => self.sized(2, bytes),
                Value::Text(text) => self.sized(3, text.as_bytes()),
                Value::Int(int) => self.fixed(4, &int.to_be_bytes()),
                Value::Timestamp(at) => self.fixed(5, &(at.unix_timestamp_nanos() / 1_000).to_be_bytes()),
                _ => unreachable!("no column is of such a kind"),
            }
        }
    }

    fn fixed(&mut self, kind: u8, bytes: &[u8]) {
        self.hash.update([kind]);
        self.hash.update(bytes);
    }

    fn sized(&mut self, kind: u8, bytes: &[u8]) {
        self.fixed(kind, &(bytes.len() as u64).to_be_bytes());
        self.hash.update(bytes);
    }

    pub(super) fn sha256(&self) -> [u8; 32] {
        self.hash.clone().finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use strongroom::{Config, Database, params};
    use test_servers::{Postgres, needs};

    use super::*;
    use crate::schema::MIGRATIONS;

    /// Tables that a copy leaves alone: the schema's own book, and what lasts no longer than a transaction.
    const NOT_COPIED: [&str; 2] = ["strongroom_migration", "claim"];

    /// What the schema has: each table's columns, sorted.
    async fn schema(db: &Database, sql: &str) -> BTreeMap<String, Vec<String>> {
        let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for row in db.fetch_all(sql, params![]).await.unwrap() {
            tables.entry(row.get(0).unwrap()).or_default().push(row.get(1).unwrap());
        }
        tables.retain(|name, _| !name.starts_with("strongroom_") && !NOT_COPIED.contains(&name.as_str()));
        tables.values_mut().for_each(|columns| columns.sort_unstable());
        tables
    }

    fn known() -> BTreeMap<String, Vec<String>> {
        let columns = |table: &Table| {
            let mut columns: Vec<_> = table.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
            columns.sort_unstable();
            (table.name.to_owned(), columns)
        };
        TABLES.iter().chain([&COUNTS]).map(columns).collect()
    }

    /// A table or column that a migration adds and that is not in [`TABLES`] would be lost by every copy.
    #[tokio::test]
    async fn every_table_and_column_of_both_schemas_is_copied() {
        let db = Config::memory().migrations(&MIGRATIONS).connect().await.unwrap();
        let on_sqlite = "SELECT t.name, c.name FROM sqlite_schema AS t, pragma_table_info(t.name) AS c \
            WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
        assert_eq!(schema(&db, on_sqlite).await, known());
        if !needs::postgres() {
            return;
        }
        let database = Postgres::shared().create_database();
        let db = Config::from_url(&database.url()).unwrap().migrations(&MIGRATIONS).connect().await.unwrap();
        let on_server = "SELECT CAST(table_name AS text), CAST(column_name AS text) FROM information_schema.columns \
            WHERE table_schema = 'public' AND (table_name, column_name) <> ('certificate_count', 'part')";
        assert_eq!(schema(&db, on_server).await, known());
        db.close().await.unwrap();
    }

    /// Rows whose values run into each other, and a NULL beside an empty text.
    #[test]
    fn different_rows_have_different_sums() {
        let rows: [Entry; 5] = [
            vec!["ab".into(), "c".into()],
            vec!["a".into(), "bc".into()],
            vec!["".into(), Value::Null],
            vec![Value::Null, "".into()],
            vec![b"ab".as_slice().into(), "c".into()],
        ];
        let sums: std::collections::BTreeSet<[u8; 32]> = rows
            .iter()
            .map(|row| {
                let mut sum = Sum::default();
                sum.add(row);
                sum.sha256()
            })
            .collect();
        assert_eq!(sums.len(), rows.len());
    }
}
