//! `cargo xtask soak`: strongroom, or the service over HTTP, under load and misbehaviour, and the proof that nothing went astray.

use std::process::Command;

use crate::steps;

pub(crate) const HELP: &str = "\
Work at random for a while, then prove that nothing went astray

Usage: cargo xtask soak [--postgres] [--seconds N] [--seed N]
       cargo xtask soak --http [--postgres] [--seconds N] [--rows N]

  --postgres    on a PostgreSQL primary with a synchronous standby, which are cut off, restarted and failed over meanwhile
  --seconds N   how long to work; 60 when left out. What is proven afterwards takes a few seconds more.
  --seed N      repeats the choices of an earlier run (not their interleaving); its first line names the seed

Builds crates/strongroom/tests/soak with --release and runs it: statements, batches, sessions, streams, pinned
connections, rekeying, further handles and processes, of which many are cancelled in the middle. At the end no
acknowledged write may be missing or doubled, the integrity checks must be clean, all connections home, and no
thread, descriptor or file left over. It ends with a table of what was done.

  --http           the service instead: crates/trust-ledger/tests/load, with --release
  --rows N         certificates in the ledger before; 100000 when left out
  --postgres       on a PostgreSQL server of its own (Debian's package postgresql) instead of an encrypted file

Starts `trust-ledger serve` on loopback, fills it, measures it and prints what is aimed at beside: start, memory, single
requests, streams, lists, 10,000 silent clients. Then clients of every kind, some of whom hang up or are slow, work for
--seconds; at the end every answered registration must be there once and as it was last answered.
";

/// What is worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    File,
    Postgres,
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Soak {
    /// strongroom's.
    Strongroom { engine: Engine, seconds: u64, seed: Option<u64> },
    /// The service's.
    Http { engine: Engine, seconds: u64, rows: u64 },
}

pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    Soak::parse(arguments)?.run()
}

impl Soak {
    fn parse(arguments: &[String]) -> Result<Soak, String> {
        let (mut engine, mut seconds, mut seed, mut http, mut rows) = (Engine::File, 60, None, false, None);
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--http" => http = true,
                "--postgres" => engine = Engine::Postgres,
                word => {
                    let (name, value) = match word.split_once('=') {
                        Some((name, value)) => (name, Some(value)),
                        None => (word, words.next().map(String::as_str)),
                    };
                    let number =
                        value.and_then(|value| value.parse().ok()).ok_or_else(|| format!("{name} needs a number"));
                    match name {
                        "--seconds" => seconds = number?,
                        "--seed" => seed = Some(number?),
                        "--rows" => rows = Some(number?),
                        _ => return Err(format!("soak does not know `{name}`; see `cargo xtask soak --help`")),
                    }
                }
            }
        }
        match (http, seed, rows) {
            (true, None, rows) => Ok(Soak::Http { engine, seconds, rows: rows.unwrap_or(100_000) }),
            (true, ..) => Err("--seed is not for --http".to_owned()),
            (false, seed, None) => Ok(Soak::Strongroom { engine, seconds, seed }),
            (false, ..) => Err("--rows is for --http".to_owned()),
        }
    }

    /// Builds it, and runs it.
    pub(crate) fn run(&self) -> Result<(), String> {
        let mut cargo = self.command();
        steps::announce("soak", &steps::shown(&cargo).replacen(&*cargo.get_program().to_string_lossy(), "cargo", 1));
        steps::step("soak", || {
            let status = cargo.status().map_err(|error| format!("cargo could not be started: {error}"))?;
            if status.success() {
                Ok(((), "nothing went astray".to_owned()))
            } else {
                Err(format!("the soak failed ({status}): what it found is named above"))
            }
        })
    }

    fn command(&self) -> Command {
        let mut cargo = steps::cargo();
        cargo.args(["test", "--release", "--package"]);
        match self {
            Soak::Strongroom { engine, seconds, seed } => {
                cargo.args(["strongroom", "--test", "soak"]);
                cargo.env("STRONGROOM_SOAK_SECONDS", seconds.to_string());
                match engine {
                    // Asked for by name, it fails where there is no PostgreSQL.
                    Engine::Postgres => {
                        cargo.env("STRONGROOM_SOAK_ENGINE", "postgres").env("TRUST_LEDGER_REQUIRE_JUDGES", "1")
                    }
                    Engine::File => cargo.env_remove("STRONGROOM_SOAK_ENGINE"),
                };
                match seed {
                    Some(seed) => cargo.env("STRONGROOM_SOAK_SEED", seed.to_string()),
                    None => cargo.env_remove("STRONGROOM_SOAK_SEED"),
                };
            }
            Soak::Http { engine, seconds, rows } => {
                cargo.args(["trust-ledger", "--test", "load"]);
                cargo.env("TRUST_LEDGER_LOAD_SECONDS", seconds.to_string());
                cargo.env("TRUST_LEDGER_LOAD_ROWS", rows.to_string());
                cargo.env("TRUST_LEDGER_LOAD_DB", if *engine == Engine::Postgres { "postgres" } else { "file" });
            }
        }
        cargo
    }
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
        assert!(run(&["--rows", "5"]).is_err_and(|error| error.contains("is for --http")));
        assert!(run(&["--http", "--seed", "5"]).is_err_and(|error| error.contains("not for --http")));
    }

    /// Whose soak it is decides what is built.
    #[test]
    fn http_stands_for_the_service_and_postgres_for_the_engine_of_either() {
        let parse = |words: &[&str]| Soak::parse(&words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>());
        let (file, server) = (Engine::File, Engine::Postgres);
        assert_eq!(parse(&["--seconds=5"]), Ok(Soak::Strongroom { engine: file, seconds: 5, seed: None }));
        assert_eq!(parse(&["--postgres"]), Ok(Soak::Strongroom { engine: server, seconds: 60, seed: None }));
        assert_eq!(parse(&["--http"]), Ok(Soak::Http { engine: file, seconds: 60, rows: 100_000 }));
        let asked = parse(&["--rows", "7", "--postgres", "--http"]);
        assert_eq!(asked, Ok(Soak::Http { engine: server, seconds: 60, rows: 7 }));
    }
}
