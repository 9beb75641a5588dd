//! `expiring`: what has to be renewed.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use time::OffsetDateTime;

use trust_ledger_registry::{Expiring, Filter, Record, Registry, Status};

use crate::failure::{Exit, Failure, Result};
use crate::output::escape::for_terminal;
use crate::output::number::{counted, grouped};
use crate::output::record::{CSV_TITLES, common_name_of, csv_failed, csv_fields, csv_writer};
use crate::output::table::{Cell, Column, Table, Tone};
use crate::output::time::{date, distance, parse_span, span};
use crate::output::{Output, json};
use crate::pages::Pages;

/// Certificates that are read at once, and put into one table.
const AT_ONCE: u32 = 5_000;

/// Less than this is left: time to hurry.
const SOON: time::Duration = time::Duration::days(7);

/// List certificates that expire soon, soonest first
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  trust-ledger expiring                        what should be renewed by now
  trust-ledger expiring --within 30d --fail    exit code 4 if there is any
  trust-ledger expiring --nagios --warn 30d --crit 7d

Without --within: those with less than a third of their lifetime or 30 days left, whichever is less. Certificates that \
have been replaced by a newer one of the same issuer, category and names are left out unless --all is given. \
--nagios also counts as critical what expired unreplaced within the time of --crit, and exits 0, 1, 2 or 3 (unknown).")]
pub(crate) struct Arguments {
    /// Those that expire within this time, such as 30d or 12h
    #[arg(long, value_name = "DURATION", value_parser = parse_some_span)]
    within: Option<Duration>,

    /// Also those that have been replaced
    #[arg(long)]
    all: bool,

    /// Most certificates to list; by default all
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,

    /// Exit with 4 if there is any
    #[arg(long)]
    fail: bool,

    /// Write CSV with the field names of the JSON
    #[arg(long, conflicts_with = "json")]
    csv: bool,

    /// Answer as a monitoring plugin: one line with performance data, exit code 0 to 3
    #[arg(long, conflicts_with_all = ["json", "csv", "within", "fail", "limit"])]
    nagios: bool,

    /// Warning when less is left
    #[arg(long, value_name = "DURATION", value_parser = parse_some_span, default_value = "30d", requires = "nagios")]
    warn: Duration,

    /// Critical when less is left
    #[arg(long, value_name = "DURATION", value_parser = parse_some_span, default_value = "7d", requires = "nagios")]
    crit: Duration,
}

impl Arguments {
    /// Whether the answer is for a monitoring system.
    pub(crate) fn is_plugin(&self) -> bool {
        self.nagios
    }
}

pub(crate) async fn run(registry: &Registry, output: &Output, arguments: &Arguments) -> Result<Exit> {
    if arguments.nagios {
        return plugin(registry, output, arguments).await;
    }
    let question = Expiring { within: arguments.within, all: arguments.all, ..Expiring::default() };
    let mut soonest = Soonest { registry, question: question.clone(), left: arguments.limit, ended: false };
    let mut shown = 0;
    if arguments.csv {
        let mut writer = csv_writer(output.stdout(), &CSV_TITLES)?;
        while let Some(records) = soonest.next().await? {
            for record in &records {
                writer.write_record(csv_fields(record)).map_err(csv_failed)?;
            }
            shown += records.len() as u64;
        }
        writer.flush()?;
    } else if output.is_json() {
        let mut out = output.stdout();
        let mut array = json::Array::begin(&mut out)?;
        while let Some(records) = soonest.next().await? {
            for record in &records {
                array.element(&mut out, record)?;
            }
            shown += records.len() as u64;
        }
        array.end(&mut out)?;
        out.flush()?;
    } else {
        while let Some(records) = soonest.next().await?.filter(|records| !records.is_empty()) {
            let table = table(&records).render(output.width(), output.is_coloured());
            output.text(if shown == 0 { &table } else { table.split_once('\n').map_or("", |(_, rows)| rows) })?;
            shown += records.len() as u64;
        }
        if shown == 0 {
            output.note(&match arguments.within {
                Some(within) => format!("nothing expires within {}", span(within)),
                None => "nothing expires soon".to_owned(),
            });
        }
    }
    if arguments.limit == Some(shown) {
        let total = registry.count_expiring(&question).await?;
        if total > shown {
            output.note(&format!("{} of {}", grouped(shown), grouped(total)));
        }
    }
    Ok(if arguments.fail && shown > 0 { Exit::Problems } else { Exit::Done })
}

/// A walk through what expires, soonest first.
struct Soonest<'a> {
    registry: &'a Registry,
    question: Expiring,
    /// Records that may still come; `None` for all.
    left: Option<u64>,
    ended: bool,
}

impl Soonest<'_> {
    /// The next records; `None` after the last.
    async fn next(&mut self) -> Result<Option<Vec<Record>>> {
        if self.ended {
            return Ok(None);
        }
        let limit = self.left.map_or(AT_ONCE, |left| u32::try_from(left).unwrap_or(AT_ONCE).min(AT_ONCE));
        self.question.limit = limit;
        let records = self.registry.expiring(&self.question).await?;
        self.left = self.left.map(|left| left.saturating_sub(records.len() as u64));
        self.question.after = records.last().map(|last| (last.not_after, last.id));
        self.ended = records.len() < limit as usize || self.left == Some(0);
        Ok(Some(records))
    }
}

/// A duration of some length: within none, nothing can expire.
fn parse_some_span(text: &str) -> std::result::Result<Duration, String> {
    match parse_span(text)? {
        Duration::ZERO => Err(format!("{text:?} is no time at all; 1h is the least")),
        span => Ok(span),
    }
}

fn table(records: &[Record]) -> Table {
    let now = OffsetDateTime::now_utc();
    let mut table = Table::new([
        Column::new("NAME").cut_to(16, 1),
        Column::new("EXPIRES"),
        Column::new(""),
        Column::new("ISSUER").cut_to(14, 1).optional(2),
        Column::new("OWNER").cut_to(8, 1).optional(1),
        Column::new("SERIAL").cut_to(10, 0).optional(0),
    ]);
    for record in records {
        let tone = if record.not_after - now < SOON { Tone::Bad } else { Tone::Warning };
        table.row([
            Cell::from(record.display_name()),
            Cell::from(date(record.not_after)),
            Cell::toned(distance(record.not_after, now), tone),
            Cell::from(common_name_of(&record.issuer)),
            Cell::from(record.owner.as_deref().unwrap_or_default()),
            Cell::from(&record.serial),
        ]);
    }
    table
}

/// One line and an exit code, as the Monitoring Plugins guidelines have them.
async fn plugin(registry: &Registry, output: &Output, arguments: &Arguments) -> Result<Exit> {
    let (warn, crit) = (arguments.warn, arguments.crit);
    if crit > warn {
        return Err(Failure::usage("--crit is longer than --warn, so nothing would ever be a warning"));
    }
    let within = |within| Expiring { within: Some(within), all: arguments.all, ..Expiring::default() };
    let warning = registry.expiring(&within(warn)).await?;
    let critical = registry.expiring(&within(crit)).await?;
    let expired = lately_expired(registry, arguments).await?;
    // Soonest first, and what has expired is sooner than all.
    let soonest = expired.iter().max_by_key(|record| record.not_after).or(warning.first());
    let only_warning = warning.len() - critical.len().min(warning.len());
    let (state, word) = match (expired.len() + critical.len(), only_warning) {
        (0, 0) => (0, "OK"),
        (0, _) => (1, "WARNING"),
        _ => (2, "CRITICAL"),
    };
    let parts = [
        (expired.len(), format!("expired within the last {}", span(crit))),
        (critical.len(), format!("expiring within {}", span(crit))),
        (only_warning, format!("expiring within {}", span(warn))),
    ];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{} {what}", counted(count as u64, "certificate")))
        .collect();
    let text = if parts.is_empty() { format!("none expires within {}", span(warn)) } else { parts.join(", ") };
    let soonest = match soonest {
        // A bar would begin the performance data.
        Some(record) => {
            let name = for_terminal(&record.display_name()).replace('|', "\\u{7c}");
            format!("; {name} {}", date(record.not_after))
        }
        None => String::new(),
    };
    output.text(&format!(
        "CERTIFICATES {word} - {text}{soonest} | expired={};;0;0 critical={};;0;0 warning={};0;;0\n",
        expired.len(),
        critical.len(),
        only_warning
    ))?;
    Ok(Exit::Plugin(state))
}

/// Those that expired within the time of `--crit` and were not replaced: an alarm must not end because it was ignored.
async fn lately_expired(registry: &Registry, arguments: &Arguments) -> Result<Vec<Record>> {
    let now = OffsetDateTime::now_utc();
    let from = crate::output::time::When::Away(arguments.crit).ago(now);
    let filter = Filter { status: Some(Status::Expired), expires_from: Some(from), ..Filter::default() };
    let mut pages = Pages::new(registry, &filter, None, None);
    let mut expired = Vec::new();
    while let Some(records) = pages.next().await? {
        expired.extend(records.into_iter().filter(|record| arguments.all || record.replaced_by.is_none()));
    }
    Ok(expired)
}

/// The answer to a monitoring system when nothing can be said.
pub(crate) fn plugin_unknown(output: &Output, failure: &Failure) -> Result<Exit> {
    output.text(&format!("CERTIFICATES UNKNOWN - {}\n", failure.to_string().replace('|', "\\u{7c}")))?;
    Ok(Exit::Plugin(3))
}
