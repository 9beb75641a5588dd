//! Counts: for people, as JSON, and for Prometheus.

use std::fs;

use unicode_width::UnicodeWidthStr;

use crate::certificates::{Plan, bundle};
use crate::home::{Home, Run};

fn home() -> Home {
    Home::with(&bundle(&[
        Plan::root("Example CA", 1),
        Plan::server(2, "a.example"),
        Plan::server(3, "b.example").valid_days(-1, 20),
        Plan::server(4, "old.example").valid("20200101000000Z", "20210101000000Z"),
        // The same serial, and with it the same key, again.
        Plan::server(2, "c.example"),
        Plan::server(9, "quote.example").of("Evil \"CA\" \\ \u{202e}", 8),
    ]))
}

#[test]
fn json_counts_by_status_category_issuer_finding_and_month() {
    let stats = home().json(["stats"]);
    assert_eq!(stats["total"], 6);
    assert_eq!(
        stats["by_status"],
        serde_json::json!({ "revoked": 0, "on-hold": 0, "expired": 1, "not-yet-valid": 0, "valid": 5 })
    );
    assert_eq!(stats["by_category"]["ca"], 1);
    assert_eq!(stats["by_category"]["service"], 5);
    assert_eq!(stats["by_issuer"][0]["certificates"], 5);
    assert_eq!(stats["by_issuer"][0]["issuer"], "O=Example,CN=Example CA");
    assert_eq!(stats["by_finding"]["duplicate-serial"], 2);
    assert_eq!(stats["certificates_with_findings"], 2);
    let months = stats["expiring_by_month"].as_array().unwrap();
    assert_eq!(months.iter().map(|month| month["certificates"].as_u64().unwrap()).sum::<u64>(), 6);
    assert_eq!(months[0]["month"], "2021-01");
}

#[test]
fn the_chart_has_this_month_and_twelve_more_and_fits_the_width() {
    let home = home();
    for width in [40, 80, 120] {
        let run = Run::of(home.command(["stats"]).env("COLUMNS", width.to_string())).expect(0);
        assert!(run.stdout.lines().all(|line| line.width() <= width), "{width}: {}", run.stdout);
        let chart = run.stdout.split_once("Expiring by month\n").unwrap().1;
        assert_eq!(chart.lines().count(), 14, "{chart}");
        assert_eq!(chart.lines().filter(|line| line.contains('█')).count(), 1, "{chart}");
        assert!(chart.ends_with("  before: 1, later: 4\n"), "{chart}");
        assert!(!run.stdout.contains('\u{202e}'));
    }
    assert!(home.run(["stats"]).expect(0).stdout.contains("2  duplicate-serial"));
    assert_eq!(home.json(["list", "--weak"]).as_array().unwrap().len(), 2);
}

#[test]
fn keys_of_a_ca_of_one_name_are_told_apart() {
    let home = Home::with(&bundle(&[Plan::root("Same CA", 1), Plan::root("Same CA", 2), Plan::root("Other CA", 3)]));
    let stats = home.run(["stats"]).expect(0).stdout;
    let same: Vec<&str> = stats.lines().filter(|line| line.contains("Same CA (")).collect();
    assert!(same.len() == 2 && same[0] != same[1], "{stats}");
    assert!(stats.lines().any(|line| line.ends_with("  Other CA")), "{stats}");
}

#[test]
fn prometheus_gets_well_formed_metrics_in_a_file_that_is_replaced_as_a_whole() {
    let home = home();
    fs::write(home.path("trust_ledger.prom"), "old").unwrap();
    let run = home.run(["stats", "--prometheus", "--output", "trust_ledger.prom"]).expect(0);
    assert_eq!(run.stdout, "");
    let text = fs::read_to_string(home.path("trust_ledger.prom")).unwrap();
    assert!(text.contains("# TYPE trust_ledger_certificates gauge\n"), "{text}");
    assert!(text.contains("trust_ledger_certificates{status=\"valid\"} 5\n"), "{text}");
    assert!(text.contains("issuer=\"O=Example,CN=Evil \\\\\\\"CA\\\\\\\" \\\\\\\\ \u{202e}\"} 1\n"), "{text}");
    assert!(text.contains("trust_ledger_expiring_soon_certificates{days=\"30\"} 1\n"), "{text}");
    assert!(text.contains("trust_ledger_expiring_soon_certificates{days=\"7\"} 0\n"), "{text}");
    let piped = home.run(["stats", "--prometheus"]).expect(0).stdout;
    let without_time = |text: &str| -> String {
        text.lines().filter(|line| !line.starts_with("trust_ledger_collected")).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(without_time(&piped), without_time(&text));
    assert_eq!(
        fs::read_dir(home.path(""))
            .unwrap()
            .filter(|entry| { entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(".trust-ledger-") })
            .count(),
        0
    );
    home.run(["stats", "--output", "x"]).expect(2);
}
