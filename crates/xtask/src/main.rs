//! Development tasks of the workspace: `cargo xtask <task>`.
//!
//! One file per task, which holds its `HELP` and its `run`; [`TASKS`] lists them. A new task is a new file and a
//! new line there.

mod bench;
mod soak;
mod steps;
mod test;

use std::process::ExitCode;

/// A task by its name, with the line that `cargo xtask --help` shows for it.
struct Task {
    name: &'static str,
    summary: &'static str,
    help: &'static str,
    /// Gets what follows the task's name.
    run: fn(&[String]) -> Result<(), String>,
}

const TASKS: &[Task] = &[
    Task {
        name: "test",
        summary: "install what the tests need, then run all tests of the workspace",
        help: test::HELP,
        run: test::run,
    },
    Task { name: "bench", summary: "measure strongroom against its peers", help: bench::HELP, run: bench::run },
    Task {
        name: "soak",
        summary: "work at random on a file, or on the service over HTTP, then prove that nothing went astray",
        help: soak::HELP,
        run: soak::run,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else {
        eprint!("{}", usage());
        return ExitCode::from(2);
    };
    if matches!(name.as_str(), "-h" | "--help" | "help") {
        print!("{}", usage());
        return ExitCode::SUCCESS;
    }
    let Some(task) = TASKS.iter().find(|task| task.name == name) else {
        eprint!("error: there is no task `{name}`\n\n{}", usage());
        return ExitCode::from(2);
    };
    if rest.first().is_some_and(|first| matches!(first.as_str(), "-h" | "--help")) {
        print!("{}", task.help);
        return ExitCode::SUCCESS;
    }
    match (task.run)(rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> String {
    let mut text = String::from(
        "Development tasks of the trust-ledger workspace\n\nUsage: cargo xtask <task> [arguments]\n\nTasks:\n",
    );
    for task in TASKS {
        text.push_str(&format!("  {:<8} {}\n", task.name, task.summary));
    }
    text.push_str("\n`cargo xtask <task> --help` says more about one.\n");
    text
}
