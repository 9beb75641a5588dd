//! A database handle, not a secret store: encrypted SQLite and PostgreSQL behind one handle, with sessions that always end
//! clean.
//!
//! # Terms
//!
//! * **Handle**: a [`Database`]. It owns the physical connections; clones share them.
//! * **Physical connection**: one open SQLite connection, or one connection to a PostgreSQL server. On SQLite there is one
//!   *writer*, on a thread of its own; the others *read*, and are kept in a [`pool`]. On PostgreSQL all are alike, and in a
//!   pool.
//! * **Unit**: what takes effect together: a statement, a [`Batch`], a script, or a [`Session`].
//! * **Group commit** (SQLite): units that wait at the same time share one durable COMMIT. Each can fail alone, and each is
//!   answered only when the COMMIT is on disk (`synchronous=FULL`).
//! * **Session**: several statements in one transaction, under the caller's control. [`ReadSession`]: a snapshot.
//! * **Savepoint**: a part of a session that can be taken back alone.
//! * **Pinned connection**: a [`Connection`] lent to one caller, outside any transaction.
//! * **Key source**: where the key of an encrypted file comes from; asked once, and never shown.
//! * **Credential**: who logs in to a server, and with what; a [`CredentialProvider`] is asked for each physical connection.
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
//! What is said of sessions, units, errors and dropped futures holds on both engines. SQL is the engine's own: types, and
//! functions, differ. On PostgreSQL write sessions are REPEATABLE READ, where two that change the same row conflict: use
//! [`Database::transaction`], which does such work again.
//!
//! # What runs where, on SQLite
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
//! # What runs where, on PostgreSQL
//!
//! | work | trips to the server (each statement's first on a connection takes one more) | holds a connection |
//! |---|---|---|
//! | one statement | one; it commits by itself | for that long |
//! | several statements (`batch`, `execute_many`, a script) | two: all are sent at once, with BEGIN before them; then COMMIT | for that long |
//! | `copy_in` | three, however many rows | for that long |
//! | a session | one for each call; BEGIN goes with the first; COMMIT is one | until it ends |
//! | a read session | one to take its snapshot | until it ends |
//! | a stream | one, in a read-only transaction; what turns out to write is run again outside, and committed before its first row | until it ends |
//! | a pinned connection | as without | until it is given back, and cleaned (`DISCARD ALL`) |
//! | `vacuum`, `optimize` | `VACUUM`, `ANALYZE` | for that long |
//!
//! `checkpoint` does nothing there, and `backup`, `rekey` and `encrypt`, which are for files, are refused. Of a query's rows
//! all travel, also with `fetch_one`: say `LIMIT 1`.
//!
//! # What happens when, on both
//!
//! | event | consequence |
//! |---|---|
//! | a future is dropped before its work began | the work is not done |
//! | … later | a query is stopped; a unit takes effect as a whole or not at all |
//! | a session is dropped, or its task panics or is aborted | it is rolled back; nobody waits for it any longer |
//! | a session or stream outlives [`session_max_age`](Config::session_max_age) | it is ended and rolled back; its holder gets [`SessionExpired`](Error::SessionExpired) |
//! | a statement of a session fails | the session refuses further ones until a savepoint, or all of it, is rolled back |
//! | [`close`](Database::close) is called | new work is refused; what is under way is waited for; on SQLite the log is copied into the file |
//! | the runtime is shut down | work that is queued or under way ends as if its future were dropped; the handle can be used from another runtime |
//! | the process is killed | every acknowledged unit is there, no other in part |
//!
//! # What happens when, on SQLite
//!
//! | event | consequence |
//! |---|---|
//! | a unit fails | it alone: its group goes on |
//! | SQLite rolls a whole group back (disk full, `OR ROLLBACK`) | the culprit fails; other statements and batches are run again singly; a session among them fails as [retryable](Error::is_retryable) |
//! | the disk fails in a COMMIT | [`CommitUnknown`](Error::CommitUnknown) for all of the group; the writer opens the file anew |
//! | a page is damaged | the statement fails as `Corrupt`, its connection is replaced; what is not damaged can be read |
//! | the file is moved, deleted or replaced | further work is refused before anything is acknowledged |
//! | another process holds the lock | it is waited for up to the acquire timeout, then `Busy` |
//! | the last handle is dropped | what is queued is done; connections that nobody holds are closed before the drop returns |
//! | the process forks | the child must not use the handle: SQLite's locks, and all threads, are the parent's |
//!
//! # What happens when, on PostgreSQL
//!
//! | event | consequence |
//! |---|---|
//! | a future is dropped while its statement runs | after 10 ms the server is asked to stop it (in a session only when that is dropped too); its connection is used on when that is done, else closed. A COMMIT is never stopped |
//! | the connection is lost, or the server shut down, in a COMMIT or in a statement that commits by itself | [`CommitUnknown`](Error::CommitUnknown); read before writing again |
//! | … at any other time | [`Connection`](Error::Connection); nothing of the session is stored; all connections of the time are replaced before they are lent |
//! | an idle connection is lost | it is replaced before it is lent, where that can be known |
//! | a write is refused because the server is read-only: it is no longer the primary | `ReadOnly`, and the next caller gets a connection that is made anew |
//! | two sessions change the same row, or wait for each other | one fails as [retryable](Error::is_retryable); [`transaction`](Database::transaction) does it again |
//! | a table has changed under a prepared statement | it is prepared anew, once; in a session that fails, and the next session has it right |
//! | something that stays with a connection is run (`SET`, `LISTEN`, TEMP) | refused, but for sessions and pinned connections, which are cleaned afterwards. What a function leaves behind (`set_config`, advisory locks) is seen only on a pinned connection |
//! | the last handle is dropped | idle connections are closed, others when what they do has ended |

#![deny(unsafe_op_in_unsafe_fn)]

mod aws;
#[cfg(feature = "axum")]
pub mod axum;
mod backup;
mod batch;
pub mod blocking;
mod check;
mod command;
mod config;
mod connection;
mod core_dumps;
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
mod rights;
mod row;
mod secret;
mod session;
mod settings;
mod sops;
mod sqlite;
mod statements;
mod stats;
mod stream;
mod value;

pub use self::aws::{AwsSecret, Dsql, RdsIam};
pub use self::backup::Progress;
pub use self::batch::Batch;
pub use self::check::{Checked, Report};
pub use self::config::Config;
pub use self::connection::Connection;
pub use self::core_dumps::forbid_core_dumps;
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
pub use self::sops::Sops;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub use self::sops::fuzzing;
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
