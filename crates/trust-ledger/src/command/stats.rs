//! `stats`: how many certificates of each kind there are.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;
use time::{Month, OffsetDateTime};
use unicode_width::UnicodeWidthStr;

use trust_ledger_registry::{Counts, FindingCounts, IssuerCount, Registry, Stats};

use crate::failure::{Exit, Result};
use crate::output::Output;
use crate::output::chart::bars;
use crate::output::escape::for_terminal;
use crate::output::file::Replacement;
use crate::output::number::grouped;
use crate::output::record::common_name_of;
use crate::output::table::cut;

/// Issuers that are listed for people; all are in the JSON.
const ISSUERS: usize = 10;

/// Months of the chart: this one and a year.
const MONTHS: usize = 13;

/// Count certificates by status, issuer, category, finding and month of expiry
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  trust-ledger stats
  trust-ledger stats --json
  trust-ledger stats --prometheus --output /var/lib/node_exporter/ledger.prom")]
pub(crate) struct Arguments {
    /// Write metrics for the node exporter's textfile collector
    #[arg(long, conflicts_with = "json")]
    prometheus: bool,

    /// Write to this file, which is replaced as a whole
    #[arg(short, long, value_name = "FILE", requires = "prometheus")]
    output: Option<PathBuf>,
}

pub(crate) async fn run(registry: &Registry, output: &Output, arguments: &Arguments) -> Result<Exit> {
    if arguments.prometheus {
        let text = registry.metrics(true).await?;
        match &arguments.output {
            None => output.text(&text)?,
            Some(path) => {
                let mut file = Replacement::of(path)?;
                file.write_all(text.as_bytes())?;
                file.finish()?;
            }
        }
        return Ok(Exit::Done);
    }
    let counts = registry.counts().await?;
    let findings = registry.findings().await?;
    if output.is_json() {
        output.object(&Stats::new(&counts, &findings))?;
    } else {
        output.text(&describe(&counts, &findings, OffsetDateTime::now_utc(), output.chart_width()))?;
    }
    Ok(Exit::Done)
}

fn describe(counts: &Counts, findings: &FindingCounts, now: OffsetDateTime, width: usize) -> String {
    let mut text = format!("{} certificates\n", grouped(counts.total));
    let status = counts.by_status.iter().map(|(status, count)| (status.to_string(), *count));
    section(&mut text, "Status", status, width);
    let category = counts.by_category.iter().map(|(category, count)| (category.to_string(), *count));
    section(&mut text, "Category", category, width);
    let names: Vec<String> = counts.by_issuer.iter().map(|issuer| common_name_of(&issuer.name)).collect();
    let listed = counts.by_issuer.iter().zip(&names).take(ISSUERS).map(|(issuer, name)| {
        // A CA that changed its key is two issuers of one name.
        let is_shared = names.iter().filter(|other| *other == name).count() > 1;
        let label = if is_shared { format!("{name} ({})", short_id(issuer)) } else { name.clone() };
        (label, issuer.certificates)
    });
    let others = counts.by_issuer.iter().skip(ISSUERS);
    let rest = (others.len(), others.map(|issuer| issuer.certificates).sum());
    let rest = (rest.0 > 0).then(|| (format!("in {} more issuers", grouped(rest.0 as u64)), rest.1));
    section(&mut text, "Issuer", listed.chain(rest), width);
    let finding = findings.by_finding.iter().map(|(finding, count)| (finding.to_string(), *count));
    section(&mut text, "Findings", finding, width);
    if findings.certificates > 0 {
        text.push_str("  trust-ledger list --weak lists them\n");
    }
    let months = months(counts, now);
    text.push_str("\nExpiring by month\n");
    text.push_str(&bars(&months, width));
    let first = months.first().map_or("", |(month, _)| month);
    let last = months.last().map_or("", |(month, _)| month);
    let sum = |wanted: &dyn Fn(&str) -> bool| -> u64 {
        let month = |year, month| format!("{year:04}-{month:02}");
        let fits = counts.by_month.iter().filter(|count| wanted(&month(count.year, count.month)));
        fits.map(|count| count.certificates).sum()
    };
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "  before: {}, later: {}",
        grouped(sum(&|month| month < first)),
        grouped(sum(&|month| month > last))
    );
    text
}

/// The beginning of the key identifier, or of the issuer's id when there is none.
fn short_id(issuer: &IssuerCount) -> String {
    match &issuer.key_id {
        Some(key_id) => format!("key {}", key_id.get(..8).unwrap_or(key_id)),
        None => format!("id {}", &issuer.issuer_id.to_string()[..8]),
    }
}

/// What there is none of is left out, unless there is nothing else.
fn section(text: &mut String, title: &str, counts: impl Iterator<Item = (String, u64)>, width: usize) {
    let counts: Vec<(String, u64)> = counts.filter(|(_, count)| *count > 0).collect();
    let _ = writeln!(text, "\n{title}");
    if counts.is_empty() {
        text.push_str("  none\n");
        return;
    }
    let numbers: Vec<String> = counts.iter().map(|(_, count)| grouped(*count)).collect();
    let number_width = numbers.iter().map(String::len).max().unwrap_or(0);
    for (number, (label, _)) in numbers.iter().zip(&counts) {
        let room = width.saturating_sub(number_width + 4).max(8);
        let label = cut(&for_terminal(label), room);
        debug_assert!(label.width() <= room);
        let _ = writeln!(text, "  {number:>number_width$}  {label}");
    }
}

/// This month and the twelve after it.
fn months(counts: &Counts, now: OffsetDateTime) -> Vec<(String, u64)> {
    let (mut year, mut month) = (now.year(), now.month());
    let mut months = Vec::with_capacity(MONTHS);
    for _ in 0..MONTHS {
        let here = |count: &&trust_ledger_registry::MonthCount| count.year == year && count.month == u8::from(month);
        let certificates = counts.by_month.iter().find(here).map_or(0, |count| count.certificates);
        months.push((format!("{year:04}-{:02}", u8::from(month)), certificates));
        month = month.next();
        year += i32::from(month == Month::January);
    }
    months
}
