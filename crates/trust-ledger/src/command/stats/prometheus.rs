//! Counts as metrics, in Prometheus' text format (version 0.0.4) for the node exporter's textfile collector.

use std::fmt::Write as _;

use time::OffsetDateTime;

use trust_ledger_registry::{Counts, FindingCounts};

/// Days within which what expires is counted.
pub(super) const SOON: [u64; 3] = [1, 7, 30];

/// All metrics; each is a gauge. `soon` is how many expire within so many days and have not been replaced.
pub(super) fn metrics(counts: &Counts, findings: &FindingCounts, soon: &[(u64, u64)], now: OffsetDateTime) -> String {
    let mut text = String::new();
    let name = "trust_ledger_certificates";
    head(&mut text, name, "Certificates in the ledger by status.");
    for (status, count) in &counts.by_status {
        sample(&mut text, name, &[("status", status.as_str())], *count);
    }
    let name = "trust_ledger_category_certificates";
    head(&mut text, name, "Certificates in the ledger by category.");
    for (category, count) in &counts.by_category {
        sample(&mut text, name, &[("category", category.as_str())], *count);
    }
    let name = "trust_ledger_issuer_certificates";
    head(&mut text, name, "Certificates in the ledger by issuer.");
    for issuer in &counts.by_issuer {
        let id = issuer.issuer_id.to_string();
        sample(&mut text, name, &[("issuer_id", &id), ("issuer", &issuer.name)], issuer.certificates);
    }
    let name = "trust_ledger_finding_certificates";
    head(&mut text, name, "Certificates in the ledger with a finding; one may have several.");
    for (finding, count) in &findings.by_finding {
        sample(&mut text, name, &[("finding", finding.as_str())], *count);
    }
    let name = "trust_ledger_expiring_certificates";
    head(&mut text, name, "Certificates neither revoked nor on hold by month of expiry (UTC), this month and later.");
    let this_month = (now.year(), u8::from(now.month()));
    for month in counts.by_month.iter().filter(|month| (month.year, month.month) >= this_month) {
        let label = format!("{:04}-{:02}", month.year, month.month);
        sample(&mut text, name, &[("month", &label)], month.certificates);
    }
    let name = "trust_ledger_expiring_soon_certificates";
    head(&mut text, name, "Valid certificates not replaced that expire within so many days.");
    for (days, count) in soon {
        sample(&mut text, name, &[("days", &days.to_string())], *count);
    }
    let name = "trust_ledger_collected_timestamp_seconds";
    head(&mut text, name, "When these metrics were collected, in seconds since 1970.");
    sample(&mut text, name, &[], u64::try_from(now.unix_timestamp()).unwrap_or_default());
    text
}

fn head(text: &mut String, name: &str, help: &str) {
    // Writing to a String cannot fail.
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n");
}

fn sample(text: &mut String, name: &str, labels: &[(&str, &str)], value: u64) {
    text.push_str(name);
    for (position, (label, value)) in labels.iter().enumerate() {
        text.push(if position == 0 { '{' } else { ',' });
        let _ = write!(text, "{label}=\"{}\"", escaped(value));
    }
    if !labels.is_empty() {
        text.push('}');
    }
    let _ = writeln!(text, " {value}");
}

/// A label's value: any UTF-8 with backslash, double quote and line feed escaped.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_are_escaped_as_the_format_wants_it() {
        let mut text = String::new();
        sample(&mut text, "metric", &[("issuer", "CN=a\\,b\"c\"\nd"), ("x", "ü")], 7);
        assert_eq!(text, "metric{issuer=\"CN=a\\\\,b\\\"c\\\"\\nd\",x=\"ü\"} 7\n");
    }

    #[test]
    fn every_metric_has_help_and_type_before_its_samples() {
        let text = metrics(&Counts::default(), &FindingCounts::default(), &[], OffsetDateTime::UNIX_EPOCH);
        let mut described = Vec::new();
        for line in text.lines() {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["#", "HELP", name, ..] => described.push(name),
                ["#", "TYPE", name, "gauge"] => assert_eq!(described.last(), Some(&name)),
                [sample, value] => {
                    assert_eq!(sample.split('{').next(), described.last().copied());
                    assert!(value.parse::<u64>().is_ok());
                }
                _ => panic!("{line}"),
            }
        }
        assert_eq!(described.len(), 7);
    }
}
