//! Who makes the changes that the audit trail records.

use std::env;

use crate::cli::Global;

/// `--actor`, else `TRUST_LEDGER_ACTOR`, else the user and the machine: `alice@host`.
///
/// The user is the one that the process runs as, not what the environment claims.
pub(crate) fn actor(global: &Global) -> String {
    let given = global.actor.clone().or_else(|| env::var("TRUST_LEDGER_ACTOR").ok());
    given.filter(|actor| !actor.trim().is_empty()).unwrap_or_else(|| {
        let user = whoami::username().unwrap_or_else(|_| "unknown".to_owned());
        match whoami::hostname() {
            Ok(host) if !host.is_empty() => format!("{user}@{host}"),
            _ => user,
        }
    })
}
