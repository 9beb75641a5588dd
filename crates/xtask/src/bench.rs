//! `cargo xtask bench`: strongroom against its peers.
//!
//! Each measurement is a process of its own, so that peers share no allocator, runtime or SQLite. The processes take turns,
//! ours among them, round by round, each round in the opposite order of the one before: a machine whose speed drifts
//! treats all alike. What is compared are medians.
//!
//! What is measured is in [`cases`], how, in `benches/peers`.

mod cases;
mod machine;
mod outcome;
mod program;

use std::collections::HashMap;
use std::path::Path;

use crate::steps;

use self::cases::{CASES, Case, OURS};
use self::outcome::Outcome;
use self::program::Program;

pub(crate) const HELP: &str = "\
Measure strongroom against its peers

Usage: cargo xtask bench [CASE...] [--json] [--quick] [--list]

A CASE is a case's name, or the beginning of several: `checkout` stands for all of the pool, `pg-` for all of PostgreSQL.
Without one all are measured, which takes some ten minutes. Before that the peers are compiled, once, which takes about as
long. PostgreSQL is measured on servers that are started for it; Debian has them in `postgresql`.

  --json    one object per line: case, unit, ours, peer, peer_name, ratio
  --quick   one short round instead of five: whether everything works. Its numbers say nothing
  --list    name the cases, what they measure and what is aimed at, and end

A ratio above 1 means that we are better. Numbers go to standard output, everything else to standard error.

The programs are built in target/peers, where the databases are written, too; how fast that disk is, is printed.
SQLCipher is linked with the system's OpenSSL (`libssl-dev`, `pkg-config`) unless the environment sets OPENSSL_NO_VENDOR:
0 compiles OpenSSL, which takes some minutes more.

docs/benchmarks.md says what is measured and how noise is kept down.
";

/// Rounds, of which the median counts. Odd.
const ROUNDS: usize = 5;
/// How long a program repeats what it measures; it spends a quarter of that before, to warm up.
const TIME_MS: u32 = 600;
const QUICK_TIME_MS: u32 = 50;

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    cases: Vec<&'static Case>,
    json: bool,
    quick: bool,
    list: bool,
}

pub(crate) fn run(arguments: &[String]) -> Result<(), String> {
    let request = Request::parse(arguments)?;
    if request.list {
        request.cases.iter().for_each(|case| println!("{case}"));
        return Ok(());
    }
    let folder = steps::target_folder().join("peers");
    let programs = program::build(&folder, &request.cases)?;
    let folder = folder.join("data");
    std::fs::create_dir_all(&folder).map_err(|error| format!("{} cannot be made: {error}", folder.display()))?;
    machine::announce(&folder)?;
    if request.cases.iter().any(|case| case.needs_files()) {
        steps::step("databases", || {
            programs[OURS].run(OURS, "prepare", &folder, 0)?;
            Ok(((), format!("written to {}", folder.display())))
        })?;
    }
    let servers = if request.cases.iter().any(|case| case.needs_servers()) {
        let started =
            steps::step("servers", || Ok((programs[OURS].start_servers(&folder)?, "PostgreSQL runs".to_owned())));
        Some(started?)
    } else {
        None
    };

    if !request.json {
        println!("{}", Outcome::HEAD);
    }
    let mut missed = Vec::new();
    for workload in workloads(&request.cases) {
        let cases = request.cases.iter().filter(|case| case.workload == workload);
        let cases: Vec<&Case> = cases.copied().collect();
        let numbers = measure(&programs, workload, &cases, &folder, request.quick)?;
        for case in cases {
            for outcome in outcomes(case, &numbers) {
                println!("{}", if request.json { outcome.to_json() } else { outcome.to_string() });
                for line in outcome.missed() {
                    if !missed.contains(&line) {
                        missed.push(line);
                    }
                }
            }
        }
    }
    drop(servers);
    machine::announce(&folder)?;
    for missed in missed {
        steps::announce("missed", &missed);
    }
    // They are some 100 MB, and written anew in seconds.
    std::fs::remove_dir_all(&folder).map_err(|error| format!("{} cannot be removed: {error}", folder.display()))
}

impl Request {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let mut request = Request { cases: Vec::new(), json: false, quick: false, list: false };
        let mut names: Vec<&str> = Vec::new();
        for argument in arguments {
            match argument.as_str() {
                "--json" => request.json = true,
                "--quick" => request.quick = true,
                "--list" => request.list = true,
                option if option.starts_with('-') => return Err(format!("there is no option `{option}`")),
                name if CASES.iter().any(|case| case.name.starts_with(name)) => names.push(name),
                name => return Err(format!("there is no case `{name}`; `cargo xtask bench --list` names them")),
            }
        }
        let is_asked = |case: &&Case| names.is_empty() || names.iter().any(|name| case.name.starts_with(name));
        request.cases = CASES.iter().filter(is_asked).collect();
        Ok(request)
    }
}

/// Those that the cases come from, each once.
fn workloads(cases: &[&'static Case]) -> Vec<&'static str> {
    let mut workloads: Vec<&str> = cases.iter().map(|case| case.workload).collect();
    workloads.dedup();
    workloads
}

/// Numbers by peer and case, one from each round.
type Numbers = HashMap<(&'static str, String), Vec<f64>>;

fn measure(
    programs: &HashMap<&'static str, Program>,
    workload: &str,
    cases: &[&Case],
    folder: &Path,
    quick: bool,
) -> Result<Numbers, String> {
    let mut numbers = Numbers::new();
    let mut turns = vec![OURS];
    for (peer, _) in cases.iter().flat_map(|case| case.peers) {
        if !turns.contains(peer) {
            turns.push(peer);
        }
    }
    let (rounds, time) = if quick { (1, QUICK_TIME_MS) } else { (ROUNDS, TIME_MS) };
    for _ in 0..rounds {
        for &peer in &turns {
            for (case, number) in programs[peer].run(peer, workload, folder, time)? {
                numbers.entry((peer, case)).or_default().push(number);
            }
        }
        turns.reverse();
    }
    Ok(numbers)
}

/// A line for each peer. None for what this system cannot measure.
fn outcomes(case: &'static Case, numbers: &Numbers) -> Vec<Outcome> {
    let median = |peer| {
        let mut numbers = numbers.get(&(peer, case.name.to_owned()))?.clone();
        numbers.sort_by(f64::total_cmp);
        Some(numbers[numbers.len() / 2])
    };
    let lines = case.peers.iter().map(|&(peer_name, ratio_bound)| {
        Some(Outcome { case, ours: median(OURS)?, peer: median(peer_name)?, peer_name, ratio_bound })
    });
    lines.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Request, String> {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        Request::parse(&arguments)
    }

    /// A name stands for the cases that begin with it; none is taken twice, and a wrong one is refused.
    #[test]
    fn cases_are_chosen_by_the_beginning_of_their_names() {
        assert_eq!(parse(&[]).expect("all").cases.len(), CASES.len());
        let chosen = parse(&["stream", "--json", "stream-memory"]).expect("two");
        assert_eq!(chosen.cases.iter().map(|case| case.name).collect::<Vec<_>>(), ["stream", "stream-memory"]);
        assert!(chosen.json && !chosen.quick && !chosen.list);
        assert_eq!(workloads(&chosen.cases), ["stream"]);
        assert!(parse(&["strea m"]).is_err());
        assert!(parse(&["--jsn"]).is_err());
    }

    /// The median of each side is compared, and what could not be measured has no line.
    #[test]
    fn medians_are_compared() {
        let case = CASES.iter().find(|case| case.name == "checkout-1").expect("it is a case");
        let mut numbers = Numbers::new();
        numbers.insert((OURS, case.name.to_owned()), vec![90.0, 100.0, 400.0]);
        numbers.insert(("bb8", case.name.to_owned()), vec![300.0, 10.0, 250.0]);
        let outcomes = outcomes(case, &numbers);
        assert_eq!(outcomes.len(), 1);
        assert_eq!((outcomes[0].ours, outcomes[0].peer, outcomes[0].ratio()), (100.0, 250.0, 2.5));
    }
}
