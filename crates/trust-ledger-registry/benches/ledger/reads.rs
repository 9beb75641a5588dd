//! Looking up and listing in the large ledger, warm.

use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use trust_ledger_registry::{Category, Expiring, Filter, NamePattern, Page, Registry, Serial, Status, statements};

use crate::bundle;
use crate::{number, raw, report};

const LOOKUPS: usize = 20_000;

/// A task that asks a thread and waits for its answer.
async fn thread_hop() -> Duration {
    let (sender, receiver) = mpsc::channel::<oneshot::Sender<u64>>();
    let thread = std::thread::spawn(move || receiver.iter().for_each(|reply| reply.send(7).unwrap()));
    let start = Instant::now();
    for _ in 0..LOOKUPS {
        let (reply, answer) = oneshot::channel();
        sender.send(reply).unwrap();
        answer.await.unwrap();
    }
    let took = start.elapsed() / u32::try_from(LOOKUPS).unwrap();
    drop(sender);
    thread.join().unwrap();
    took
}

/// Which certificate is looked up: in no order.
fn picked(round: usize, rows: usize) -> usize {
    usize::try_from(bundle::mixed(round as u64) % rows as u64).unwrap()
}

pub(crate) async fn lookups(registry: &Registry, path: &Path) {
    let rows = number("LEDGER_BENCH_ROWS", 1_000_000) / 10 * 10;
    report::head(&format!("Single lookups among {rows}"));
    // On a task of the runtime, where a service's callers are; the main thread is none.
    let hop = tokio::spawn(thread_hop()).await.unwrap();
    report::line("one hop to a thread and back", &report::micros(hop));
    let each = |start: Instant| start.elapsed() / u32::try_from(LOOKUPS).unwrap();

    let raw = raw::open(path);
    let now = i64::try_from(time::OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000).unwrap();
    let plain = |sql: &str, values: &dyn Fn(usize) -> Vec<rusqlite::types::Value>| {
        let run = |round| {
            let mut statement = raw.prepare_cached(sql).unwrap();
            let columns = statement.column_count();
            let mut found = statement.query(rusqlite::params_from_iter(values(picked(round, rows)))).unwrap();
            while let Some(row) = found.next().unwrap() {
                for column in 0..columns {
                    std::hint::black_box(row.get::<_, rusqlite::types::Value>(column).unwrap());
                }
            }
        };
        (0..LOOKUPS).for_each(run);
        let start = Instant::now();
        (0..LOOKUPS).for_each(run);
        each(start)
    };
    let by_serial = plain(statements::BY_SERIAL, &|number| vec![bundle::serial(number).into()]);
    let by_name = plain(statements::BY_NAME, &|number| vec![bundle::host(number).into(), now.into()]);

    for (what, plain, is_serial) in [("serial", by_serial, true), ("name", by_name, false)] {
        let registry = registry.clone();
        let took = tokio::spawn(async move {
            for warm in [true, false] {
                let start = Instant::now();
                let mut found = 0;
                for round in 0..LOOKUPS {
                    let number = picked(round, rows);
                    if is_serial {
                        let serial = Serial::from_content(&bundle::serial(number)).unwrap();
                        found += registry.by_serial(&serial, None).await.unwrap().len();
                    } else {
                        found += usize::from(registry.by_name(&bundle::host(number)).await.unwrap().is_some());
                    }
                }
                assert!(found > LOOKUPS / 4, "the certificates are there");
                if !warm {
                    return each(start);
                }
            }
            unreachable!("the second round returns")
        })
        .await
        .unwrap();
        report::line(&format!("rusqlite, prepared, by {what}"), &report::micros(plain));
        report::line(&format!("get by {what}"), &report::micros(took));
        let ratio = took.as_secs_f64() / (plain + hop).as_secs_f64();
        report::against("  times a prepared lookup and a hop", ratio, "at most 5", ratio <= 5.0);
    }
}

/// Pages of 100 one after the other, each read three times: the first meets pages of the file that this connection has not
/// decrypted yet, the last is warm.
pub(crate) async fn pages(registry: &Registry) {
    report::head(
        "Pages of 100, with names, findings and replacements: warm median of 40 pages (read for the first time)",
    );
    let everything = registry.list(&Filter::default(), &Page { limit: 1, ..Page::default() }).await.unwrap();
    let issuer = everything.records[0].issuer_id;
    let text = |text: &str| Some(text.to_owned());
    let status = |status| Filter { status: Some(status), ..Filter::default() };
    let name = |pattern: &str| Filter { name: Some(NamePattern::parse(pattern).unwrap()), ..Filter::default() };
    let now = time::OffsetDateTime::now_utc();
    let until = |days| Filter {
        expires_from: Some(now),
        expires_until: Some(now + time::Duration::days(days)),
        ..Filter::default()
    };
    let cases = [
        ("unfiltered", Filter::default()),
        ("status valid", status(Status::Valid)),
        ("status expired", status(Status::Expired)),
        ("status revoked", status(Status::Revoked)),
        ("status not-yet-valid (none)", status(Status::NotYetValid)),
        ("category service (nearly all)", Filter { category: Some(Category::Service), ..Filter::default() }),
        ("category ca (one)", Filter { category: Some(Category::Ca), ..Filter::default() }),
        ("issuer", Filter { issuer: Some(issuer), ..Filter::default() }),
        ("owner", Filter { owner: text("team4"), ..Filter::default() }),
        ("source", Filter { source: text("vault"), ..Filter::default() }),
        ("tag", Filter { tag: text("prod"), ..Filter::default() }),
        ("weak (none)", Filter { weak: true, ..Filter::default() }),
        ("name", name(&bundle::host(1_234))),
        ("name prefix, some 15 in 1,000,000", name("beef.*")),
        ("name suffix, 19 in 20", name("*.corp.example.com")),
        ("name suffix, 1 in 20", name("*.rare.example")),
        ("expires within a day", until(1)),
        ("expires within 30 days", until(30)),
        ("expires within a year", until(365)),
    ];
    for (what, filter) in cases {
        let (mut first, mut warm) = (Vec::new(), Vec::new());
        let mut cursor: Option<String> = None;
        let mut records = 0;
        for _ in 0..40 {
            let page = Page { after: cursor.take(), ..Page::default() };
            for round in 0..3 {
                let start = Instant::now();
                let listed = registry.list(&filter, &page).await.unwrap();
                match round {
                    0 => first.push(start.elapsed()),
                    1 => {}
                    _ => warm.push(start.elapsed()),
                }
                records = records.max(listed.records.len());
                cursor = listed.next;
            }
        }
        let (first, warm) = (report::median(&mut first), report::median(&mut warm));
        let met = if warm <= Duration::from_millis(2) { "met" } else { "MISSED" };
        let value = format!("{} ({}), {records} records: {met}", report::micros(warm), report::micros(first));
        report::line(what, &value);
    }
    for (what, question) in [
        ("expiring soon, the default, first 100", Expiring { limit: 100, ..Expiring::default() }),
        ("expiring soon, replaced ones too, first 100", Expiring { limit: 100, all: true, ..Expiring::default() }),
    ] {
        let start = Instant::now();
        let found = registry.expiring(&question).await.unwrap().len();
        report::line(what, &format!("{}, {found} records", report::micros(start.elapsed())));
    }
}
