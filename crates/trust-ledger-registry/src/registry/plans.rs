//! The plans of the hot statements are a golden file, so that an index lost is a failing test.
//!
//! After a wanted change, run the test with `UPDATE_PLANS=1` and read the difference: a `SCAN` of a table, or a
//! `TEMP B-TREE` where there was none, is slower on a large ledger.

use std::fmt::Write as _;

use strongroom::{Params, Value};
use time::macros::datetime;
use uuid::Uuid;

use super::filter::{Filter, Window};
use super::register::{INSERT_CERTIFICATE, INSERT_IF_TRIED};
use super::{Registry, expiring, list, lookup};
use crate::certificate::Category;
use crate::name::NamePattern;
use crate::record::Status;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/registry/plans.txt");

#[tokio::test]
async fn hot_statements_keep_their_plans() {
    let registry = Registry::in_memory().await.unwrap();
    let mut told = String::new();
    for (name, sql) in [
        ("get", lookup::GET),
        ("by_fingerprint", lookup::BY_FINGERPRINT),
        ("by_serial", lookup::BY_SERIAL),
        ("by_serial of one issuer", lookup::BY_SERIAL_OF_ISSUER),
        ("by_name", lookup::BY_NAME),
        ("expiring", expiring::EXPIRING),
        ("register", INSERT_CERTIFICATE),
        ("register under a name", INSERT_IF_TRIED),
    ] {
        explain(&registry, &mut told, name, sql).await;
    }
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
        ("issuer", Filter { issuer: Some(Uuid::nil()), ..Filter::default() }),
        ("owner", Filter { owner: text("a"), ..Filter::default() }),
        ("source", Filter { source: text("a"), ..Filter::default() }),
        ("tag", Filter { tag: text("a"), ..Filter::default() }),
        ("weak", Filter { weak: true, ..Filter::default() }),
        ("dates", Filter { expires_until: Some(datetime!(2027-01-01 0:00 UTC)), ..Filter::default() }),
        ("name", name("a.example")),
        ("prefix", name("a*")),
        ("suffix", name("*.example")),
        ("owner and valid", Filter { owner: text("a"), ..status(Status::Valid) }),
    ] {
        let now = datetime!(2026-11-21 12:00 UTC);
        let window = Window { cursor: Some(Uuid::max()), limit: Some(101), now };
        let (sql, _) = list::page_query(&filter, window);
        explain(&registry, &mut told, &format!("list {title}"), &sql).await;
    }
    if std::env::var_os("UPDATE_PLANS").is_some() {
        std::fs::write(GOLDEN, &told).unwrap();
    }
    let golden = std::fs::read_to_string(GOLDEN).unwrap_or_default();
    assert!(golden == told, "the plans differ from {GOLDEN}:\n{told}");
}

async fn explain(registry: &Registry, told: &mut String, name: &str, sql: &str) {
    let count = (1..).find(|number| !sql.contains(&format!("${number}"))).unwrap() - 1;
    let nothing = Params::from(vec![Value::Null; count]);
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
