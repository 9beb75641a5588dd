//! The programs of `benches/peers`: building them, and running them once.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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
        peers: &[OURS, "deadpool", "bb8", "qorb", "r2d2", "rusqlite", "rusqlite-16"],
    },
    Source {
        name: "peers-rusqlite-0-40",
        folder: "benches/peers/rusqlite-0.40",
        peers: &["tokio-rusqlite", "deadpool-sqlite"],
    },
    Source { name: "peers-sqlx", folder: "benches/peers/sqlx", peers: &["sqlx"] },
];

/// A program that is built.
#[derive(Clone)]
pub(super) struct Program(PathBuf);

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
        let mut command = Command::new(&self.0);
        command.args([peer, workload]).arg(folder).arg(time.to_string());
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
}
