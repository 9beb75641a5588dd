//! What becomes of secrets: their memory is zeroed, and nothing shows them.
//!
//! A program that starts itself anew with a secret in its environment, and lets that process go through every source and
//! failure, print every `Debug`, log everything, and panic. What it says is then searched for the secret.

#[cfg(feature = "aws")]
mod aws;
mod memory;
mod server;
mod silence;
mod sops;

use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::OnceLock;

use strongroom::KeySource;
use tempfile::TempDir;

/// The secret, made at run time from its parts, so that no block of memory holds it that is not under test.
const HALVES: [&[u8]; 2] = [b"kanarie-5e1f", b"-9c07-gelbes-Vogelhaus"];

/// Holds the secret in the environment of the process that is watched.
const VARIABLE: &str = "STRONGROOM_SECRETS_TEST";

/// Hold it there too, as an identity towards AWS.
const AWS_VARIABLES: [&str; 2] = ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];

fn main() -> ExitCode {
    if std::env::var_os(VARIABLE).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(memory::is_zeroed());
        runtime.block_on(silence::is_kept());
        return ExitCode::SUCCESS;
    }
    let myself = std::env::current_exe().expect("a program has a path");
    let value = String::from_utf8(secret()).expect("it is text");
    let mut command = Command::new(myself);
    command
        .env(VARIABLE, &value)
        .envs(AWS_VARIABLES.map(|name| (name, &value)))
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE");
    command.env(sops::VARIABLE, sops::identity()).env("RUST_BACKTRACE", "1");
    let said = command.output().expect("it starts");
    let text = format!("{}\n{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    if !said.status.success() {
        eprintln!("{text}\nthe watched process failed: {}", said.status);
        return ExitCode::FAILURE;
    }
    if let Some(line) = silence::first_line_that_shows_a_secret(&text) {
        eprintln!("a secret is shown: {line}");
        return ExitCode::FAILURE;
    }
    // The driver logs by another crate: what it says must be among what is searched.
    assert!(!test_servers::needs::postgres() || text.contains("tokio_postgres::"), "the driver's log is missing");
    // What could not be tried here.
    text.lines().filter(|line| line.starts_with("skipped: ")).for_each(|line| println!("{line}"));
    let lines = text.lines().count();
    println!("memory that held a secret is zeroed, and none of {lines} lines shows it: ok");
    ExitCode::SUCCESS
}

fn secret() -> Vec<u8> {
    let mut secret = Vec::with_capacity(HALVES.iter().map(|half| half.len()).sum());
    HALVES.iter().for_each(|half| secret.extend_from_slice(half));
    secret
}

/// The secret, compared without a copy that would have to be freed.
fn secret_in_place() -> &'static [u8] {
    static PLACE: OnceLock<Vec<u8>> = OnceLock::new();
    PLACE.get_or_init(secret)
}

/// Each kind of source with the secret; those of SOPS have [`sops::VALUE`].
fn sources() -> Vec<(&'static str, KeySource)> {
    let folder = FOLDER.get_or_init(|| tempfile::tempdir().unwrap());
    let file = folder.path().join("key");
    if !file.exists() {
        write_private(&file, secret_in_place());
    }
    let mut sources = vec![
        ("literal", KeySource::literal(secret())),
        ("environment", KeySource::env(VARIABLE)),
        ("file", KeySource::file(&file)),
        ("command", KeySource::command(format!("cat {}", file.display()))),
    ];
    sources.extend(sops::sources());
    sources
}

static FOLDER: OnceLock<TempDir> = OnceLock::new();

fn write_private(path: &Path, content: &[u8]) {
    std::fs::write(path, content).unwrap();
    #[cfg(unix)]
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}
