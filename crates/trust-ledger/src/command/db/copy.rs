//! `db copy`: the ledger moves to another file or server.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use trust_ledger_registry::{Copied, CopyPhase, Registry};

use crate::cli::Global;
use crate::failure::{Exit, Failure, Result};
use crate::ledger::{self, Create};
use crate::output::Output;
use crate::output::escape::for_terminal;
use crate::output::number::{counted, grouped};
use crate::output::table::{Cell, Column, Table, Tone};
use crate::settings::Settings;

/// How long source and target are read in one snapshot: as long as strongroom allows.
const LONGEST: Duration = Duration::from_secs(3600);

/// Digits of a hash that are shown to people.
const SHOWN_DIGITS: usize = 16;

/// Copy the ledger into another file or server, and prove that they are equal
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  trust-ledger db copy --to postgres://ledger@db.example.com/ledger
  trust-ledger db copy --from postgres://ledger@db/ledger --to /srv/ledger.db
  trust-ledger db copy --to /mnt/ledger.db --to-key-file /mnt/ledger.key

The target is made when it is not there, as `init` does; else it must be empty, or
what an earlier copy left: cut short at any moment, the same command goes on.
--key-… and --credentials are the source's. Without --to-key-… and
--to-credentials, the target's are what `trust-ledger --db TO` would take.
Stop those who write to the ledger before the last run: what they add meanwhile is
not copied, which is said with exit code 4; running it again adds that.")]
pub(crate) struct Arguments {
    /// The ledger to copy; by default the one of the settings
    #[arg(long, value_name = "PATH|URL")]
    from: Option<OsString>,

    /// The ledger to copy into
    #[arg(long, value_name = "PATH|URL")]
    to: OsString,

    /// Environment variable with the target's key
    #[arg(long, value_name = "NAME", group = "to_key")]
    to_key_env: Option<OsString>,

    /// File with the target's key; a random one is put there when there is no such file
    #[arg(long, value_name = "FILE", group = "to_key")]
    to_key_file: Option<OsString>,

    /// SOPS file that holds the target's key, under this name or db_key
    #[arg(long, value_name = "FILE[#NAME]", group = "to_key")]
    to_key_sops: Option<OsString>,

    /// Command that prints the target's key
    #[arg(long, value_name = "CMD", group = "to_key")]
    to_key_command: Option<OsString>,

    /// AWS secret that is the target's key, or holds it in this field
    #[arg(long, value_name = "ID[#FIELD]", group = "to_key")]
    to_key_aws_secret: Option<OsString>,

    /// The target is a plain SQLite file, not encrypted
    #[arg(long, group = "to_key")]
    to_no_key: bool,

    /// How to log in to the target's server: rds-iam, dsql, aws-secret:ID or env:NAME
    #[arg(long, value_name = "SOURCE")]
    to_credentials: Option<OsString>,
}

#[derive(Serialize)]
struct Outcome<'a> {
    from: String,
    to: String,
    #[serde(flatten)]
    copied: &'a Copied,
}

pub(crate) async fn run(global: &Global, output: &Output, arguments: &Arguments) -> Result<Exit> {
    if arguments.from.is_some() && global.db.is_some() {
        return Err(Failure::usage("--db and --from both name the ledger to copy; say one of them"));
    }
    let from = settings(&Global { db: arguments.from.clone().or(global.db.clone()), ..global.clone() })?;
    let to = settings(&arguments.target(global))?;
    if from.config.to_string() == to.config.to_string() {
        return Err(Failure::usage(format!("{} cannot be copied into itself; name another --to", from.config)));
    }
    let source = Registry::open(ledger::open_existing(&from).await?);
    if arguments.to_key_file.is_some() {
        ledger::make_missing_key(&to)?;
    }
    let (database, _) = ledger::open_database(&to, output, Create::Any).await?;
    let target = Registry::open(database);

    let copied = {
        let progress = output.progress_of_rows();
        source
            .copy_to(&target, &mut |at| {
                progress.say(match at.phase {
                    CopyPhase::Comparing => "comparing",
                    CopyPhase::Copying => "copying  ",
                    CopyPhase::Proving => "proving  ",
                });
                progress.set(at.rows, at.total);
            })
            .await
    };
    for registry in [source, target] {
        if let Err(error) = registry.database().close().await {
            tracing::warn!(%error, "a ledger could not be closed in time; what was copied is safe");
        }
    }
    tell(output, &Outcome { from: from.config.to_string(), to: to.config.to_string(), copied: &copied? })
}

fn settings(global: &Global) -> Result<Settings> {
    let settings = Settings::read(global)?;
    Ok(Settings { config: settings.config.session_max_age(LONGEST), ..settings })
}

impl Arguments {
    /// The global options of a command on the target.
    fn target(&self, global: &Global) -> Global {
        Global {
            db: Some(self.to.clone()),
            key_env: self.to_key_env.clone(),
            key_file: self.to_key_file.clone(),
            key_sops: self.to_key_sops.clone(),
            key_command: self.to_key_command.clone(),
            key_aws_secret: self.to_key_aws_secret.clone(),
            no_key: self.to_no_key,
            credentials: self.to_credentials.clone(),
            ..global.clone()
        }
    }
}

fn tell(output: &Output, outcome: &Outcome<'_>) -> Result<Exit> {
    let copied = outcome.copied;
    if output.is_json() {
        output.object(outcome)?;
    } else {
        let mut table = Table::new([
            Column::new("TABLE"),
            Column::new("ROWS").right(),
            Column::new("IN TARGET").right(),
            Column::new("SHA-256"),
            Column::new("EQUAL"),
        ]);
        for one in &copied.tables {
            let (word, tone) = if one.equal { ("yes", Tone::Good) } else { ("no", Tone::Bad) };
            table.row([
                Cell::from(one.table),
                Cell::from(grouped(one.source_rows)),
                Cell::from(grouped(one.target_rows)),
                Cell::from(&one.source_sha256[..SHOWN_DIGITS]),
                Cell::toned(word, tone),
            ]);
        }
        let (from, to) = (for_terminal(&outcome.from), for_terminal(&outcome.to));
        let did = match (copied.equal, copied.rows_copied) {
            (false, _) => format!("{to} is NOT equal to {from}: do not use it"),
            (true, 0) => format!("{to} is equal to {from}, and was before: nothing was copied"),
            (true, rows) => format!("{to} is equal to {from}: {} copied", counted(rows, "row")),
        };
        output.text(&format!("{}{did}\n", table.render(None, output.is_coloured())))?;
    }
    if copied.source_changed {
        output.note("The source has changed since the copy began. Run this again when nobody writes to it any more.");
    }
    Ok(if copied.equal && !copied.source_changed { Exit::Done } else { Exit::Problems })
}
