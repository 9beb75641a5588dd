//! `trust-ledger`: the register of every certificate an organisation issues or trusts, on the command line.
//!
//! The way through the program: [`cli`] reads the arguments, [`settings`] adds environment and settings file,
//! [`ledger`] opens or creates the ledger, the modules of [`command`] do the work with the registry, [`output`] writes
//! what they found, and [`failure`] turns the end into an exit code.

mod actor;
mod cli;
mod command;
mod failure;
mod filter;
mod ledger;
mod memory;
mod output;
mod pages;
mod selection;
mod settings;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::cli::{Cli, Command};
use crate::failure::Exit;
use crate::output::say;

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => run(cli),
        Err(error) => cli::refuse(&error),
    }
    .into()
}

fn run(cli: Cli) -> Exit {
    log_to_stderr(&cli);
    if std::env::var_os("TRUST_LEDGER_CORE_DUMPS").is_none_or(|value| value != "1")
        && let Err(error) = strongroom::forbid_core_dumps()
    {
        tracing::debug!(%error, "core dumps could not be switched off");
    }
    command::run(cli).unwrap_or_else(|failure| {
        if failure.is_closed_pipe() {
            // Whoever reads has seen enough.
            return Exit::Done;
        }
        say(&format!("trust-ledger: {failure}"));
        failure.exit()
    })
}

/// Warnings, and more with `-v`, on standard error; of the service, what it does. `RUST_LOG` says it in detail. What no terminal
/// shows is for programs: the service then logs JSON.
fn log_to_stderr(cli: &Cli) {
    let is_service = matches!(cli.command, Command::Serve(_));
    let level = match (cli.global.quiet, cli.global.verbose + u8::from(is_service)) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "info",
        (false, _) => "debug",
    };
    // `check` answers with these steps; it need not log them.
    let steps = if matches!(cli.command, Command::Check(_)) { ",strongroom::check=off" } else { "" };
    let usual = || EnvFilter::new(format!("{level}{steps}"));
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| usual());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if is_service && !std::io::stderr().is_terminal() {
        log.json().flatten_event(true).with_span_list(false).init();
    } else {
        log.with_ansi(false).compact().init();
    }
}
