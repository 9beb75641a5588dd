//! `cargo xtask test`: installs what the tests need, then runs them all.
//!
//! Terms: a *judge* is a program or data set, not ours, that a test holds our results against: `openssl`, Python's
//! `sqlcipher3`, NIST's PKITS. Judges are found by the tests through the environment:
//!
//! | variable | is |
//! |---|---|
//! | `TRUST_LEDGER_PKITS` | PKITS' folder, with `certs/*.crt` and `crls/*.crl` |
//! | `TRUST_LEDGER_PYTHON` | a Python interpreter that can import `sqlcipher3`, `boto3`, `freezegun`, `moto` and `schemathesis` |
//! | `TRUST_LEDGER_REQUIRE_JUDGES` | `1`: they are there, so a test that misses one fails and must not skip |
//!
//! A test whose judge is missing prints `skipped: needs …` and returns, so that a bare `cargo test` works everywhere;
//! with `TRUST_LEDGER_REQUIRE_JUDGES=1` or `CI=true` it panics instead, so that nothing is skipped unnoticed.

mod debian;
mod failures;
mod judges;

use std::io::{self, IsTerminal};
use std::process::{Command, Stdio};

use crate::soak::{Engine, Soak};
use crate::steps;

/// strongroom's soak when everything is tested, short, on each engine.
const SOAKS: [Soak; 2] = [
    Soak::Strongroom { engine: Engine::File, seconds: 20, seed: None },
    Soak::Strongroom { engine: Engine::Postgres, seconds: 20, seed: None },
];

/// The service's load then, which is among the tests: seconds, and certificates. It is not built anew with --release, since
/// nothing goes by its speed.
const LOAD: [(&str, &str); 2] = [("TRUST_LEDGER_LOAD_SECONDS", "8"), ("TRUST_LEDGER_LOAD_ROWS", "5000")];

pub(crate) const HELP: &str = "\
Install what the tests need, then run all tests of the workspace

Usage: cargo xtask test [arguments of cargo test]

Runs `cargo test --workspace --all-features --no-fail-fast`: unit, integration and documentation tests; strongroom's examples are
run too, benchmarks are not. What follows `test` is passed on:

  cargo xtask test                          everything, the service under load, and 20 s of `cargo xtask soak` on each engine
  cargo xtask test -p strongroom            one crate
  cargo xtask test serial                   the tests with `serial` in their name
  cargo xtask test -- --nocapture           with what the tests print

Before that it makes sure of, and installs when missing:

  - Debian packages, with apt-get, when it runs as root or sudo asks for no password. Otherwise it names the
    command to type and ends.
  - packages from PyPI, pinned in crates/xtask/judges.txt, into target/judges: about 90 MB to fetch, once.

The tests get TRUST_LEDGER_PKITS, TRUST_LEDGER_PYTHON and TRUST_LEDGER_REQUIRE_JUDGES=1 (a missing judge is then
a failure and not a skipped test); see CONTRIBUTING.md.
";

pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    debian::install_missing()?;
    let judges = judges::install_missing()?;

    let mut cargo = cargo_test(arguments);
    cargo
        .env("TRUST_LEDGER_PKITS", &judges.pkits)
        .env("TRUST_LEDGER_PYTHON", &judges.python)
        .env("TRUST_LEDGER_REQUIRE_JUDGES", "1");
    if arguments.is_empty() {
        cargo.envs(LOAD);
    }
    // Cargo's own output is the account of what fails, so it is shown as it comes.
    steps::announce("tests", &steps::shown(&cargo).replacen(&*cargo.get_program().to_string_lossy(), "cargo", 1));
    steps::step("tests", || {
        let status = run_tests(&mut cargo).map_err(|error| format!("cargo could not be run: {error}"))?;
        if status.success() {
            Ok(((), "all passed".to_owned()))
        } else {
            Err(format!("the tests failed ({status}): the last lines above name them"))
        }
    })?;
    // Whoever asks for one crate or one test wants to wait for that only.
    if !arguments.is_empty() {
        return Ok(());
    }
    let mut cargo = steps::cargo();
    without_features(&mut cargo);
    steps::step("tests without features", || match cargo.status() {
        Ok(status) if status.success() => Ok(((), "all passed".to_owned())),
        Ok(status) => Err(format!("they failed ({status}): cargo's last lines above name them")),
        Err(error) => Err(format!("cargo could not be started: {error}")),
    })?;
    SOAKS.iter().try_for_each(Soak::run)
}

/// Runs the tests. On a terminal their output is the tests' own, with its colours, and can be scrolled; elsewhere, what
/// failed stands at its end once more.
fn run_tests(cargo: &mut Command) -> io::Result<std::process::ExitStatus> {
    if io::stdout().is_terminal() {
        return cargo.status();
    }
    let mut running = cargo.stdout(Stdio::piped()).spawn()?;
    let output = running.stdout.take().expect("it is piped");
    let failed = failures::pass_on(output, &mut io::stdout().lock())?;
    let status = running.wait()?;
    for account in failed {
        println!("\nfailed:\n{account}");
    }
    Ok(status)
}

/// `cargo test` for all crates, or for those that `arguments` choose.
fn cargo_test(arguments: &[String]) -> Command {
    let mut cargo = steps::cargo();
    cargo.arg("test");
    // Without a choice of targets cargo tests libraries, binaries, integration tests and documentation and builds
    // the examples. Not `--all-targets`: that leaves the documentation out and runs the benchmarks.
    if !chooses_packages(arguments) {
        cargo.arg("--workspace");
    }
    if !chooses_features(arguments) {
        cargo.arg("--all-features");
    }
    cargo.arg("--no-fail-fast").args(arguments);
    cargo
}

/// What a build without features says that is asked for one.
fn without_features(cargo: &mut Command) {
    cargo.args(["test", "-p", "strongroom", "-p", "trust-ledger", "--bins", "--test", "it", "without_the_feature"]);
}

/// Whether cargo's own arguments say which features.
fn chooses_features(arguments: &[String]) -> bool {
    let mut own = arguments.iter().take_while(|argument| *argument != "--");
    own.any(|argument| {
        argument.starts_with("-F")
            || ["--features", "--all-features", "--no-default-features"].iter().any(|name| argument.starts_with(name))
    })
}

/// Whether cargo's own arguments, those before `--`, say which packages.
fn chooses_packages(arguments: &[String]) -> bool {
    let mut own = arguments.iter().take_while(|argument| *argument != "--");
    own.any(|argument| {
        // `-p NAME` and `-pNAME`; no other short option of cargo begins like this.
        argument.starts_with("-p") || argument.starts_with("--package") || argument == "--workspace"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What cargo is asked for, word by word.
    fn asked(arguments: &[&str]) -> Vec<String> {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        cargo_test(&arguments).get_args().map(|word| word.to_string_lossy().into_owned()).collect()
    }

    /// Without a package in the arguments the whole workspace is tested, whatever else they say.
    #[test]
    fn all_crates_are_tested_unless_one_is_named() {
        assert_eq!(asked(&[]), ["test", "--workspace", "--all-features", "--no-fail-fast"]);
        assert_eq!(asked(&["serial"]), ["test", "--workspace", "--all-features", "--no-fail-fast", "serial"]);
        assert_eq!(asked(&["-p", "strongroom"]), ["test", "--all-features", "--no-fail-fast", "-p", "strongroom"]);
        assert_eq!(asked(&["-pstrongroom"]), ["test", "--all-features", "--no-fail-fast", "-pstrongroom"]);
        assert_eq!(asked(&["--features", "aws"]), ["test", "--workspace", "--no-fail-fast", "--features", "aws"]);
        assert_eq!(asked(&["--package=xtask"]), ["test", "--all-features", "--no-fail-fast", "--package=xtask"]);
    }

    /// What stands after `--` belongs to the test programs, even when it looks like cargo's.
    #[test]
    fn arguments_of_the_test_programs_choose_no_crate() {
        assert_eq!(asked(&["--", "-p"]), ["test", "--workspace", "--all-features", "--no-fail-fast", "--", "-p"]);
    }
}
