//! Durable writes by 64 callers against one commit each.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rusqlite::types::Value;
use strongroom::params;
use tokio::task::JoinSet;
use trust_ledger_registry::{Annotations, Certificate, Registry, statements};

use crate::bundle::Ca;
use crate::{config, number, raw, report};

const CALLERS: usize = 64;

/// Rows that the one-commit-each loops write: enough for a rate, few enough for a slow disk.
fn alone() -> usize {
    (number("LEDGER_BENCH_WRITES", 10_000) / 5).max(500)
}

/// One row per unit.
pub(crate) async fn single_rows(folder: &Path) {
    const TABLE: &str = "CREATE TABLE row (id INTEGER PRIMARY KEY, value TEXT NOT NULL)";
    const INSERT: &str = "INSERT INTO row (value) VALUES ($1)";
    report::head("Single-row units");
    let rows = number("LEDGER_BENCH_WRITES", 10_000) * 4;
    let plain = {
        let db = raw::open(&folder.join("rows-raw.db"));
        db.execute_batch(TABLE).unwrap();
        let start = Instant::now();
        for _ in 0..alone() {
            db.prepare_cached(INSERT).unwrap().execute(["a value of some length"]).unwrap();
        }
        report::per_second(alone(), start.elapsed())
    };
    report::line("rusqlite, one commit each", &format!("{plain:.0}/s"));
    let path = folder.join("rows.db");
    let db = strongroom::Config::sqlite(&path).key(strongroom::KeySource::literal(crate::KEY)).connect().await.unwrap();
    db.execute(TABLE, params![]).await.unwrap();
    let start = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let db = db.clone();
        callers.spawn(async move {
            for _ in 0..rows / CALLERS {
                db.execute(INSERT, params!["a value of some length"]).await.unwrap();
            }
        });
    }
    callers.join_all().await;
    let grouped = report::per_second(rows / CALLERS * CALLERS, start.elapsed());
    report::line("64 callers, each answered when durable", &format!("{grouped:.0}/s"));
    report::against("  times one commit each", grouped / plain, "at least 8", grouped / plain >= 8.0);
    db.close().await.unwrap();
}

/// Record, names, issuer and event.
pub(crate) async fn registrations(folder: &Path) {
    report::head("Registrations (record, names, issuer, event)");
    let ca = Ca::new();
    let count = number("LEDGER_BENCH_WRITES", 10_000) / CALLERS * CALLERS;
    let certificates: Vec<Certificate> =
        ca.issue_all(0..count, |x509| Certificate::from_der(&x509.to_der().unwrap()).unwrap());
    let path = folder.join("registrations.db");
    let registry = Registry::open(config(&path).connect().await.unwrap());
    let root = Certificate::from_der(&ca.x509.to_der().unwrap()).unwrap();
    registry.register(&root, &Annotations::default()).await.unwrap();

    let certificates = Arc::new(certificates);
    let start = Instant::now();
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (registry, certificates) = (registry.clone(), certificates.clone());
        callers.spawn(async move {
            for number in (caller..certificates.len()).step_by(CALLERS) {
                registry.register(&certificates[number], &Annotations::default()).await.unwrap();
            }
        });
    }
    callers.join_all().await;
    let grouped = report::per_second(count, start.elapsed());
    registry.database().close().await.unwrap();

    let plain = report::per_second(alone(), plainly(&path, &folder.join("registrations-raw.db"), alone()));
    report::line("rusqlite, the same statements, one commit each, nothing verified", &format!("{plain:.0}/s"));
    report::line("64 callers, signatures verified, each answered when durable", &format!("{grouped:.0}/s"));
    report::against("  times one commit each", grouped / plain, "at least 2", grouped / plain >= 2.0);
}

/// Copies registrations from one ledger into an empty one, with the register's statements in a plain loop.
fn plainly(from: &Path, to: &Path, count: usize) -> Duration {
    let source = raw::open(from);
    let rows = |sql: &str, columns: usize| -> Vec<Vec<Value>> {
        let mut statement = source.prepare(sql).unwrap();
        let row = |row: &rusqlite::Row<'_>| (0..columns).map(|column| row.get(column)).collect();
        statement.query_map([], row).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let issuers = rows("SELECT id, dn_key, name, key_id, public_key, recorded_at FROM issuer", 6);
    let certificates = rows(
        "SELECT c.id, c.fingerprint, c.issuer, c.serial, c.subject, c.issuer_name, c.common_name, c.names, c.not_before, \
         c.not_after, c.category, c.key_algorithm, c.key_bits, c.signature_algorithm, c.is_ca, c.is_precertificate, \
         c.weak, c.public_key_hash, c.key_holder, c.names_key, c.source, c.owner, c.tags, c.note, c.files, \
         c.registered_at, c.lapsed, c.der, c.list_signer, c.list_delegate, n.name, r.name, e.after, e.id \
         FROM certificate AS c JOIN certificate_name AS n ON n.certificate = c.id \
         JOIN certificate_name_reversed AS r ON r.certificate = c.id JOIN event AS e ON e.object = c.id",
        34,
    );
    let db = raw::open(to);
    let schema: Vec<String> = source
        .prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY rowid")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    for sql in schema {
        db.execute_batch(&sql).unwrap();
    }
    let run = |sql: &str, values: &[Value]| {
        let mut statement = db.prepare_cached(sql).unwrap();
        for (number, value) in (1..).zip(values) {
            let name = format!("${number}");
            let index = statement.parameter_index(&name).unwrap().unwrap();
            statement.raw_bind_parameter(index, value).unwrap();
        }
        statement.raw_execute().unwrap();
    };
    for issuer in &issuers {
        run(statements::ISSUER, issuer);
    }
    let text = |text: &str| Value::Text(text.to_owned());
    let start = Instant::now();
    for row in certificates.iter().take(count) {
        db.execute_batch("BEGIN IMMEDIATE").unwrap();
        run(statements::CERTIFICATE, &row[..30]);
        run(statements::NAME, &[row[30].clone(), row[8].clone(), row[0].clone()]);
        run(statements::REVERSED_NAME, &[row[31].clone(), row[0].clone()]);
        let event = [
            row[33].clone(),
            row[25].clone(),
            text("ledger"),
            text("certificate.registered"),
            row[0].clone(),
            Value::Null,
            row[32].clone(),
            Value::Null,
            Value::Null,
        ];
        run(statements::EVENT, &event);
        db.execute_batch("COMMIT").unwrap();
    }
    start.elapsed()
}
