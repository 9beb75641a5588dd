//! `prune`: take out what expired long ago.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use time::OffsetDateTime;

use trust_ledger_registry::{Filter, Registry};

use super::confirm;
use super::list::total;
use crate::failure::{Exit, Result};
use crate::output::Output;
use crate::output::number::counted;
use crate::output::time::{When, date, parse_span};

/// Delete all certificates that expired long ago
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  trust-ledger prune --expired-before 90d           asks first
  trust-ledger prune --expired-before 52w --yes     from cron

Revocations and the audit trail stay.")]
pub(crate) struct Arguments {
    /// What expired longer ago than this is deleted
    #[arg(long, value_name = "DURATION", value_parser = parse_span)]
    expired_before: Duration,

    /// Do not ask
    #[arg(short, long, visible_alias = "force")]
    yes: bool,
}

#[derive(Serialize)]
struct Outcome {
    deleted: u64,
}

pub(crate) async fn run(registry: &Registry, output: &Output, arguments: &Arguments) -> Result<Exit> {
    let until = When::Away(arguments.expired_before).ago(OffsetDateTime::now_utc());
    let count = total(registry, &Filter { expires_until: Some(until), ..Filter::default() }).await?;
    let deleted = if count == 0 {
        0
    } else {
        let question = format!("Delete {} that expired before {}?", counted(count, "certificate"), date(until));
        confirm(&question, arguments.yes)?;
        let _progress = output.progress_of_work("deleting");
        registry.prune(arguments.expired_before).await?.deleted
    };
    if output.is_json() {
        output.object(&Outcome { deleted })?;
    } else {
        output.text(&format!("{} deleted\n", counted(deleted, "certificate")))?;
    }
    Ok(Exit::Done)
}
