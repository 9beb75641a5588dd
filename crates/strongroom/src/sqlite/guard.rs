//! The authorizer: what a caller's SQL may not do, because the engine does it.
//!
//! It is asked by SQLite while a statement is prepared, so that nothing refused ever runs (preparing some PRAGMAs
//! already does).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use crate::error::{Error, QueryErrorKind};

/// PRAGMAs that only tell. Each is allowed without a value, or with a table's, an index's or a number's name.
const TELLING_PRAGMAS: &[&str] = &[
    "cipher_integrity_check",
    "cipher_version",
    "compile_options",
    "database_list",
    "foreign_key_check",
    "foreign_key_list",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "quick_check",
    "table_info",
    "table_list",
    "table_xinfo",
];

/// PRAGMAs that tell without a value and change something with one: allowed without.
const READABLE_PRAGMAS: &[&str] = &[
    "application_id",
    "auto_vacuum",
    "cache_size",
    "data_version",
    "encoding",
    "foreign_keys",
    "freelist_count",
    "journal_mode",
    "page_count",
    "page_size",
    "schema_version",
    "synchronous",
    "user_version",
];

/// Stands between a caller's SQL and the connection.
#[derive(Clone, Default)]
pub(crate) struct Guard {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Set while the engine's own statements run.
    engine: AtomicBool,
    /// The last refusal, as [`Refusal`] + 1; 0 is none.
    refused: AtomicU8,
    /// Set while one caller has the connection to himself.
    allows_temporary: AtomicBool,
    /// Whether TEMP objects may have been made since this was asked last.
    made_temporary: AtomicBool,
}

#[derive(Clone, Copy)]
enum Refusal {
    Transaction,
    Attach,
    Pragma,
    Temporary,
    LoadExtension,
}

const REFUSALS: [Refusal; 5] =
    [Refusal::Transaction, Refusal::Attach, Refusal::Pragma, Refusal::Temporary, Refusal::LoadExtension];

impl Guard {
    /// Installs the guard. From here on only [`engine`](Self::engine) gets past it.
    pub(crate) fn install(&self, db: &mut rusqlite::Connection) -> rusqlite::Result<()> {
        let shared = Arc::clone(&self.shared);
        db.authorizer(Some(move |context: AuthContext<'_>| {
            if shared.engine.load(Ordering::Relaxed) {
                return Authorization::Allow;
            }
            match refusal(&context.action) {
                None => Authorization::Allow,
                Some(Refusal::Temporary) if shared.allows_temporary.load(Ordering::Relaxed) => {
                    shared.made_temporary.store(true, Ordering::Relaxed);
                    Authorization::Allow
                }
                Some(refusal) => {
                    shared.refused.store(refusal as u8 + 1, Ordering::Relaxed);
                    Authorization::Deny
                }
            }
        }))
    }

    /// Runs the engine's own work, which may do what callers may not.
    pub(crate) fn engine<T>(&self, work: impl FnOnce() -> T) -> T {
        self.shared.engine.store(true, Ordering::Relaxed);
        let outcome = work();
        self.shared.engine.store(false, Ordering::Relaxed);
        outcome
    }

    /// Whether TEMP objects may be made from now on.
    pub(crate) fn allow_temporary(&self, allow: bool) {
        self.shared.allows_temporary.store(allow, Ordering::Relaxed);
    }

    /// Whether TEMP objects may have been made since this was called last.
    pub(crate) fn take_temporary(&self) -> bool {
        self.shared.made_temporary.swap(false, Ordering::Relaxed)
    }

    /// The error for the refusal that SQLite reported just now, if the guard refused anything.
    pub(crate) fn take_refusal(&self) -> Option<Error> {
        let refused = self.shared.refused.swap(0, Ordering::Relaxed);
        let refusal = REFUSALS.get(usize::from(refused).checked_sub(1)?)?;
        Some(match refusal {
            Refusal::Transaction => Error::transaction(
                "BEGIN, COMMIT, ROLLBACK, SAVEPOINT and RELEASE are not run as SQL; \
                 use Database::session, Database::transaction and Session::savepoint",
            ),
            Refusal::Attach => Error::query(
                QueryErrorKind::Other,
                "ATTACH and DETACH are not run as SQL; open the other file as a Database \
                 (and VACUUM, which uses them, is Database::vacuum)",
            ),
            Refusal::Pragma => Error::query(
                QueryErrorKind::Other,
                "this PRAGMA is not run as SQL: strongroom sets connections up itself, see Config, and Database has \
                 the methods optimize, checkpoint and rekey",
            ),
            Refusal::Temporary => Error::query(
                QueryErrorKind::Other,
                "TEMP objects would be seen by one connection only; make them in a Database::session or on a \
                 Database::connection, or use WITH in the statement",
            ),
            Refusal::LoadExtension => {
                Error::query(QueryErrorKind::Other, "load_extension is not available: it runs code from a file")
            }
        })
    }
}

fn refusal(action: &AuthAction<'_>) -> Option<Refusal> {
    match action {
        AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => Some(Refusal::Transaction),
        AuthAction::Attach { .. } | AuthAction::Detach { .. } => Some(Refusal::Attach),
        AuthAction::Pragma { pragma_name, pragma_value } => {
            let named = |list: &[&str]| list.iter().any(|name| name.eq_ignore_ascii_case(pragma_name));
            let allowed = named(TELLING_PRAGMAS) || (pragma_value.is_none() && named(READABLE_PRAGMAS));
            (!allowed).then_some(Refusal::Pragma)
        }
        AuthAction::CreateTempTable { .. }
        | AuthAction::CreateTempIndex { .. }
        | AuthAction::CreateTempTrigger { .. }
        | AuthAction::CreateTempView { .. } => Some(Refusal::Temporary),
        AuthAction::Function { function_name } if function_name.eq_ignore_ascii_case("load_extension") => {
            Some(Refusal::LoadExtension)
        }
        _ => None,
    }
}
