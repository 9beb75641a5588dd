//! The programs of `benches/peers`: building them, and running them once.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::cases::{Case, OURS};
use crate::steps;

/// A program and the peers it can run.
pub(super) struct Source {
    pub(super) name: &'static str,
    /// In the workspace.
    pub(super) folder: &'static str,
    pub(super) peers: &'static [&'static str],
}

/// Peers that need different versions of SQLite cannot be in one program, nor in one lock file.
pub(super) const PROGRAMS: &[Source] = &[
    Source {
        name: "peers",
        folder: "benches/peers",
        peers: &[
            OURS,
            "deadpool",
            "bb8",
            "qorb",
            "r2d2",
            "rusqlite",
            "rusqlite-16",
            "tokio-postgres",
            "deadpool-postgres",
            "diesel-async",
            "pgbench",
        ],
    },
    Source {
        name: "peers-rusqlite-0-40",
        folder: "benches/peers/rusqlite-0.40",
        peers: &["tokio-rusqlite", "deadpool-sqlite"],
    },
    Source { name: "peers-sqlx", folder: "benches/peers/sqlx", peers: &["sqlx"] },
];

/// The AWS identity that tokens are signed with, and checked against by a server that runs here.
const IDENTITY: [(&str, &str); 3] =
    [("AWS_ACCESS_KEY_ID", "AKIABENCH"), ("AWS_SECRET_ACCESS_KEY", "not a secret"), ("AWS_REGION", "eu-central-1")];

/// A program that is built.
#[derive(Clone)]
pub(super) struct Program(PathBuf);

/// Servers that run until this is dropped.
pub(super) struct Servers(Child);

/// Builds what the cases need, in `folder`, and answers the programs by peer.
pub(super) fn build(folder: &Path, cases: &[&Case]) -> Result<HashMap<&'static str, Program>, String> {
    let mut programs = HashMap::new();
    for source in PROGRAMS {
        let is_asked = |peer: &str| cases.iter().any(|case| case.peers.iter().any(|(asked, _)| *asked == peer));
        if !source.peers.iter().any(|peer| *peer == OURS || is_asked(peer)) {
            continue;
        }
        let mut cargo = steps::cargo();
        cargo.args(["build", "--quiet", "--release", "--target-dir"]).arg(folder);
        cargo.arg("--manifest-path").arg(steps::workspace_root().join(source.folder).join("Cargo.toml"));
        if std::env::var_os("OPENSSL_NO_VENDOR").is_none() {
            cargo.env("OPENSSL_NO_VENDOR", "1");
        }
        steps::step("build", || {
            let status = cargo.status().map_err(|error| format!("cargo could not be started: {error}"))?;
            if !status.success() {
                return Err(format!(
                    "{} could not be built ({status}): cargo's last lines above say why",
                    source.folder
                ));
            }
            Ok(((), source.folder.to_owned()))
        })?;
        let program = Program(folder.join("release").join(source.name));
        programs.extend(source.peers.iter().map(|peer| (*peer, program.clone())));
    }
    Ok(programs)
}

impl Program {
    /// Runs a workload with a peer and answers the cases' numbers.
    pub(super) fn run(
        &self,
        peer: &str,
        workload: &str,
        folder: &Path,
        time: u32,
    ) -> Result<Vec<(String, f64)>, String> {
        let mut command = self.command(peer, workload, folder, time);
        // What a panic says goes straight to the terminal.
        let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output();
        let output = output.map_err(|error| format!("`{}` could not be started: {error}", steps::shown(&command)))?;
        if !output.status.success() {
            return Err(format!("`{}` failed ({})", steps::shown(&command), output.status));
        }
        let output = String::from_utf8_lossy(&output.stdout);
        let lines = output.lines().map(|line| {
            let (case, number) = line.split_once(' ')?;
            Some((case.to_owned(), number.parse().ok().filter(|number: &f64| number.is_finite())?))
        });
        lines.collect::<Option<_>>().ok_or_else(|| format!("`{}` printed no numbers: {output}", steps::shown(&command)))
    }

    /// Starts the servers that are measured, and waits until they are ready.
    pub(super) fn start_servers(&self, folder: &Path) -> Result<Servers, String> {
        let mut command = self.command(OURS, "servers", folder, 0);
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn();
        let mut child =
            started.map_err(|error| format!("`{}` could not be started: {error}", steps::shown(&command)))?;
        let told = BufReader::new(child.stdout.take().expect("it is a pipe")).lines().next();
        let servers = Servers(child);
        match told {
            Some(Ok(line)) if line.starts_with("ready") => Ok(servers),
            _ => Err("the servers did not start: the lines above say why; Debian has them in `postgresql`".to_owned()),
        }
    }

    fn command(&self, peer: &str, workload: &str, folder: &Path, time: u32) -> Command {
        let mut command = Command::new(&self.0);
        command.args([peer, workload]).arg(folder).arg(time.to_string()).envs(IDENTITY);
        command
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        // The end of its input is the sign, and it takes its servers with it.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}
