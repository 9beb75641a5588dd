//! `key`: the ledger's key.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;
use strongroom::KeySource;

use crate::cli::Global;
use crate::failure::{Exit, Failure, Result};
use crate::ledger;
use crate::output::Output;
use crate::output::escape::for_terminal;
use crate::settings::Settings;

/// Copy the ledger's key
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  trust-ledger key export /media/usb/ledger.key    a copy, readable by you alone

Keep the copy apart from the ledger: each is worthless without the other.")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Write the key to a new file, readable by you alone
    Export {
        /// The file; it must not exist
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

#[derive(Serialize)]
struct Outcome {
    key_file: String,
}

pub(crate) async fn run(global: &Global, output: &Output, arguments: &Arguments) -> Result<Exit> {
    let Action::Export { file } = &arguments.action;
    let settings = Settings::read(global)?;
    if file == Path::new("-") {
        return Err(Failure::usage("a key is written to a file only, never to a terminal or a pipe"));
    }
    if fs::symlink_metadata(file).is_ok() {
        return Err(exists(file));
    }
    let Some(source) = settings.key.source() else { return Err(Failure::usage("this ledger has no key")) };
    // Asked once: what is tried is what is written.
    let key = source.secret().await?;
    // A copy of a key that does not fit would be found out too late.
    let config = settings.config.clone().key(KeySource::literal(key.expose()));
    ledger::connect(&Settings { config, ..settings }, false).await?.close().await?;
    if !ledger::write_key(file, key.expose())? {
        return Err(exists(file));
    }
    let shown = file.display().to_string();
    if output.is_json() {
        output.object(&Outcome { key_file: shown })?;
    } else {
        output.text(&format!(
            "the key is in {}, readable by you alone; keep it apart from the ledger\n",
            for_terminal(&shown)
        ))?;
    }
    Ok(Exit::Done)
}

fn exists(file: &Path) -> Failure {
    Failure::usage(format!("{} exists; a key never replaces a file", file.display()))
}
