//! `completions`: for the shell.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::failure::{Exit, Result};
use crate::output::Output;

/// Write completions for a shell
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  trust-ledger completions bash > ~/.bash_completion.d/trust-ledger
  trust-ledger completions zsh > \"${fpath[1]}/_trust-ledger\"")]
pub(crate) struct Arguments {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(output: &Output, arguments: &Arguments) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "trust-ledger", &mut script);
    output.text(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Done)
}
