//! What is measured, with whom it is compared, and what is aimed at.

use std::fmt;

/// The peer that is ours.
pub(super) const OURS: &str = "strongroom";

/// A number that a workload yields.
#[derive(Debug, PartialEq)]
pub(super) struct Case {
    pub(super) name: &'static str,
    /// What the programs are asked to run; several cases may come from one run.
    pub(super) workload: &'static str,
    pub(super) what: &'static str,
    pub(super) unit: &'static str,
    pub(super) better: Better,
    /// What ours should reach.
    pub(super) bound: Option<f64>,
    /// With the ratio that should be reached, if one is aimed at.
    pub(super) peers: &'static [(&'static str, Option<f64>)],
}

impl Eq for Case {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Better {
    More,
    Less,
}

use Better::{Less, More};

/// Those that are to be beaten.
const POOLS: &[(&str, Option<f64>)] =
    &[("deadpool", Some(1.0)), ("bb8", Some(1.0)), ("qorb", Some(1.0)), ("r2d2", Some(1.0))];

const READERS: &[(&str, Option<f64>)] = &[("sqlx", None), ("tokio-rusqlite", None), ("deadpool-sqlite", None)];

const SERVED: &[(&str, Option<f64>)] =
    &[("tokio-postgres", None), ("deadpool-postgres", None), ("sqlx", None), ("diesel-async", None), ("pgbench", None)];

/// With what a server's session is to be ahead of them.
const SESSIONS: &[(&str, Option<f64>)] = &[
    ("tokio-postgres", Some(1.2)),
    ("deadpool-postgres", Some(1.2)),
    ("sqlx", Some(1.2)),
    ("diesel-async", Some(1.2)),
    ("pgbench", None),
];

pub(super) const CASES: &[Case] = &[
    Case {
        name: "checkout-1",
        workload: "checkout-1",
        what: "taking a no-op connection and giving it back; 1 task",
        unit: "ns",
        better: Less,
        bound: Some(220.0),
        peers: POOLS,
    },
    Case {
        name: "checkout-64",
        workload: "checkout-64",
        what: "the same by 64 tasks on 8 connections, each giving way once while it has one; 2 threads",
        unit: "ns",
        better: Less,
        bound: None,
        peers: POOLS,
    },
    Case {
        name: "checkout-64-wait",
        workload: "checkout-64",
        what: "how long 999 in 1,000 of those wait at most",
        unit: "µs",
        better: Less,
        bound: None,
        peers: POOLS,
    },
    Case {
        name: "checkout-64-longest",
        workload: "checkout-64",
        what: "how long any of them waits at most",
        unit: "µs",
        better: Less,
        bound: None,
        peers: &[("deadpool", None), ("bb8", None), ("qorb", None), ("r2d2", None)],
    },
    Case {
        name: "commits-64",
        workload: "commits-64",
        what: "commits of one row each, durable when answered; 64 tasks",
        unit: "/s",
        better: More,
        bound: Some(10_000.0),
        peers: &[
            ("rusqlite-16", Some(40.0)),
            ("rusqlite", None),
            ("sqlx", None),
            ("tokio-rusqlite", None),
            ("deadpool-sqlite", None),
        ],
    },
    Case {
        name: "commits-64-p99",
        workload: "commits-64",
        what: "how long 99 in 100 of those take at most",
        unit: "ms",
        better: Less,
        bound: Some(15.0),
        peers: &[
            ("rusqlite-16", None),
            ("rusqlite", None),
            ("sqlx", None),
            ("tokio-rusqlite", None),
            ("deadpool-sqlite", None),
        ],
    },
    Case {
        name: "read-1",
        workload: "read-1",
        what: "reads of a row by its key, warm; 1 task; inline, for ours",
        unit: "/s",
        better: More,
        bound: Some(300_000.0),
        peers: &[
            ("rusqlite", None),
            ("sqlx", Some(5.0)),
            ("tokio-rusqlite", Some(5.0)),
            ("deadpool-sqlite", Some(5.0)),
        ],
    },
    Case {
        name: "read-64",
        workload: "read-64",
        what: "the same; 64 tasks",
        unit: "/s",
        better: More,
        bound: None,
        peers: READERS,
    },
    Case {
        name: "read-hop-1",
        workload: "read-hop-1",
        what: "the same, in another thread, for ours, too; 1 task",
        unit: "/s",
        better: More,
        bound: Some(10_000.0),
        peers: READERS,
    },
    Case {
        name: "read-hop-64",
        workload: "read-hop-64",
        what: "the same; 64 tasks",
        unit: "/s",
        better: More,
        bound: Some(250_000.0),
        peers: READERS,
    },
    Case {
        name: "stream",
        workload: "stream",
        what: "rows of a query of 1,000,000, as they come",
        unit: "/s",
        better: More,
        bound: None,
        peers: &[("rusqlite", Some(0.5)), ("sqlx", None)],
    },
    Case {
        name: "stream-memory",
        workload: "stream",
        what: "by how much memory grows meanwhile, 16 MiB of page cache included",
        unit: "MiB",
        better: Less,
        bound: Some(24.0),
        peers: &[("rusqlite", None), ("sqlx", None)],
    },
    Case {
        name: "open-10",
        workload: "open-10",
        what: "opening 10 connections with a passphrase; rusqlite opens 1, which is one key derivation",
        unit: "ms",
        better: Less,
        bound: None,
        peers: &[("rusqlite", Some(1.0 / 1.2)), ("tokio-rusqlite", None), ("deadpool-sqlite", None)],
    },
    Case {
        name: "bulk-insert",
        workload: "bulk-insert",
        what: "rows of 100,000 inserted in one transaction",
        unit: "/s",
        better: More,
        bound: None,
        peers: &[("rusqlite", Some(0.8)), ("sqlx", None), ("tokio-rusqlite", None), ("deadpool-sqlite", None)],
    },
    Case {
        name: "pg-select-1",
        workload: "pg-select-1",
        what: "PostgreSQL: reads of a row by its key; 1 task",
        unit: "/s",
        better: More,
        bound: None,
        peers: SERVED,
    },
    Case {
        name: "pg-select-8",
        workload: "pg-select-8",
        what: "the same; 8 tasks on 8 connections",
        unit: "/s",
        better: More,
        bound: None,
        peers: &[
            ("tokio-postgres", Some(0.9)),
            ("deadpool-postgres", None),
            ("sqlx", Some(1.0)),
            ("diesel-async", None),
            ("pgbench", None),
        ],
    },
    Case {
        name: "pg-session-1",
        workload: "pg-session-1",
        what: "PostgreSQL: sessions with one insert and its commit; 1 task",
        unit: "/s",
        better: More,
        bound: None,
        peers: SESSIONS,
    },
    Case {
        name: "pg-session-8",
        workload: "pg-session-8",
        what: "the same; 8 tasks on 8 connections",
        unit: "/s",
        better: More,
        bound: None,
        peers: SESSIONS,
    },
    Case {
        name: "pg-connect-plain",
        workload: "pg-connect-plain",
        what: "PostgreSQL: connecting by SCRAM without TLS, and closing; the median",
        unit: "ms",
        better: Less,
        bound: None,
        peers: &[("tokio-postgres", None)],
    },
    Case {
        name: "pg-connect-tls",
        workload: "pg-connect-tls",
        what: "the same over TLS that verifies the server",
        unit: "ms",
        better: Less,
        bound: None,
        peers: &[("tokio-postgres", None)],
    },
    Case {
        name: "pg-connect-iam",
        workload: "pg-connect-iam",
        what: "the same by a token for RDS IAM, signed each time; the peer's is signed once",
        unit: "ms",
        better: Less,
        bound: None,
        peers: &[("tokio-postgres", None)],
    },
];

impl Case {
    pub(super) fn needs_servers(&self) -> bool {
        self.workload.starts_with("pg-")
    }

    /// Databases that are read, written before anything is measured.
    pub(super) fn needs_files(&self) -> bool {
        !self.needs_servers() && !self.workload.starts_with("checkout")
    }

    /// What is aimed at, in absolute terms.
    pub(super) fn target(&self) -> Option<String> {
        let word = match self.better {
            More => "at least",
            Less => "at most",
        };
        self.bound.map(|bound| format!("{word} {bound} {}", self.unit))
    }
}

/// Two lines and one for each ratio that is aimed at.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})\n    {}", self.name, self.unit, self.what)?;
        self.target().iter().try_for_each(|target| write!(f, "\n    {target}"))?;
        for (peer, ratio) in self.peers {
            match ratio {
                Some(ratio) => write!(f, "\n    at least {ratio:.2} times {peer}")?,
                None => write!(f, "\n    beside {peer}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::program::PROGRAMS;
    use crate::steps::workspace_root;

    /// Names are unique, each peer has a program, and cases of a workload stand together, so that it runs once.
    #[test]
    fn the_list_is_consistent() {
        for (i, case) in CASES.iter().enumerate() {
            assert!(CASES[..i].iter().all(|other| other.name != case.name), "{} is there twice", case.name);
            assert!(!case.peers.is_empty());
            for (peer, _) in case.peers {
                assert!(PROGRAMS.iter().any(|program| program.peers.contains(peer)), "{peer} has no program");
            }
        }
        let mut workloads: Vec<_> = CASES.iter().map(|case| case.workload).collect();
        workloads.dedup();
        let count = workloads.len();
        workloads.sort_unstable();
        workloads.dedup();
        assert_eq!(workloads.len(), count);
    }

    /// The programs are not built by the tests, but their source must report each case, and the page explain it.
    #[test]
    fn each_case_is_reported_and_documented() {
        let root = workspace_root();
        let read = |path: &str| std::fs::read_to_string(root.join(path)).expect("the file is there");
        let source =
            ["pool", "postgres", "sqlite"].map(|file| read(&format!("benches/peers/harness/src/{file}.rs"))).concat();
        let page = read("docs/benchmarks.md");
        for case in CASES {
            // Some cases are reported by their workload's name.
            assert!(source.contains(&format!("\"{}\"", case.name)), "nothing reports {}", case.name);
            assert!(source.contains(&format!("\"{}\" =>", case.workload)), "nothing runs {}", case.workload);
            assert!(page.contains(&format!("`{}`", case.name)), "docs/benchmarks.md lacks {}", case.name);
        }
    }

    /// Each program that a case may call is there, with a lock file of its own.
    #[test]
    fn each_program_is_there() {
        for program in PROGRAMS {
            let folder = workspace_root().join(program.folder);
            assert!(folder.join("Cargo.lock").is_file(), "{} has no lock file", folder.display());
            let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).expect("a manifest");
            assert!(manifest.contains(&format!("name = \"{}\"", program.name)));
        }
    }
}
