//! What a test needs of the machine. A bare `cargo test` works without any of it: the test prints `skipped: needs …`
//! and returns. Where nothing may be skipped (`TRUST_LEDGER_REQUIRE_JUDGES=1`, which `cargo xtask test` sets, or
//! `CI=true`) it panics instead.
//!
//! ```no_run
//! if !test_servers::needs::postgres() {
//!     return;
//! }
//! ```

use crate::{account, postgres};

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
