//! `cargo xtask soak`: strongroom under random work, cancellation and errors, and the proof that nothing went astray.

use std::process::Command;

use crate::steps;

pub(crate) const HELP: &str = "\
Let many tasks work on one encrypted file at random, then prove that nothing went astray

Usage: cargo xtask soak [--postgres] [--seconds N] [--seed N]

  --postgres    on a PostgreSQL primary with a synchronous standby, which are cut off, restarted and failed over meanwhile
  --seconds N   how long to work; 60 when left out. What is proven afterwards takes a few seconds more.
  --seed N      repeats the choices of an earlier run (not their interleaving); its first line names the seed

Builds crates/strongroom/tests/soak with --release and runs it: statements, batches, sessions, streams, pinned
connections, rekeying, further handles and processes, of which many are cancelled in the middle. At the end no
acknowledged write may be missing or doubled, the integrity checks must be clean, all connections home, and no
thread, descriptor or file left over. It ends with a table of what was done.
";

/// What the soak works on.
#[derive(Clone, Copy)]
pub(crate) enum Engine {
    File,
    Postgres,
}

pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let (mut seconds, mut seed, mut engine) = (60, None, Engine::File);
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        if word == "--postgres" {
            engine = Engine::Postgres;
            continue;
        }
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word.as_str(), words.next().map(String::as_str)),
        };
        let number = value.and_then(|value| value.parse().ok()).ok_or_else(|| format!("{name} needs a number"));
        match name {
            "--seconds" => seconds = number?,
            "--seed" => seed = Some(number?),
            _ => return Err(format!("soak does not know `{name}`; see `cargo xtask soak --help`")),
        }
    }
    soak(engine, seconds, seed)
}

/// Builds the soak, and runs it for so long.
pub(crate) fn soak(engine: Engine, seconds: u64, seed: Option<u64>) -> Result<(), String> {
    let mut cargo = command(engine, seconds, seed);
    steps::announce("soak", &steps::shown(&cargo).replacen(&*cargo.get_program().to_string_lossy(), "cargo", 1));
    steps::step("soak", || {
        let status = cargo.status().map_err(|error| format!("cargo could not be started: {error}"))?;
        if status.success() {
            Ok(((), "nothing went astray".to_owned()))
        } else {
            Err(format!("the soak failed ({status}): what it found, and its seed, are named above"))
        }
    })
}

fn command(engine: Engine, seconds: u64, seed: Option<u64>) -> Command {
    let mut cargo = steps::cargo();
    cargo.args(["test", "--release", "--package", "strongroom", "--test", "soak"]);
    cargo.env("STRONGROOM_SOAK_SECONDS", seconds.to_string());
    match engine {
        // Asked for by name, it fails where there is no PostgreSQL.
        Engine::Postgres => cargo.env("STRONGROOM_SOAK_ENGINE", "postgres").env("TRUST_LEDGER_REQUIRE_JUDGES", "1"),
        Engine::File => cargo.env_remove("STRONGROOM_SOAK_ENGINE"),
    };
    match seed {
        Some(seed) => cargo.env("STRONGROOM_SOAK_SEED", seed.to_string()),
        None => cargo.env_remove("STRONGROOM_SOAK_SEED"),
    };
    cargo
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each fault in the arguments is named before anything is built.
    #[test]
    fn arguments_that_are_not_understood_are_refused() {
        let run = |words: &[&str]| run(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
        assert_eq!(run(&["--seconds"]), Err("--seconds needs a number".to_owned()));
        assert_eq!(run(&["--seed=x"]), Err("--seed needs a number".to_owned()));
        assert!(run(&["--minutes", "1"]).is_err_and(|error| error.contains("does not know `--minutes`")));
    }
}
