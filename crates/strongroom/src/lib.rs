//! A database handle, not a secret store: encrypted SQLite behind one handle, with group commit and sessions that always
//! end clean.
//!
//! # Terms
//!
//! * **Handle**: a [`Database`]. It owns the physical connections; clones share them.
//! * **Physical connection**: one open SQLite connection. There is one *writer*, on a thread of its own; the others *read*,
//!   and are kept in a [`pool`].
//! * **Unit**: what takes effect together: a statement, a [`Batch`], a script, or a [`Session`].
//! * **Group commit**: units that wait at the same time share one durable COMMIT. Each can fail alone, and each is
//!   answered only when the COMMIT is on disk (`synchronous=FULL`).
//! * **Session**: several statements in one transaction, under the caller's control. [`ReadSession`]: a snapshot.
//! * **Savepoint**: a part of a session that can be taken back alone.
//! * **Pinned connection**: a [`Connection`] lent to one caller, outside any transaction.
//! * **Key source**: where the key of an encrypted file comes from; asked once, and never shown.
//!
//! # Start here
//!
//! [`Database::connect`] with a URL, or [`Config`] for a key and other settings (also from files and the environment, see
//! [`Settings`]); then [`execute`](Database::execute), [`fetch_one`](Database::fetch_one) and their siblings;
//! [`Database::transaction`] or [`Database::session`] for several statements. [`blocking`] has the same for
//! programs without a runtime. [`pool`] can be used alone, for connections of any kind.
//!
//! Placeholders are `$1`, `$2` and so on, bound by number, in any order and repeated at will.
//!
//! # What runs where
//!
//! | work | runs on | waits for |
//! |---|---|---|
//! | a query that was quick before | the caller's thread, when a reader is free | nobody |
//! | other queries, streams, read sessions | a reader's thread | a reader, in order of arrival |
//! | statements that write, batches, scripts | the writer's thread, grouped | its turn, in order of arrival |
//! | sessions | the writer's thread, which they have to themselves | their turn |
//! | pinned connections | a reader's thread; while one writes, the writer stands still | a reader; for a write its turn |
//! | `vacuum`, `checkpoint`, `optimize`, `rekey` | the writer's thread | its turn; `rekey` for all readers too |
//! | `backup` | a thread and connection of its own | nobody |
//!
//! Every wait ends after the [acquire timeout](Config::acquire_timeout) with
//! [`PoolExhausted`](Error::PoolExhausted), which names the line of source that was waited for, and for how long that has
//! held on. A database in memory has one connection, the writer's, and everything takes turns on it.
//!
//! # What happens when
//!
//! | event | consequence |
//! |---|---|
//! | a future is dropped before its work began | the work is not done |
//! | … later | a query is stopped; a unit takes effect as a whole or not at all |
//! | a session is dropped, or its task panics or is aborted | it is rolled back; nobody waits for it any longer |
//! | a session or stream outlives [`session_max_age`](Config::session_max_age) | it is ended and rolled back; its holder gets [`SessionExpired`](Error::SessionExpired) |
//! | a statement of a session fails | the session refuses further ones until a savepoint, or all of it, is rolled back |
//! | a unit fails | it alone: its group goes on |
//! | SQLite rolls a whole group back (disk full, `OR ROLLBACK`) | the culprit fails; other statements and batches are run again singly; a session among them fails as [retryable](Error::is_retryable) |
//! | the disk fails in a COMMIT | [`CommitUnknown`](Error::CommitUnknown) for all of the group; the writer opens the file anew |
//! | a page is damaged | the statement fails as `Corrupt`, its connection is replaced; what is not damaged can be read |
//! | the file is moved, deleted or replaced | further work is refused before anything is acknowledged |
//! | another process holds the lock | it is waited for up to the acquire timeout, then `Busy` |
//! | [`close`](Database::close) is called | new work is refused; what is under way is waited for; the log is copied into the file |
//! | the last handle is dropped | what is queued is done; connections that nobody holds are closed before the drop returns |
//! | the runtime is shut down | work that is queued or under way ends as if its future were dropped; the handle can be used from another runtime |
//! | the process is killed | every acknowledged unit is there, no other in part |
//! | the process forks | the child must not use the handle: SQLite's locks, and all threads, are the parent's |

#![deny(unsafe_op_in_unsafe_fn)]

mod backup;
mod batch;
pub mod blocking;
mod check;
mod command;
mod config;
mod connection;
mod credential;
mod database;
mod engine;
mod error;
mod key;
mod link;
mod migration;
pub mod pool;
mod postgres;
mod random;
mod row;
mod secret;
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
pub use self::credential::{Cached, Credential, CredentialProvider, Login, Password, Server};
pub use self::database::Database;
pub use self::engine::Dialect;
pub use self::error::{Busy, Cause, Code, EncryptionProblem, Error, Holder, QueryErrorKind, Result};
pub use self::key::KeySource;
pub use self::migration::{Migration, Migrations};
pub use self::postgres::ServerError;
pub use self::row::{ColumnIndex, FromRow, Row};
pub use self::secret::{BoxFuture, Secret, SecretProvider};
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
