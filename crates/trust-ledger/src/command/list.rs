//! `list`: certificates that match.

use clap::Args;
use time::OffsetDateTime;

use trust_ledger_registry::{Filter, Page, Registry};

use crate::failure::{Exit, Result};
use crate::filter::FilterArguments;
use crate::output::number::{counted, grouped};
use crate::output::record::{CSV_TITLES, csv_failed, csv_fields, csv_writer, list_table};
use crate::output::{Output, json};
use crate::pages::Pages;

/// Certificates that a table shows unless asked otherwise.
const USUAL: u64 = 100;

/// Rows that are put into one table; of longer lists, each such part has its own column widths.
const TOGETHER: usize = 5_000;

/// List certificates, newest registered first
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  trust-ledger list                                  the newest 100
  trust-ledger list '*.example.com' --status valid   in use below a domain
  trust-ledger list --weak --csv > weak.csv          for a spreadsheet
  trust-ledger list --owner web --expires-before 30d --json

A table shows 100 certificates unless --limit or --all says otherwise; JSON and CSV hold all. In CSV, text that a spreadsheet would \
take for a formula (= + - @ at its beginning) has an apostrophe before it; serials are as they are.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    filter: FilterArguments,

    /// Most certificates to list; default 100 for a table, all for JSON and CSV
    #[arg(
        long,
        value_name = "N",
        conflicts_with = "all",
        help_heading = "Output",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    limit: Option<u64>,

    /// List all that match
    #[arg(long, help_heading = "Output")]
    all: bool,

    /// Go on after the last certificate of a list before: its id
    #[arg(long, alias = "cursor", value_name = "ID", help_heading = "Output")]
    after: Option<String>,

    /// Say how many match, on standard error
    #[arg(long, help_heading = "Output")]
    total: bool,

    /// Write CSV with the field names of the JSON
    #[arg(long, conflicts_with = "json", help_heading = "Output")]
    csv: bool,
}

pub(crate) async fn run(registry: &Registry, output: &Output, arguments: &Arguments) -> Result<Exit> {
    let filter = arguments.filter.resolve(registry).await?;
    let is_table = !arguments.csv && !output.is_json();
    let limit = arguments.limit.or((is_table && !arguments.all).then_some(USUAL));
    let mut pages = Pages::new(registry, &filter, limit, arguments.after.clone());
    let shown = if arguments.csv {
        write_csv(&mut pages, output).await?
    } else if output.is_json() {
        write_json(&mut pages, output).await?
    } else {
        write_table(&mut pages, output).await?
    };
    let cursor = pages.cursor();
    if arguments.total || (is_table && cursor.is_some()) {
        let total = total(registry, &filter).await?;
        match cursor {
            Some(cursor) => {
                output.note(&format!("{} of {}; --all, or go on with --after {cursor}", grouped(shown), grouped(total)))
            }
            None => output.note(&format!("{} in all", counted(total, "certificate"))),
        }
    } else if let Some(cursor) = cursor {
        output.note(&format!("more follow: --after {cursor}"));
    } else if is_table && shown == 0 {
        output.note(if arguments.after.is_some() {
            "no more certificates"
        } else if filter == Filter::default() {
            "the ledger holds no certificates yet; trust-ledger import records some"
        } else {
            "no certificate matches"
        });
    }
    Ok(Exit::Done)
}

/// How many match.
pub(crate) async fn total(registry: &Registry, filter: &Filter) -> Result<u64> {
    let page = Page { limit: 1, total: true, ..Page::default() };
    // It was asked for, so it is there.
    Ok(registry.list(filter, &page).await?.total.unwrap_or_default())
}

async fn write_table(pages: &mut Pages<'_>, output: &Output) -> Result<u64> {
    let now = OffsetDateTime::now_utc();
    let (mut shown, mut waiting, mut is_first) = (0, Vec::new(), true);
    loop {
        let records = pages.next().await?;
        let at_end = records.is_none();
        waiting.extend(records.into_iter().flatten());
        if !waiting.is_empty() && (at_end || waiting.len() >= TOGETHER) {
            let table = list_table(&waiting, now).render(output.width(), output.is_coloured());
            let rows = table.split_once('\n').map_or("", |(_, rows)| rows);
            output.text(if is_first { &table } else { rows })?;
            shown += waiting.len() as u64;
            is_first = false;
            waiting.clear();
        }
        if at_end {
            return Ok(shown);
        }
    }
}

async fn write_json(pages: &mut Pages<'_>, output: &Output) -> Result<u64> {
    let mut out = output.stdout();
    let mut array = json::Array::begin(&mut out)?;
    let mut shown = 0;
    while let Some(records) = pages.next().await? {
        for record in &records {
            array.element(&mut out, record)?;
        }
        shown += records.len() as u64;
    }
    array.end(&mut out)?;
    std::io::Write::flush(&mut out)?;
    Ok(shown)
}

async fn write_csv(pages: &mut Pages<'_>, output: &Output) -> Result<u64> {
    let mut writer = csv_writer(output.stdout(), &CSV_TITLES)?;
    let mut shown = 0;
    while let Some(records) = pages.next().await? {
        for record in &records {
            writer.write_record(csv_fields(record)).map_err(csv_failed)?;
        }
        shown += records.len() as u64;
    }
    writer.flush()?;
    Ok(shown)
}
