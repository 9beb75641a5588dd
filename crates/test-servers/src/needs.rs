//! What a test needs of the machine. A bare `cargo test` works without any of it: the test prints `skipped: needs …`
//! and returns. Where nothing may be skipped (`TRUST_LEDGER_REQUIRE_JUDGES=1`, which `cargo xtask test` sets, or
//! `CI=true`) it panics instead.
//!
//! ```no_run
//! if !test_servers::needs::postgres() {
//!     return;
//! }
//! ```

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{account, pgbouncer, postgres};

/// PostgreSQL's server programs, and a user to run them. False: the test is to return.
#[must_use]
pub fn postgres() -> bool {
    met(postgres::programs().is_some() && account::exists(), "PostgreSQL (Debian's package postgresql)")
}

/// [`postgres`], and PAM with Python for a server that checks IAM tokens.
#[must_use]
pub fn iam() -> bool {
    postgres() && met(postgres::iam::pam().is_some(), "PAM modules (Debian's libpam-wrapper and libpam-python)")
}

/// [`postgres`], and pgbouncer.
#[must_use]
pub fn pgbouncer() -> bool {
    postgres() && met(Path::new(pgbouncer::PROGRAM).exists(), "pgbouncer (Debian's package pgbouncer)")
}

/// The interpreter with moto: `TRUST_LEDGER_PYTHON`. `None`: the test is to return.
pub fn moto() -> Option<PathBuf> {
    let has_moto = |python: &PathBuf| {
        let found = "import importlib.util, sys; sys.exit(importlib.util.find_spec('moto') is None)";
        Command::new(python).args(["-c", found]).output().is_ok_and(|output| output.status.success())
    };
    let python = std::env::var_os("TRUST_LEDGER_PYTHON").map(PathBuf::from).filter(has_moto);
    met(python.is_some(), "TRUST_LEDGER_PYTHON with moto");
    python
}

/// Skips a test that misses `what`, or fails it where nothing may be skipped.
pub fn skip(what: &str) {
    let is = |name: &str, value: &str| std::env::var_os(name).is_some_and(|found| found == value);
    let required = is("TRUST_LEDGER_REQUIRE_JUDGES", "1") || is("CI", "true");
    assert!(!required, "needs {what}");
    println!("skipped: needs {what}");
}

fn met(present: bool, what: &str) -> bool {
    if !present {
        skip(what);
    }
    present
}
