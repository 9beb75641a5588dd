//! The plans of the hot statements are golden files, one per engine, so that an index lost is a failing test.
//!
//! After a wanted change, run the tests with `UPDATE_PLANS=1` and read the difference. On SQLite a `SCAN` of a table, or a
//! `TEMP B-TREE` where there was none, is slower on a large ledger; so is a `Seq Scan` on PostgreSQL, or a `Sort` of more than
//! a page.
//!
//! PostgreSQL's planner goes by statistics and by the parameters' values, so its plans are those of a ledger with ten thousand
//! certificates.

use std::fmt::Write as _;

use strongroom::{Config, Dialect, Params, Value, params};
use time::macros::datetime;
use uuid::Uuid;

use super::filter::{Filter, Window};
use super::register::{INSERT_CERTIFICATE, INSERT_IF_TRIED, REGISTER};
use super::{Registry, RevocationEntry, expiring, list, lookup, token};
use crate::MIGRATIONS;
use crate::certificate::Category;
use crate::name::NamePattern;
use crate::record::Status;
use crate::revocation_reason::RevocationReason;
use crate::serial::Serial;

macro_rules! golden {
    ($name:literal) => {
        concat!(env!("CARGO_MANIFEST_DIR"), "/src/registry/", $name)
    };
}

#[tokio::test]
async fn hot_statements_keep_their_plans_on_sqlite() {
    let registry = Registry::in_memory().await.unwrap();
    let mut told = String::new();
    for (name, sql, _) in statements(Dialect::Sqlite) {
        let nothing = Params::from(vec![Value::Null; parameters(&sql)]);
        let rows = registry.db.fetch_all(&format!("EXPLAIN QUERY PLAN {sql}"), nothing).await.unwrap();
        let _ = writeln!(told, "{name}");
        let mut depths = std::collections::HashMap::from([(0_i64, 0_usize)]);
        for row in rows {
            let (id, parent): (i64, i64) = (row.get(0).unwrap(), row.get(1).unwrap());
            let depth = depths[&parent] + 1;
            depths.insert(id, depth);
            let _ = writeln!(told, "{:width$}{}", "", row.get::<String>(3).unwrap(), width = depth * 2);
        }
        let _ = writeln!(told);
    }
    compare(golden!("plans.txt"), &told);
}

#[tokio::test]
async fn hot_statements_keep_their_plans_on_postgres() {
    if !test_servers::needs::postgres() {
        return;
    }
    let database = test_servers::Postgres::shared().create_database();
    let config = Config::from_url(&database.url()).unwrap().migrations(&MIGRATIONS).migrate(true);
    config.clone().connect().await.unwrap().close().await.unwrap();
    database.query(SEED);
    database.query("VACUUM ANALYZE");
    let registry = Registry::open(config.connect().await.unwrap());
    let mut told = String::new();
    for (name, sql, params) in statements(Dialect::Postgres) {
        let rows = registry.db.fetch_all(&format!("EXPLAIN (COSTS OFF) {sql}"), params).await.unwrap();
        let _ = writeln!(told, "{name}");
        for row in rows {
            let line: String = row.get(0).unwrap();
            // What is done and by which index, not by which expressions.
            if line.contains("->") || !line.starts_with(' ') || line.contains("Sort Key") {
                let _ = writeln!(told, "  {line}");
            }
        }
        let _ = writeln!(told);
    }
    compare(golden!("plans_postgres.txt"), &told);
}

/// What a connection has planned for an empty ledger it uses while that grows large: what is looked up must then be found
/// without reading through what is there.
#[tokio::test]
async fn a_load_into_an_empty_ledger_reads_only_what_it_looks_up_on_postgres() {
    let Some((database, registry)) = unused_ledger().await else { return };
    let before = rows_read(&database);
    let name = crate::distinguished_name::DistinguishedName::from_der(&[0x30, 0]).unwrap();
    let issuer = registry.record_issuer(&name, None).await.unwrap();
    let revoked: Vec<RevocationEntry> = (1..=5_000_u32)
        .map(|number| RevocationEntry {
            serial: Serial::from_content(&[&[1], &number.to_be_bytes()[..]].concat()).unwrap(),
            revoked_at: datetime!(2026-11-21 12:00 UTC),
            reason: Some(RevocationReason::Superseded),
            invalidity_date: None,
            not_after: None,
        })
        .collect();
    registry.record_revocations(issuer, &revoked, None).await.unwrap();
    for _ in 0..20 {
        let fingerprints = Value::Array((0..100_u8).map(|number| Value::from(&[number; 32])).collect());
        registry.db.fetch_all("SELECT id FROM known_certificates($1)", params![fingerprints]).await.unwrap();
    }
    // What a session has read is told when it ends.
    registry.db.close().await.unwrap();
    let read = rows_read(&database) - before;
    assert!(read < 4 * 5_000, "{read} rows were read to record 5,000 revocations");
    assert_eq!(database.query("SELECT count(*) FROM revocation"), [["5000"]]);
}

/// Likewise for what is removed behind registrations: some at a time, and no faster than they come.
#[tokio::test]
async fn tidying_up_after_many_registrations_reads_each_row_a_few_times_on_postgres() {
    let Some((database, registry)) = unused_ledger().await else { return };
    for _ in 0..6 {
        registry.sum_up_counts().await.unwrap();
    }
    let before = rows_read(&database);
    database.query(
        "INSERT INTO claim SELECT sha256(i::text::bytea), now() - INTERVAL '1 hour' FROM generate_series(1, 20000) AS i;
         INSERT INTO certificate_count SELECT gen_random_uuid(), md5((i % 20)::text)::uuid, 1, 0, i % 400, 1
         FROM generate_series(1, 20000) AS i",
    );
    registry.sum_up_counts().await.unwrap();
    registry.db.close().await.unwrap();
    let read = rows_read(&database) - before;
    assert!(read < 20 * 40_000, "{read} rows were read to remove 40,000");
    let left = "SELECT (SELECT count(*) FROM claim), count(*), sum(n) FROM certificate_count";
    assert_eq!(database.query(left), [["0", "400", "20000"]]);
}

/// An empty ledger on a server that has looked at its tables, as after an hour without use, over one connection.
async fn unused_ledger() -> Option<(test_servers::TestDatabase<'static>, Registry)> {
    let database = test_servers::needs::postgres().then(|| test_servers::Postgres::shared().create_database())?;
    let config = Config::from_url(&database.url()).unwrap().migrations(&MIGRATIONS).migrate(true).pool_max_size(1);
    config.clone().connect().await.unwrap().close().await.unwrap();
    database.query("VACUUM ANALYZE");
    Some((database, Registry::open(config.connect().await.unwrap())))
}

/// The rows that statements have read so far, as far as their sessions have ended.
fn rows_read(database: &test_servers::TestDatabase<'_>) -> u64 {
    let tables = "relname IN ('certificate', 'revocation', 'claim', 'certificate_count')";
    let sums = database.query(&format!(
        "SELECT (SELECT sum(seq_tup_read) FROM pg_stat_user_tables WHERE {tables})
              + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE {tables})"
    ));
    sums[0][0].parse().unwrap()
}

/// One of the issuers in [`SEED`].
const ISSUER: u128 = 0xaaff_0c7a_c9b7_e3ab_918b_66ef_7fdb_caf1;

/// Ten thousand certificates of 20 issuers, half of them expired, a hundredth of them revoked; and what the planner is to know
/// of them: it looks at every row, so always the same.
const SEED: &str = "
SET session_replication_role = replica;
INSERT INTO issuer (id, dn_key, name, recorded_at)
SELECT md5('issuer ' || i)::uuid, sha256(('issuer ' || i)::bytea), 'CN=CA ' || i, '2026-01-01T00:00:00Z'
FROM generate_series(0, 19) AS i;
INSERT INTO certificate (id, fingerprint, issuer, serial, subject, issuer_name, common_name, names,
    not_before, not_after, category, key_algorithm, key_bits, signature_algorithm, is_ca, is_precertificate, weak,
    public_key_hash, key_holder, names_key, source, owner, tags, note, files, registered_at, lapsed, der,
    list_signer, list_delegate, duplicate_serial, key_reused, revoked)
SELECT ('01900000' || lpad(to_hex(i), 8, '0') || '8000000000000000')::uuid, sha256(('certificate ' || i)::bytea),
    md5('issuer ' || i % 20)::uuid, decode(md5('serial ' || i), 'hex'), 'CN=host' || i, 'CN=CA ' || i % 20, 'host' || i, '[]',
    TIMESTAMPTZ '2026-11-21T12:00:00Z' - i % 398 * INTERVAL '2 days' * 0.99,
    TIMESTAMPTZ '2026-11-21T12:00:00Z' - i % 398 * INTERVAL '2 days' * 0.99 + INTERVAL '398 days',
    CASE WHEN i % 100 = 0 THEN 0 ELSE 1 + i % 4 END, 'EC P-256', 256, 'ecdsa-with-SHA256', 0, 0, i % 50 / 49,
    decode(md5('key ' || i), 'hex'), i, decode(md5('names ' || i / 2), 'hex'), 'source ' || i % 3, 'team ' || i % 10, '[]',
    NULL, NULL, TIMESTAMPTZ '2024-01-01T00:00:00Z' + i * INTERVAL '1 minute', CASE WHEN i % 398 > 200 THEN 1 ELSE 0 END,
    decode(repeat(md5('der ' || i), 30), 'hex'), NULL, NULL, 0, 0, CASE WHEN i % 100 = 3 THEN 2 ELSE 0 END
FROM generate_series(1, 10000) AS i;
INSERT INTO certificate_name (name, not_before, certificate)
SELECT common_name || '.' || key_holder % 50 || '.example.com', not_before, id FROM certificate;
INSERT INTO certificate_name_reversed (name, certificate) SELECT 'com.example.' || key_holder % 50 || '.' || common_name, id FROM certificate;
INSERT INTO certificate_tag (tag, certificate) SELECT 'tag ' || key_holder % 5, id FROM certificate;
INSERT INTO revocation (issuer, serial, revoked_at, reason, checked, recorded_at, not_after)
SELECT issuer, serial, not_before, 4, 1, not_before, not_after FROM certificate WHERE revoked > 0;
INSERT INTO revocation (issuer, serial, revoked_at, reason, checked, recorded_at)
SELECT md5('issuer ' || i % 20)::uuid, decode(md5('unknown ' || i), 'hex'), '2026-01-01T00:00:00Z', 4, 1, '2026-01-01T00:00:00Z'
FROM generate_series(1, 10000) AS i;
INSERT INTO token (id, name, role, secret_hash, created_at, created_by)
SELECT md5('token ' || i)::uuid, 'token ' || i, 'reader', sha256(('token ' || i)::bytea), '2026-01-01T00:00:00Z', 'ledger'
FROM generate_series(1, 1000) AS i;
";

fn compare(golden: &str, told: &str) {
    if std::env::var_os("UPDATE_PLANS").is_some() {
        std::fs::write(golden, told).unwrap();
    }
    let found = std::fs::read_to_string(golden).unwrap_or_default();
    assert!(found == told, "the plans differ from {golden}:\n{told}");
}

/// How many parameters a statement has.
fn parameters(sql: &str) -> usize {
    (1..).find(|number| !sql.contains(&format!("${number}"))).unwrap() - 1
}

/// The hot statements of an engine: name, text and parameters.
fn statements(dialect: Dialect) -> Vec<(String, String, Params)> {
    let now = datetime!(2026-11-21 12:00 UTC);
    let (id, hash) = (Uuid::nil(), [7; 32]);
    let issuer = Uuid::from_u128(ISSUER);
    let mut statements = vec![
        ("get", lookup::GET, params![id]),
        ("list few by serial", list::FEW_BY_SERIAL, params![hash, 11_i64]),
        ("by_fingerprint", lookup::BY_FINGERPRINT, params![hash]),
        ("by_serial", lookup::BY_SERIAL.of(dialect), params![hash]),
        ("by_serial of one issuer", lookup::BY_SERIAL_OF_ISSUER.of(dialect), params![hash, issuer]),
        ("by_name", lookup::BY_NAME, params!["host7.7.example.com", now]),
        ("expiring", expiring::EXPIRING.of(dialect), params![now, now + time::Duration::days(30), 1, 0, 101, now, id]),
        ("token", token::PRESENTED, params![id]),
    ];
    match dialect {
        Dialect::Sqlite => {
            statements.push(("register", INSERT_CERTIFICATE, params![]));
            statements.push(("register under a name", INSERT_IF_TRIED, params![]));
        }
        Dialect::Postgres => {
            statements.push(("register", REGISTER, Params::from(vec![Value::Null; parameters(REGISTER)])));
        }
    }
    let owned = |(name, sql, params): (&str, &str, Params)| (name.to_owned(), sql.to_owned(), params);
    let mut statements: Vec<_> = statements.into_iter().map(owned).collect();
    let text = |text: &str| Some(text.to_owned());
    let status = |status| Filter { status: Some(status), ..Filter::default() };
    let name = |pattern: &str| Filter { name: Some(NamePattern::parse(pattern).unwrap()), ..Filter::default() };
    for (title, filter) in [
        ("all", Filter::default()),
        ("valid", status(Status::Valid)),
        ("expired", status(Status::Expired)),
        ("not yet valid", status(Status::NotYetValid)),
        ("revoked", status(Status::Revoked)),
        ("category", Filter { category: Some(Category::Ca), ..Filter::default() }),
        ("issuer", Filter { issuer: Some(issuer), ..Filter::default() }),
        ("owner", Filter { owner: text("team 1"), ..Filter::default() }),
        ("source", Filter { source: text("source 1"), ..Filter::default() }),
        ("tag", Filter { tag: text("tag 1"), ..Filter::default() }),
        ("weak", Filter { weak: true, ..Filter::default() }),
        ("dates", Filter { expires_until: Some(datetime!(2027-01-01 0:00 UTC)), ..Filter::default() }),
        ("serial", Filter { serial: Serial::from_content(&[7]).ok(), ..Filter::default() }),
        ("name", name("host7.7.example.com")),
        ("prefix", name("host7*")),
        ("suffix", name("*.7.example.com")),
        ("owner and valid", Filter { owner: text("team 1"), ..status(Status::Valid) }),
    ] {
        let window = Window { cursor: Some(Uuid::max()), limit: Some(101), now };
        let (sql, params) = list::page_query(dialect, &filter, window);
        statements.push((format!("list {title}"), sql, params));
    }
    statements
}
