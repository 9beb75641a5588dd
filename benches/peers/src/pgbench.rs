//! pgbench, PostgreSQL's own: what the server does when its client is written in C and does nothing else.

use std::path::PathBuf;
use std::process::Command;

use harness::postgres::{Access, ROWS};
use harness::{CONNECTIONS, Run, WORKERS, report};

/// Runs the workload's statements as a script of pgbench's.
pub(crate) fn run(run: &Run) {
    let (clients, script) = match run.workload.as_str() {
        "pg-select-1" => (1, select()),
        "pg-select-8" => (CONNECTIONS, select()),
        "pg-session-1" => (1, session()),
        "pg-session-8" => (CONNECTIONS, session()),
        _ => run.is_unknown(),
    };
    let file = run.file("pgbench.sql");
    std::fs::write(&file, script).expect("the folder is there");
    let mut command = Command::new(program());
    command.args(["--no-vacuum", "--protocol", "prepared", "--jobs", &WORKERS.to_string(), "--client", &clients.to_string()]);
    // It counts whole seconds.
    command.args(["--time", &run.time.as_secs().max(1).to_string(), "--file"]).arg(&file);
    let out = command.arg(run.server(Access::Plain)).output().expect("pgbench starts");
    assert!(out.status.success(), "pgbench: {}", String::from_utf8_lossy(&out.stderr));
    let told = String::from_utf8_lossy(&out.stdout);
    let rate = told.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
    report(&run.workload, rate.expect("pgbench tells transactions per second"));
}

fn select() -> String {
    format!("\\set id random(0, {})\nSELECT text FROM entry WHERE id = :id;\n", ROWS - 1)
}

fn session() -> String {
    "BEGIN ISOLATION LEVEL REPEATABLE READ;\nINSERT INTO written (text) VALUES ('some text');\nCOMMIT;\n".to_owned()
}

/// The newest of Debian's, else the one in `PATH`.
fn program() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let installed = versions.map(|version| version.path().join("bin/pgbench")).filter(|path| path.exists());
    installed.max().unwrap_or_else(|| PathBuf::from("pgbench"))
}
