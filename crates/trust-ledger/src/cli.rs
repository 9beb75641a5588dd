//! The command line: what is the same for all commands, and the list of them.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{ArgAction, Args, Parser, Subcommand};

use crate::command;
use crate::failure::Exit;
use crate::output::say;

/// The register of every certificate an organisation issues or trusts
#[derive(Debug, Parser)]
#[command(
    name = "trust-ledger",
    version,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "Examples:
  trust-ledger import /etc/ssl/certs          record what this machine trusts
  trust-ledger expiring --within 30d          what has to be renewed
  trust-ledger list '*.example.com'           what there is for a domain
  trust-ledger show www.example.com           everything about one certificate
  trust-ledger revoke 0x1a2b --reason key-compromise

The ledger is one encrypted file. The first run creates it, and its key beside your settings.
Environment: TRUST_LEDGER_DB, TRUST_LEDGER_KEY_FILE and so on stand in for the options of these names; \
TRUST_LEDGER_CORE_DUMPS=1 lets a crash write the memory, keys included, to a file.
Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 done but found problems."
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command, before or after its name.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The ledger: a file, or a URL (sqlite:FILE, postgres://…)
    #[arg(long, global = true, value_name = "PATH|URL")]
    pub(crate) db: Option<OsString>,

    /// Environment variable that holds the ledger's key
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) key_env: Option<OsString>,

    /// File that holds the ledger's key, readable by you alone
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) key_file: Option<OsString>,

    /// SOPS file that holds the key, under this name or db_key
    #[arg(long, global = true, value_name = "FILE[#NAME]")]
    pub(crate) key_sops: Option<OsString>,

    /// Command that prints the key, such as 'pass show ledger'
    #[arg(long, global = true, value_name = "CMD")]
    pub(crate) key_command: Option<OsString>,

    /// AWS secret that is the key, or holds it in this field
    #[arg(long, global = true, value_name = "ID[#FIELD]")]
    pub(crate) key_aws_secret: Option<OsString>,

    /// The ledger is a plain SQLite file, not encrypted
    #[arg(long, global = true, conflicts_with_all = ["key_env", "key_file", "key_sops", "key_command", "key_aws_secret"])]
    pub(crate) no_key: bool,

    /// How to log in to a server: rds-iam, dsql, aws-secret:ID or env:NAME
    #[arg(long, global = true, value_name = "SOURCE")]
    pub(crate) credentials: Option<OsString>,

    /// Settings file instead of settings.toml in the config folder
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) settings: Option<PathBuf>,

    /// Who is named in the audit trail; by default user@host
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) actor: Option<String>,

    /// Write JSON: lists as one array, everything else as one object
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Say more on standard error; twice for even more
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    pub(crate) verbose: u8,

    /// Say nothing on standard error but errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

impl Global {
    /// What an option that chooses the ledger or its key was given, by its name.
    pub(crate) fn value(&self, option: &str) -> Option<OsString> {
        match option {
            "--db" => self.db.clone(),
            "--key-env" => self.key_env.clone(),
            "--key-file" => self.key_file.clone(),
            "--key-sops" => self.key_sops.clone(),
            "--key-command" => self.key_command.clone(),
            "--key-aws-secret" => self.key_aws_secret.clone(),
            "--no-key" => self.no_key.then(OsString::new),
            "--credentials" => self.credentials.clone(),
            _ => None,
        }
    }

    /// The first option that speaks of the key.
    pub(crate) fn key_option(&self) -> Option<&'static str> {
        let options = ["--key-env", "--key-file", "--key-sops", "--key-command", "--key-aws-secret", "--no-key"];
        options.into_iter().find(|option| self.value(option).is_some())
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Init(command::init::Arguments),
    Import(command::import::Arguments),
    List(command::list::Arguments),
    Show(command::show::Arguments),
    Export(command::export::Arguments),
    Annotate(command::annotate::Arguments),
    Expiring(command::expiring::Arguments),
    Revoke(command::revoke::Arguments),
    LiftHold(command::lift_hold::Arguments),
    CrlEntries(command::crl_entries::Arguments),
    Delete(command::delete::Arguments),
    Prune(command::prune::Arguments),
    Stats(command::stats::Arguments),
    Audit(command::audit::Arguments),
    Serve(command::serve::Arguments),
    Token(command::token::Arguments),
    Check(command::check::Arguments),
    Db(command::db::Arguments),
    Key(command::key::Arguments),
    Completions(command::completions::Arguments),
}

/// Shows help, the version, or what is wrong with the arguments.
pub(crate) fn refuse(error: &clap::Error) -> Exit {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A closed pipe is no failure here either.
            let _ = error.print();
            Exit::Done
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            Exit::Usage
        }
        _ => {
            let text = error.render().to_string();
            say(&format!("trust-ledger: {}", text.strip_prefix("error: ").unwrap_or(&text).trim_end()));
            Exit::Usage
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_says_in_one_line_what_it_does_and_gives_an_example() {
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            let about = command.get_about().unwrap_or_else(|| panic!("{name} has no purpose")).to_string();
            assert!(!about.contains('\n') && about.len() <= 80, "{name}: {about}");
            let examples = command.get_after_help().unwrap_or_else(|| panic!("{name} has no example")).to_string();
            assert!(examples.contains("trust-ledger "), "{name}: {examples}");
        }
    }
}
