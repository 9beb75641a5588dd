//! Importing bundles into a ledger that grows large.

use std::path::Path;
use std::time::{Duration, Instant};

use trust_ledger_registry::{
    Annotations, Filter, ImportInput, ImportOptions, Page, Registry, RevocationEntry, RevocationReason, Serial,
};

use crate::bundle::{self, Ca};
use crate::{number, report};

/// Parts of the import, each with another owner.
const PARTS: usize = 10;

/// Memory of this process in MiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default() / 1024
}

/// CPU time that threads of this process have used so far, in microseconds: the writer's, and all others'. Unlike the rate, it
/// hardly depends on what else the machine does.
fn cpu_micros() -> (u64, u64) {
    let (mut writer, mut others) = (0, 0);
    for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let file = |name: &str| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let nanos: u64 = file("schedstat").split(' ').next().and_then(|text| text.parse().ok()).unwrap_or_default();
        let sum = if file("comm").starts_with("strongroom-writ") { &mut writer } else { &mut others };
        *sum += nanos / 1_000;
    }
    (writer, others)
}

/// Fills a ledger with all rows, a hundredth of them revoked.
pub(crate) async fn large(registry: Registry, folder: &Path) -> Registry {
    let rows = number("LEDGER_BENCH_ROWS", 1_000_000);
    report::head("Import of PEM bundles, every signature verified");
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
        let cpu = cpu_micros();
        let start = Instant::now();
        let input = ImportInput::Path(path.clone());
        let summary = registry.import(vec![input], &options, &mut |_| most = most.max(resident())).await.unwrap();
        let took = start.elapsed();
        // The thread that read the bundle has ended, so its time is missing: a few microseconds each.
        let (writer, others) = cpu_micros();
        let each = |micros: u64| micros as f64 / count as f64;
        assert_eq!(summary.refused_count, 0);
        std::fs::remove_file(path).unwrap();
        let what = format!("{count} certificates into a ledger of {}", count * part);
        let rate = report::rate(count, took);
        let cpu = format!("CPU each {:.0} µs writing, {:.0} µs else", each(writer - cpu.0), each(others - cpu.1));
        report::line(&what, &format!("{rate}, memory {before} to {most} MiB, {cpu}"));
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
            not_after: None,
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
