//! `db`: the ledger as a database: backup, copies, keys, schema.

mod copy;
mod rekey;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::Serialize;
use trust_ledger_registry::MIGRATIONS;

use crate::cli::Global;
use crate::failure::{Exit, Result};
use crate::ledger;
use crate::output::Output;
use crate::output::escape::for_terminal;
use crate::output::progress::Progress;
use crate::settings::{Key, Settings};

/// Back up, move, rekey or encrypt the ledger, bring its schema up to date
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  trust-ledger db backup /mnt/ledger.db    a copy, while others read and write
  trust-ledger db copy --to postgres://ledger@db.example.com/ledger
  trust-ledger db rekey                    a new random key in the key file
  trust-ledger --db a.db --no-key db encrypt --new-key-file ledger.key
  trust-ledger db migrate                  after an upgrade")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Copy the ledger, as it is at one moment, into a new file with the same key
    #[command(after_help = "Examples:
  trust-ledger db backup /mnt/ledger-$(date +%F).db
  trust-ledger --db /mnt/ledger-2026-11-21.db list     look into a backup

The copy is read back and checked. The key is not in it: keep a copy with
`trust-ledger key export`.")]
    Backup {
        /// The file; it must not exist
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    Copy(Box<copy::Arguments>),
    Rekey(rekey::RekeyArguments),
    Encrypt(rekey::EncryptArguments),
    /// Bring the ledger's schema to the version of this program
    #[command(after_help = "Examples:
  trust-ledger db migrate

Every command does that when it opens the ledger; this one does nothing else.")]
    Migrate,
}

#[derive(Serialize)]
struct Backup {
    file: String,
    bytes: u64,
    encrypted: bool,
}

#[derive(Serialize)]
struct Migrated {
    schema_version: u32,
}

pub(crate) async fn run(global: &Global, output: &Output, arguments: &Arguments) -> Result<Exit> {
    let settings = || Settings::read(global);
    match &arguments.action {
        Action::Backup { file } => backup(&settings()?, output, file).await,
        Action::Copy(arguments) => copy::run(global, output, arguments).await,
        Action::Rekey(arguments) => rekey::rekey(&settings()?, output, arguments).await,
        Action::Encrypt(arguments) => rekey::encrypt(&settings()?, global, output, arguments).await,
        Action::Migrate => migrate(&settings()?, output).await,
    }
}

async fn backup(settings: &Settings, output: &Output, file: &Path) -> Result<Exit> {
    let database = ledger::open_existing(settings).await?;
    database.backup(file, shown_by(output.progress_of_pages("backup"))).await?;
    let encrypted = database.is_encrypted();
    database.close().await?;
    let bytes = std::fs::metadata(file)?.len();
    let shown = file.display().to_string();
    if output.is_json() {
        output.object(&Backup { file: shown, bytes, encrypted })?;
    } else {
        let megabytes = bytes as f64 / 1e6;
        output
            .text(&format!("the ledger is in {} ({megabytes:.1} MB), read back and sound\n", for_terminal(&shown)))?;
    }
    if !matches!(settings.key, Key::None) {
        output.note("The key is not in the backup. To keep a copy: trust-ledger key export FILE");
    }
    Ok(Exit::Done)
}

async fn migrate(settings: &Settings, output: &Output) -> Result<Exit> {
    // Opening it has brought it up to date.
    ledger::open_existing(settings).await?.close().await?;
    let schema_version = MIGRATIONS.version();
    if output.is_json() {
        output.object(&Migrated { schema_version })?;
    } else {
        output.text(&format!("the schema is at version {schema_version}, up to date\n"))?;
    }
    Ok(Exit::Done)
}

/// Draws how far a copy is.
fn shown_by(progress: Progress) -> impl FnMut(strongroom::Progress) + Send + 'static {
    move |at| progress.set(at.done, at.total)
}
