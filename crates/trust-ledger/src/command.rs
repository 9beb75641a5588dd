//! The commands: one module each, with its arguments first.

pub(crate) mod annotate;
pub(crate) mod audit;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod crl_entries;
pub(crate) mod db;
pub(crate) mod delete;
pub(crate) mod expiring;
pub(crate) mod export;
pub(crate) mod import;
pub(crate) mod init;
pub(crate) mod key;
pub(crate) mod lift_hold;
pub(crate) mod list;
pub(crate) mod prune;
pub(crate) mod revoke;
pub(crate) mod serve;
pub(crate) mod show;
pub(crate) mod stats;
pub(crate) mod token;

use std::io::{self, BufRead, IsTerminal, Write};

use tokio::runtime;

use crate::cli::{Cli, Command, Global};
use crate::failure::{Exit, Failure, Result};
use crate::ledger::{self, Create};
use crate::output::Output;

/// Does what the command line asks for.
pub(crate) fn run(cli: Cli) -> Result<Exit> {
    let Cli { global, command } = cli;
    let output = Output::new(&global);
    let runtime = runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::failed("no threads can be started").caused_by(error))?;
    runtime.block_on(async {
        match command {
            Command::Completions(arguments) => completions::run(&output, &arguments),
            Command::Init(_) => init::run(&global, &output).await,
            Command::Check(_) => check::run(&global, &output).await,
            Command::Db(arguments) => db::run(&global, &output, &arguments).await,
            Command::Key(arguments) => key::run(&global, &output, &arguments).await,
            Command::Expiring(arguments) if arguments.is_plugin() => {
                let outcome = with_ledger(&global, &output, Command::Expiring(arguments)).await;
                outcome.or_else(|failure| expiring::plugin_unknown(&output, &failure))
            }
            command => with_ledger(&global, &output, command).await,
        }
    })
}

/// Opens the ledger, does the work, and closes it, so that everything is in the one file.
async fn with_ledger(global: &Global, output: &Output, command: Command) -> Result<Exit> {
    let create = if matches!(command, Command::Import(_)) { Create::Any } else { Create::Unnamed };
    let registry = &ledger::open(global, output, create).await?.registry;
    let outcome = match command {
        Command::Import(arguments) => import::run(registry, output, arguments).await,
        Command::List(arguments) => list::run(registry, output, &arguments).await,
        Command::Show(arguments) => show::run(registry, output, &arguments).await,
        Command::Export(arguments) => export::run(registry, output, &arguments).await,
        Command::Annotate(arguments) => annotate::run(registry, output, &arguments).await,
        Command::Expiring(arguments) => expiring::run(registry, output, &arguments).await,
        Command::Revoke(arguments) => revoke::run(registry, output, &arguments).await,
        Command::LiftHold(arguments) => lift_hold::run(registry, output, &arguments).await,
        Command::CrlEntries(arguments) => crl_entries::run(registry, output, &arguments).await,
        Command::Delete(arguments) => delete::run(registry, output, &arguments).await,
        Command::Prune(arguments) => prune::run(registry, output, &arguments).await,
        Command::Stats(arguments) => stats::run(registry, output, &arguments).await,
        Command::Audit(arguments) => audit::run(registry, output, &arguments).await,
        Command::Token(arguments) => token::run(registry, output, &arguments).await,
        Command::Serve(arguments) => serve::run(registry, arguments).await,
        // `run` has taken these.
        Command::Init(_) | Command::Check(_) | Command::Db(_) | Command::Key(_) | Command::Completions(_) => {
            Ok(Exit::Done)
        }
    };
    if let Err(error) = registry.database().close().await {
        tracing::warn!(%error, "the ledger could not be closed in time; what was answered as done is safe");
    }
    outcome
}

/// Asks on the terminal before something that cannot be taken back. Without a terminal, `--yes` must have been given.
fn confirm(question: &str, yes: bool) -> Result<()> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::usage(format!("{question} Nobody can be asked here: say --yes")));
    }
    let mut stderr = io::stderr();
    write!(stderr, "{question} [y/N] ")?;
    stderr.flush()?;
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.map_err(|error| Failure::failed("no answer can be read").caused_by(error))?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::failed("nothing was done")),
    }
}
