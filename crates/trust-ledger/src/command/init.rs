//! `init`: a new ledger.

use clap::Args;
use serde::Serialize;
use strongroom::Dialect;

use crate::cli::Global;
use crate::failure::{Exit, Result};
use crate::ledger::{self, Create};
use crate::output::Output;
use crate::output::escape::for_terminal;
use crate::settings::{Key, Settings};

/// Create the ledger, and its key unless one is named
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  trust-ledger init                           ledger and key in your own folders
  trust-ledger --db /srv/ledger.db --key-file /etc/ledger.key init
  trust-ledger --db plain.db --no-key init     not encrypted

A ledger that exists is opened and left as it is; it never gets a new key.")]
pub(crate) struct Arguments {}

#[derive(Serialize)]
struct Outcome {
    created: bool,
    ledger: Option<String>,
    key_file: Option<String>,
    encrypted: bool,
}

pub(crate) async fn run(global: &Global, output: &Output) -> Result<Exit> {
    let settings = Settings::read(global)?;
    let ledger = ledger::open(global, output, Create::Any).await?;
    ledger.registry.database().close().await?;
    let is_kept = settings.path().is_some() || settings.config.dialect() == Dialect::Postgres;
    if output.is_json() {
        let key_file = settings.key.path().map(|path| path.display().to_string());
        output.object(&Outcome {
            created: ledger.is_new,
            ledger: is_kept.then(|| settings.config.to_string()),
            key_file,
            encrypted: !matches!(settings.key, Key::None),
        })?;
    } else if !ledger.is_new {
        let shown = settings.config.to_string();
        output.text(&format!("the ledger {} exists already and is as it was\n", for_terminal(&shown)))?;
    }
    Ok(Exit::Done)
}
