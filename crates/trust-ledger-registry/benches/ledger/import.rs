//! Importing bundles into a ledger that grows large.

use std::path::Path;
use std::time::{Duration, Instant};

use trust_ledger_registry::{
    Annotations, Filter, ImportInput, ImportOptions, Page, Registry, RevocationEntry, RevocationReason, Serial,
};

use crate::bundle::{self, Ca};
use crate::{config, number, report};

/// Parts of the import, each with another owner.
const PARTS: usize = 10;

/// Memory of this process in MiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default() / 1024
}

/// A ledger with all rows, a hundredth of them revoked.
pub(crate) async fn large(folder: &Path) -> Registry {
    let rows = number("LEDGER_BENCH_ROWS", 1_000_000);
    report::head("Import of PEM bundles, every signature verified");
    let registry = Registry::open(config(&folder.join("large.db")).connect().await.unwrap());
    let ca = Ca::new();
    for part in 0..PARTS {
        let numbers = rows / PARTS * part..rows / PARTS * (part + 1);
        let count = numbers.len();
        let path = folder.join("bundle.pem");
        ca.write(&path, numbers);
        let annotations = Annotations {
            owner: Some(format!("team{part}")),
            source: Some(if part == 3 { "vault" } else { "step-ca" }.to_owned()),
            tags: if part == 5 { vec!["prod".to_owned()] } else { Vec::new() },
            ..Annotations::default()
        };
        let options = ImportOptions { annotations, issuer: None };
        let before = resident();
        let mut most = before;
        let start = Instant::now();
        let input = ImportInput::Path(path.clone());
        let summary = registry.import(vec![input], &options, &mut |_| most = most.max(resident())).await.unwrap();
        let took = start.elapsed();
        assert_eq!(summary.refused_count, 0);
        std::fs::remove_file(path).unwrap();
        let what = format!("{count} certificates into a ledger of {}", count * part);
        report::line(&what, &format!("{}, memory {before} to {most} MiB", report::rate(count, took)));
        if part == 0 {
            let rate = report::per_second(count, took);
            report::against("  thousand per second", rate / 1e3, "at least 15", rate >= 15e3);
        }
    }
    revoke_some(&registry, rows).await;
    registry
}

async fn revoke_some(registry: &Registry, rows: usize) {
    let page = registry.list(&Filter::default(), &Page { limit: 1, ..Page::default() }).await.unwrap();
    let issuer = page.records[0].issuer_id;
    let entries: Vec<RevocationEntry> = (0..rows)
        .step_by(100)
        .map(|number| RevocationEntry {
            serial: Serial::from_content(&bundle::serial(number)).unwrap(),
            revoked_at: time::OffsetDateTime::now_utc(),
            reason: Some(RevocationReason::Superseded),
            invalidity_date: None,
        })
        .collect();
    let start = Instant::now();
    let recorded = registry.record_revocations(issuer, &entries, Some("bench")).await.unwrap();
    assert_eq!(recorded.recorded, entries.len() as u64);
    report::line("revocations of known certificates recorded", &report::rate(entries.len(), start.elapsed()));
    let start = Instant::now();
    let counts = registry.counts().await.unwrap();
    let took: Duration = start.elapsed();
    report::line(&format!("counts by status, issuer, category and month, of {}", counts.total), &report::micros(took));
}
