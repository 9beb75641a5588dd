//! `crl-entries`: what a CRL of an issuer must hold.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use time::OffsetDateTime;

use trust_ledger_registry::{CrlEntries, CrlQuery, Registry};

use crate::failure::{Exit, Result};
use crate::output::record::{csv_failed, csv_writer};
use crate::output::table::{Cell, Column, Table};
use crate::output::time::{When, moment, parse_span, rfc3339};
use crate::output::{Output, json};
use crate::selection::issuer_id;

/// Rows that are put into one table.
const TOGETHER: usize = 5_000;

/// List what a CRL of an issuer must hold
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  trust-ledger crl-entries --issuer 'Example CA' --last-crl 2026-11-14 --json
  trust-ledger crl-entries --issuer 'Example CA' --revoked-within 7d

These are the revoked certificates that have not expired, and with --last-crl those that expired since: an entry must \
appear on one CRL issued after the certificate's validity (RFC 5280 section 3.3).")]
pub(crate) struct Arguments {
    /// The issuer: id, key identifier, or part of the name
    #[arg(long, value_name = "ISSUER")]
    issuer: String,

    /// thisUpdate of the issuer's last CRL; what expired since is listed once more
    #[arg(long, value_name = "WHEN")]
    last_crl: Option<When>,

    /// Only what was revoked since
    #[arg(long, value_name = "WHEN")]
    since: Option<When>,

    /// Only what was revoked within this time
    #[arg(long, value_name = "DURATION", value_parser = parse_span)]
    revoked_within: Option<Duration>,

    /// Write CSV with the field names of the JSON
    #[arg(long, conflicts_with = "json")]
    csv: bool,
}

pub(crate) async fn run(registry: &Registry, output: &Output, arguments: &Arguments) -> Result<Exit> {
    let now = OffsetDateTime::now_utc();
    let issuer = issuer_id(registry, &arguments.issuer).await?;
    let query = CrlQuery {
        last_crl: arguments.last_crl.map(|when| when.ago(now)),
        since: arguments.since.map(|when| when.ago(now)),
        revoked_within: arguments.revoked_within,
    };
    let entries = registry.crl_entries(issuer, &query).await?;
    if arguments.csv {
        write_csv(entries, output).await?;
    } else if output.is_json() {
        write_json(entries, output).await?;
    } else {
        write_table(entries, output).await?;
    }
    Ok(Exit::Done)
}

async fn write_json(mut entries: CrlEntries<'_>, output: &Output) -> Result<()> {
    let mut out = output.stdout();
    let mut array = json::Array::begin(&mut out)?;
    while let Some(entry) = entries.next().await {
        array.element(&mut out, &entry?)?;
    }
    array.end(&mut out)?;
    Ok(out.flush()?)
}

async fn write_csv(mut entries: CrlEntries<'_>, output: &Output) -> Result<()> {
    let mut writer = csv_writer(output.stdout(), &["serial", "revoked_at", "reason", "invalidity_date", "checked"])?;
    while let Some(entry) = entries.next().await {
        let entry = entry?;
        let invalidity_date = entry.invalidity_date.map(rfc3339).unwrap_or_default();
        writer
            .write_record([
                entry.serial.to_hex(),
                rfc3339(entry.revoked_at),
                entry.reason.to_string(),
                invalidity_date,
                entry.checked.to_string(),
            ])
            .map_err(csv_failed)?;
    }
    Ok(writer.flush()?)
}

async fn write_table(mut entries: CrlEntries<'_>, output: &Output) -> Result<()> {
    let columns = ["SERIAL", "REVOKED AT", "REASON", "INVALID SINCE", "CHECKED"].map(Column::new);
    let mut table = Table::new(columns);
    let (mut waiting, mut is_first) = (0, true);
    loop {
        let entry = entries.next().await.transpose()?;
        let at_end = entry.is_none();
        if let Some(entry) = entry {
            table.row([
                Cell::from(entry.serial.to_hex()),
                Cell::from(moment(entry.revoked_at)),
                Cell::from(entry.reason.as_str()),
                Cell::from(entry.invalidity_date.map(moment).unwrap_or_default()),
                // Left out with its title where there is nothing to warn of.
                Cell::from(if entry.checked { "" } else { "no: the CRL's issuer is unknown" }),
            ]);
            waiting += 1;
        }
        if waiting > 0 && (at_end || waiting == TOGETHER) {
            // A serial is of no use when it is cut, so lines are as long as they have to be.
            let text = table.render(None, output.is_coloured());
            output.text(if is_first { &text } else { text.split_once('\n').map_or("", |(_, rows)| rows) })?;
            (table, waiting, is_first) = (Table::new(columns), 0, false);
        }
        if at_end {
            if is_first {
                output.note("nothing is revoked that has not expired");
            }
            return Ok(());
        }
    }
}
