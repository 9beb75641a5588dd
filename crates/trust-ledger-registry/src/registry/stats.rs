//! Statistics: the counts and findings together, in the ledger's JSON and as metrics.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use super::Registry;
use super::counts::{Counts, FindingCounts};
use super::expiring::Expiring;
use crate::certificate::{Category, NEVER};
use crate::error::Result;
use crate::record::{Finding, Status};

/// Days within which what expires is counted.
const SOON: [u64; 3] = [1, 7, 30];

/// What there is in the ledger, in numbers.
///
/// Serialises to the fields and names of the ledger's JSON; fields may be added and never change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Stats {
    /// All certificates.
    pub total: u64,
    /// By status; each of the five is there.
    pub by_status: BTreeMap<Status, u64>,
    /// By category; each of the five is there.
    pub by_category: BTreeMap<Category, u64>,
    /// By issuer, the one with most first.
    pub by_issuer: Vec<IssuerStats>,
    /// Certificates with at least one finding.
    pub certificates_with_findings: u64,
    /// By finding; one certificate may have several.
    pub by_finding: BTreeMap<Finding, u64>,
    /// By month of notAfter in UTC, of those that are neither revoked nor on hold; only months that have any.
    pub expiring_by_month: Vec<MonthStats>,
}

/// How many certificates of an issuer there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct IssuerStats {
    /// The issuer's id.
    pub issuer_id: Uuid,
    /// Its distinguished name, RFC 4514.
    pub issuer: String,
    /// Certificates.
    pub certificates: u64,
    /// Its key identifier in lower-case hex, when one is known.
    pub key_id: Option<String>,
}

/// How many certificates expire in a month.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct MonthStats {
    /// The month, such as `2026-11`.
    pub month: String,
    /// Certificates.
    pub certificates: u64,
}

impl Stats {
    /// The statistics that some counts and findings make.
    pub fn new(counts: &Counts, findings: &FindingCounts) -> Stats {
        Stats {
            total: counts.total,
            by_status: counts.by_status.clone(),
            by_category: counts.by_category.clone(),
            by_issuer: counts
                .by_issuer
                .iter()
                .map(|issuer| IssuerStats {
                    issuer_id: issuer.issuer_id,
                    issuer: issuer.name.clone(),
                    certificates: issuer.certificates,
                    key_id: issuer.key_id.clone(),
                })
                .collect(),
            certificates_with_findings: findings.certificates,
            by_finding: findings.by_finding.clone(),
            expiring_by_month: counts
                .by_month
                .iter()
                .map(|month| MonthStats {
                    month: format!("{:04}-{:02}", month.year, month.month),
                    certificates: month.certificates,
                })
                .collect(),
        }
    }
}

impl Registry {
    /// How many certificates of each kind there are.
    ///
    /// # Errors
    ///
    /// [`Error::Database`](crate::Error::Database).
    pub async fn stats(&self) -> Result<Stats> {
        Ok(Stats::new(&self.counts().await?, &self.findings().await?))
    }

    /// The ledger in numbers, in Prometheus' text format (version 0.0.4); each metric is a gauge.
    ///
    /// `trust_ledger_certificates` by status, and `trust_ledger_category_`, `issuer_`, `finding_`, `expiring_` (by month) and
    /// `expiring_soon_certificates` (within so many days, not replaced); `trust_ledger_next_expiry_days`, which is left out
    /// while nothing expires; `trust_ledger_collected_timestamp_seconds`. Those by issuer, which tell names, only when asked
    /// for.
    ///
    /// <https://prometheus.io/docs/instrumenting/exposition_formats/>
    ///
    /// # Errors
    ///
    /// [`Error::Database`](crate::Error::Database).
    pub async fn metrics(&self, by_issuer: bool) -> Result<String> {
        let mut stats = self.stats().await?;
        if !by_issuer {
            stats.by_issuer.clear();
        }
        let mut soon = Vec::new();
        for days in SOON {
            let within = Some(Duration::from_secs(days * 86_400));
            soon.push((days, self.count_expiring(&Expiring { within, ..Expiring::default() }).await?));
        }
        let ever = Expiring { within: Some(Duration::MAX), limit: 1, ..Expiring::default() };
        let next = self.expiring(&ever).await?.first().map(|record| record.not_after).filter(|next| *next != NEVER);
        Ok(text(&stats, &soon, next, self.instant()))
    }
}

/// All metrics. `soon` is how many expire within so many days and have not been replaced, `next` when the first of them does.
fn text(stats: &Stats, soon: &[(u64, u64)], next: Option<OffsetDateTime>, now: OffsetDateTime) -> String {
    let mut text = String::new();
    let name = "trust_ledger_certificates";
    head(&mut text, name, "Certificates in the ledger by status.");
    for (status, count) in &stats.by_status {
        sample(&mut text, name, &[("status", status.as_str())], *count);
    }
    let name = "trust_ledger_category_certificates";
    head(&mut text, name, "Certificates in the ledger by category.");
    for (category, count) in &stats.by_category {
        sample(&mut text, name, &[("category", category.as_str())], *count);
    }
    if !stats.by_issuer.is_empty() {
        let name = "trust_ledger_issuer_certificates";
        head(&mut text, name, "Certificates in the ledger by issuer.");
        for issuer in &stats.by_issuer {
            let id = issuer.issuer_id.to_string();
            sample(&mut text, name, &[("issuer_id", &id), ("issuer", &issuer.issuer)], issuer.certificates);
        }
    }
    let name = "trust_ledger_finding_certificates";
    head(&mut text, name, "Certificates in the ledger with a finding; one may have several.");
    for (finding, count) in &stats.by_finding {
        sample(&mut text, name, &[("finding", finding.as_str())], *count);
    }
    let name = "trust_ledger_expiring_certificates";
    head(&mut text, name, "Certificates neither revoked nor on hold by month of expiry (UTC), this month and later.");
    let this_month = format!("{:04}-{:02}", now.year(), u8::from(now.month()));
    for month in stats.expiring_by_month.iter().filter(|month| month.month >= this_month) {
        sample(&mut text, name, &[("month", &month.month)], month.certificates);
    }
    let name = "trust_ledger_expiring_soon_certificates";
    head(&mut text, name, "Valid certificates not replaced that expire within so many days.");
    for (days, count) in soon {
        sample(&mut text, name, &[("days", &days.to_string())], *count);
    }
    if let Some(next) = next {
        let name = "trust_ledger_next_expiry_days";
        head(&mut text, name, "Days until the first of the valid certificates not replaced expires.");
        let days = (next - now).as_seconds_f64() / 86_400.0;
        sample(&mut text, name, &[], format_args!("{days:.3}"));
    }
    let name = "trust_ledger_collected_timestamp_seconds";
    head(&mut text, name, "When these metrics were collected, in seconds since 1970.");
    sample(&mut text, name, &[], now.unix_timestamp());
    text
}

fn head(text: &mut String, name: &str, help: &str) {
    // Writing to a String cannot fail.
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n");
}

fn sample(text: &mut String, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
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
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;

    #[test]
    fn label_values_are_escaped_as_the_format_wants_it() {
        let mut text = String::new();
        sample(&mut text, "metric", &[("issuer", "CN=a\\,b\"c\"\nd"), ("x", "ü")], 7);
        assert_eq!(text, "metric{issuer=\"CN=a\\\\,b\\\"c\\\"\\nd\",x=\"ü\"} 7\n");
    }

    #[test]
    fn every_metric_has_help_and_type_before_its_samples() {
        let now = OffsetDateTime::UNIX_EPOCH;
        let stats = Stats::new(&Counts::default(), &FindingCounts::default());
        let text = text(&stats, &[], Some(now + Duration::hours(36)), now);
        assert!(text.contains("\ntrust_ledger_next_expiry_days 1.500\n"), "{text}");
        let mut described = Vec::new();
        for line in text.lines() {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["#", "HELP", name, ..] => described.push(name),
                ["#", "TYPE", name, "gauge"] => assert_eq!(described.last(), Some(&name)),
                [sample, value] => {
                    assert_eq!(sample.split('{').next(), described.last().copied());
                    assert!(value.parse::<f64>().is_ok());
                }
                _ => panic!("{line}"),
            }
        }
        assert_eq!(described.len(), 7);
    }
}
