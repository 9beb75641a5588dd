//! A database handle, not a secret store: encrypted SQLite behind one handle, with group commit and sessions that always
//! end clean.
//!
//! # Terms
//!
//! * **Handle**: a [`Database`]. It owns the physical connections; clones share them.
//! * **Physical connection**: one open SQLite connection on a thread of its own. There is one *writer*; the others *read*.
//! * **Unit**: what takes effect together: a statement, a [`Batch`], or a [`Session`].
//! * **Group commit**: units that wait at the same time share one durable COMMIT. Each can fail alone, and each is
//!   answered only when the COMMIT is on disk (`synchronous=FULL`).
//! * **Session**: several statements in one transaction, under the caller's control. [`ReadSession`]: a snapshot.
//! * **Savepoint**: a part of a session that can be taken back alone.
//! * **Key source**: where the key of an encrypted file comes from; asked once, and never shown.
//!
//! # Start here
//!
//! [`Database::connect`] with a URL, [`Config`] for a key and other settings, or [`Settings`] to read them from a file and
//! the environment; then
//! [`execute`](Database::execute), [`fetch_one`](Database::fetch_one) and their siblings; [`Database::transaction`] or
//! [`Database::session`] for several statements.
//!
//! Placeholders are `$1`, `$2` and so on, bound by number, in any order and repeated at will.

#![deny(unsafe_op_in_unsafe_fn)]

mod backup;
mod batch;
mod check;
mod config;
mod connection;
mod database;
mod error;
mod key;
mod link;
mod migration;
pub mod pool;
mod row;
mod session;
mod settings;
mod sqlite;
mod statements;
mod stats;
mod stream;
mod value;

pub use self::backup::Progress;
pub use self::batch::Batch;
pub use self::check::{Checked, Report};
pub use self::config::Config;
pub use self::connection::Connection;
pub use self::database::Database;
pub use self::error::{Busy, Cause, EncryptionProblem, Error, Holder, QueryErrorKind, Result};
pub use self::key::KeySource;
pub use self::migration::{Migration, Migrations};
pub use self::row::{ColumnIndex, FromRow, Row};
pub use self::session::{ReadSession, Savepoint, Session};
pub use self::settings::Settings;
pub use self::stats::Stats;
pub use self::stream::RowStream;
pub use self::value::{FromValue, Params, Value};

/// The version of SQLCipher that is built in, such as `4.19.0 community`.
///
/// # Errors
///
/// [`Query`](Error::Query) when the library does not answer, which no known build does.
pub fn sqlcipher_version() -> Result<String> {
    sqlite::sqlcipher_version()
}
