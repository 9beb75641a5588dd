//! `export`: certificates themselves, as PEM or DER.

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use uuid::Uuid;

use trust_ledger_registry::certificate::pem;
use trust_ledger_registry::{Record, Registry};

use crate::failure::{Exit, Failure, Result};
use crate::filter::FilterArguments;
use crate::output::file::Replacement;
use crate::output::{Output, json, number::counted};
use crate::pages::Pages;

/// Write certificates as PEM, or one as DER
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  trust-ledger export www.example.com --status valid     PEM on standard output
  trust-ledger export --category ca --output roots.pem   a bundle of all CAs
  trust-ledger export 'Example CA' --category ca --der --output ca.der")]
pub(crate) struct Arguments {
    #[command(flatten)]
    filter: FilterArguments,

    /// Exactly this certificate; may be repeated
    #[arg(long, value_name = "ID", conflicts_with = "pattern")]
    id: Vec<Uuid>,

    /// Write DER; exactly one certificate must match
    #[arg(long, conflicts_with = "json")]
    der: bool,

    /// Write to this file, which is replaced only when all is written
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Serialize)]
struct Exported {
    id: Uuid,
    fingerprint_sha256: String,
    pem: String,
}

pub(crate) async fn run(registry: &Registry, output: &Output, arguments: &Arguments) -> Result<Exit> {
    match &arguments.output {
        None => {
            if arguments.der && io::stdout().is_terminal() {
                return Err(Failure::usage("DER is no text for a terminal: name a file with --output, or redirect"));
            }
            let mut out = output.stdout();
            write_all(registry, output, arguments, &mut out).await?;
            out.flush()?;
        }
        Some(path) => {
            let mut file = Replacement::of(path)?;
            let count = write_all(registry, output, arguments, &mut file).await?;
            file.finish()?;
            output.note(&format!("{} written to {}", counted(count, "certificate"), path.display()));
        }
    }
    Ok(Exit::Done)
}

async fn write_all(registry: &Registry, output: &Output, arguments: &Arguments, out: &mut impl Write) -> Result<u64> {
    let mut array = if output.is_json() { Some(json::Array::begin(out)?) } else { None };
    let mut count = 0;
    // Written when it is known to be the only one.
    let mut single = Vec::new();
    let filter = arguments.filter.resolve(registry).await?;
    let mut pages = Pages::new(registry, &filter, None, None);
    let mut named = (!arguments.id.is_empty()).then(|| arguments.id.iter());
    loop {
        let records = match &mut named {
            None => pages.next().await?,
            Some(ids) => match ids.next() {
                None => None,
                Some(id) => {
                    let record = registry.get(*id).await?;
                    Some(vec![record.ok_or_else(|| Failure::not_found(format!("no certificate {id} in the ledger")))?])
                }
            },
        };
        let Some(records) = records else { break };
        for Record { id, fingerprint_sha256, .. } in records {
            // Deleted since the page was read.
            let Some(der) = registry.der(id).await? else { continue };
            count += 1;
            match &mut array {
                Some(array) => array.element(out, &Exported { id, fingerprint_sha256, pem: pem(&der) })?,
                None if arguments.der && count > 1 => {
                    return Err(Failure::usage(
                        "more than one certificate matches, and DER holds one; name it with --id",
                    ));
                }
                None if arguments.der => single = der,
                None => out.write_all(pem(&der).as_bytes())?,
            }
        }
    }
    out.write_all(&single)?;
    if let Some(array) = array {
        array.end(out)?;
    } else if count == 0 {
        return Err(Failure::not_found("no certificate matches"));
    }
    Ok(count)
}
