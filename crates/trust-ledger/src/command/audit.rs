//! `audit`: who changed what, and when.

use clap::Args;
use clap::builder::PossibleValuesParser;
use std::io::Write;
use time::OffsetDateTime;
use uuid::Uuid;

use trust_ledger_registry::{Event, EventFilter, Page, Registry};

use crate::failure::{Exit, Result};
use crate::output::record::{csv_failed, csv_text, csv_writer};
use crate::output::table::{Cell, Column, Table};
use crate::output::time::{When, moment, rfc3339};
use crate::output::{Output, json, number::grouped};
use crate::selection::{self, Names};

/// Events that a table shows unless asked otherwise.
const USUAL: u64 = 100;

/// Events fetched at once, and put into one table.
const AT_ONCE: u32 = 1_000;

/// List the changes made to the ledger, newest first
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  trust-ledger audit --since 7d
  trust-ledger audit --of ./server.pem         what was done to one certificate
  trust-ledger audit --action revocation.recorded --json

Before and after each change are in --json and --csv.")]
pub(crate) struct Arguments {
    /// Of this certificate (as in `show`), or of this issuer's, token's or deleted certificate's id
    #[arg(long, value_name = "CERTIFICATE|ID")]
    of: Option<String>,

    /// Of this kind, such as certificate.deleted
    #[arg(long, value_name = "ACTION", value_parser = PossibleValuesParser::new(Event::ACTIONS))]
    action: Option<String>,

    /// By this user; --actor is who runs this command
    #[arg(long, value_name = "ACTOR")]
    by: Option<String>,

    /// Made by the request with this id, of a service on the ledger
    #[arg(long, value_name = "ID")]
    request: Option<String>,

    /// At or after this day, or within this time (7d)
    #[arg(long, value_name = "WHEN")]
    since: Option<When>,

    /// Before this day, or longer ago than this
    #[arg(long, value_name = "WHEN")]
    until: Option<When>,

    /// Most events to list; default 100 for a table, all for JSON and CSV
    #[arg(long, value_name = "N", conflicts_with = "all", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,

    /// List all that match
    #[arg(long)]
    all: bool,

    /// Go on after the last event of a list before: its id
    #[arg(long, alias = "cursor", value_name = "ID")]
    after: Option<String>,

    /// Write CSV with the field names of the JSON
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

pub(crate) async fn run(registry: &Registry, output: &Output, arguments: &Arguments) -> Result<Exit> {
    let now = OffsetDateTime::now_utc();
    let filter = EventFilter {
        object: match &arguments.of {
            Some(text) => Some(object(registry, text).await?),
            None => None,
        },
        action: arguments.action.clone(),
        actor: arguments.by.clone(),
        request: arguments.request.clone(),
        since: arguments.since.map(|when| when.ago(now)),
        until: arguments.until.map(|when| when.ago(now)),
    };
    let mut out = output.stdout();
    let mut writer = Writer::begin(arguments, output, &mut out)?;
    let is_table = matches!(writer, Writer::Table { .. });
    let mut left = arguments.limit.or((is_table && !arguments.all).then_some(USUAL));
    let mut after = arguments.after.clone();
    let mut shown = 0;
    while left != Some(0) {
        let limit = left.map_or(AT_ONCE, |left| u32::try_from(left).unwrap_or(AT_ONCE).min(AT_ONCE));
        let page = registry.events(&filter, &Page { after: after.take(), limit, total: false }).await?;
        writer.write(&page.events, output, &mut out)?;
        let count = page.events.len() as u64;
        shown += count;
        left = left.map(|left| left.saturating_sub(count));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    writer.end(&mut out)?;
    out.flush()?;
    match after {
        Some(after) => output.note(&format!("{} shown, more follow: --all, or --after {after}", grouped(shown))),
        None if shown == 0 && is_table => output.note("no change matches"),
        None => {}
    }
    Ok(Exit::Done)
}

/// An id is taken as it is, since issuers and deleted certificates have events too.
async fn object(registry: &Registry, text: &str) -> Result<Uuid> {
    match Uuid::try_parse(text.trim()) {
        Ok(id) if text.contains('-') => Ok(id),
        _ => Ok(selection::one(registry, text, None, Names::Allowed).await?.id),
    }
}

/// The form in which events are written.
enum Writer {
    Json(json::Array),
    Csv { has_titles: bool },
    Table { has_titles: bool },
}

impl Writer {
    fn begin(arguments: &Arguments, output: &Output, out: &mut impl Write) -> Result<Writer> {
        Ok(match (arguments.csv, output.is_json()) {
            (true, _) => Writer::Csv { has_titles: false },
            (_, true) => Writer::Json(json::Array::begin(out)?),
            _ => Writer::Table { has_titles: false },
        })
    }

    fn write(&mut self, events: &[Event], output: &Output, out: &mut impl Write) -> Result<()> {
        match self {
            Writer::Json(array) => {
                for event in events {
                    array.element(out, event)?;
                }
            }
            Writer::Csv { has_titles } => {
                let titles: &[&str] =
                    &["id", "at", "actor", "action", "object", "before", "after", "origin", "request"];
                let mut writer = csv_writer(Vec::new(), titles)?;
                for event in events {
                    writer.write_record(csv_fields(event)).map_err(csv_failed)?;
                }
                let text = writer.into_inner().map_err(|error| error.into_error())?;
                let titles_end = text.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
                out.write_all(if *has_titles { &text[titles_end..] } else { &text })?;
                *has_titles = true;
            }
            Writer::Table { has_titles } => {
                if events.is_empty() {
                    return Ok(());
                }
                let text = table(events).render(output.width(), output.is_coloured());
                let rows = text.split_once('\n').map_or("", |(_, rows)| rows);
                out.write_all(if *has_titles { rows } else { &text }.as_bytes())?;
                *has_titles = true;
            }
        }
        Ok(())
    }

    fn end(self, out: &mut impl Write) -> Result<()> {
        if let Writer::Json(array) = self {
            array.end(out)?;
        }
        Ok(())
    }
}

fn csv_fields(event: &Event) -> [String; 9] {
    let json = |value: &Option<serde_json::Value>| value.as_ref().map(ToString::to_string).unwrap_or_default();
    [
        event.id.to_string(),
        rfc3339(event.at),
        event.actor.clone(),
        event.action.clone(),
        event.object.to_string(),
        json(&event.before),
        json(&event.after),
        event.origin.clone().unwrap_or_default(),
        event.request.clone().unwrap_or_default(),
    ]
    .map(|field| csv_text(&field))
}

fn table(events: &[Event]) -> Table {
    let mut table = Table::new([
        Column::new("AT"),
        Column::new("ACTOR").cut_to(10, 0),
        Column::new("ORIGIN").optional(2),
        Column::new("REQUEST").optional(0),
        Column::new("ACTION"),
        Column::new("OBJECT").optional(1),
        Column::new("CHANGE").cut_to(16, 1),
    ]);
    for event in events {
        table.row([
            Cell::from(moment(event.at)),
            Cell::from(&event.actor),
            Cell::from(event.origin.as_deref().unwrap_or_default()),
            Cell::from(event.request.as_deref().unwrap_or_default()),
            Cell::from(&event.action),
            Cell::from(event.object.to_string()),
            Cell::from(change(event)),
        ]);
    }
    table
}

/// What changed, in short: of a change the fields that differ, of what is new or gone what it was.
fn change(event: &Event) -> String {
    let field = |value: &serde_json::Value, name: &str| match value.get(name) {
        Some(serde_json::Value::String(text)) => Some(text.clone()),
        _ => None,
    };
    match (&event.before, &event.after) {
        (Some(serde_json::Value::Object(before)), Some(serde_json::Value::Object(after))) => {
            let differs = after.iter().filter(|(name, value)| before.get(*name) != Some(*value));
            let shown = differs.map(|(name, value)| match value {
                serde_json::Value::String(text) => format!("{name}: {text}"),
                serde_json::Value::Null => format!("{name}: none"),
                value => format!("{name}: {value}"),
            });
            shown.collect::<Vec<_>>().join(", ")
        }
        (Some(only), None) | (None, Some(only)) => {
            let serial = || field(only, "serial").map(|serial| format!("serial {serial}"));
            let reason = field(only, "reason").map(|reason| format!(", {reason}")).unwrap_or_default();
            let named = || Some(format!("{}, {}", field(only, "name")?, field(only, "role")?));
            let what = field(only, "subject").filter(|text| !text.is_empty()).or_else(serial).or_else(named);
            what.unwrap_or_default() + &reason
        }
        _ => String::new(),
    }
}
