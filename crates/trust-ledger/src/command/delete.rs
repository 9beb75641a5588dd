//! `delete`: take certificates out of the ledger.

use clap::Args;
use serde::Serialize;
use uuid::Uuid;

use trust_ledger_registry::{DeleteTarget, Error, Record, Registry};

use super::confirm;
use crate::failure::{Exit, Failure, Result};
use crate::output::Output;
use crate::output::escape::for_terminal;
use crate::output::number::counted;
use crate::selection::{self, Names};

/// Delete certificates that have expired
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  trust-ledger delete 0198c2f5-5d0e-7000-8000-0123456789ab
  trust-ledger delete ./wrong.pem --force --yes     although it has not expired

Revocations and the audit trail stay. What is revoked and has not expired cannot be deleted, not even with --force: its \
issuer's CRL still needs it.")]
pub(crate) struct Arguments {
    /// Ids, fingerprints, serials, or files with a certificate
    #[arg(value_name = "CERTIFICATE", required_unless_present = "files")]
    certificates: Vec<String>,

    /// All with the stored files of this UUID
    #[arg(long, value_name = "UUID")]
    files: Option<Uuid>,

    /// Also what has not expired; asks unless --yes
    #[arg(long)]
    force: bool,

    /// Issuer of serials: id, key identifier, or part of the name
    #[arg(long, value_name = "ISSUER")]
    issuer: Option<String>,

    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

#[derive(Serialize)]
struct Outcome {
    deleted: u64,
}

pub(crate) async fn run(registry: &Registry, output: &Output, arguments: &Arguments) -> Result<Exit> {
    // All are found before the first is deleted.
    let mut records: Vec<Record> = Vec::new();
    for certificate in &arguments.certificates {
        let record = selection::one(registry, certificate, arguments.issuer.as_deref(), Names::Refused).await?;
        if records.iter().all(|known| known.id != record.id) {
            records.push(record);
        }
    }
    if arguments.force {
        let what = match &records[..] {
            [record] => for_terminal(&record.display_name()).into_owned(),
            _ => counted(records.len() as u64, "certificate"),
        };
        confirm(&format!("Delete {what} for good?"), arguments.yes)?;
    }
    let targets = records.iter().map(|record| DeleteTarget::Id(record.id));
    let mut deleted = 0;
    for target in targets.chain(arguments.files.map(DeleteTarget::Files)) {
        deleted += registry.delete(target, arguments.force).await.map_err(|error| explain(error, deleted))?;
    }
    if deleted == 0 {
        return Err(Failure::not_found("no such certificate in the ledger"));
    }
    if output.is_json() {
        output.object(&Outcome { deleted })?;
    } else {
        output.text(&format!("{} deleted\n", counted(deleted, "certificate")))?;
    }
    Ok(Exit::Done)
}

fn explain(error: Error, deleted: u64) -> Failure {
    let before = match deleted {
        0 => String::new(),
        deleted => format!(" ({} deleted before)", counted(deleted, "certificate")),
    };
    match &error {
        Error::NotExpired { .. } => Failure::failed(format!("{error}; say --force if it is meant{before}")),
        _ if deleted > 0 => {
            Failure::failed(format!("{} deleted, then", counted(deleted, "certificate"))).caused_by(error)
        }
        _ => error.into(),
    }
}
