//! A session per request, for services on axum (feature `axum`).
//!
//! [`SessionLayer`] gives each request one [`Session`] and one [`ReadSession`] to extract, in middleware and handler alike.
//! Neither is opened before its first `lock`, so a request whose body is still arriving holds nothing.
//!
//! ```
//! use axum::{Router, routing::post};
//! use strongroom::{Database, axum::{Session, SessionLayer}, params};
//!
//! async fn add(session: Session, name: String) -> strongroom::Result<()> {
//!     session.lock().await?.execute("INSERT INTO guest (name) VALUES ($1)", params![name]).await?;
//!     Ok(())
//! }
//!
//! fn service(db: Database) -> Router {
//!     Router::new().route("/guests", post(add)).layer(SessionLayer::new(db))
//! }
//! ```
//!
//! | event | the write session | the read session |
//! |---|---|---|
//! | an answer below 400 | is committed before its head is sent; if that fails the answer is the error's [`Problem`] | lives until the body ends or is dropped |
//! | an answer of 400 or above, or [`Session::roll_back`] | is rolled back | the same |
//! | the client hangs up, the handler panics, an outer layer's time is up | is rolled back | is ended |
//! | a guard of it is still held when the answer is ready | is rolled back, and the answer is a 500: half of a unit must not be stored | lives on with the body |
//!
//! After that, a clone that was kept answers [`SessionEnded`](crate::Error::SessionEnded).
//!
//! A handler cannot be run again, its body being consumed. So a conflict with another transaction, on PostgreSQL, is
//! answered with 503 and `Retry-After`: nothing is stored and the client may send the same again. Work that must not show
//! conflicts to clients goes through [`Database::transaction`](crate::Database::transaction), which repeats it.
//!
//! [`Error`](crate::Error) is a response: see [`Problem`] for which.

mod body;
mod layer;
mod problem;
mod read_session;
mod session;

pub use self::layer::{SessionLayer, SessionService};
pub use self::problem::Problem;
pub use self::read_session::{ReadSession, ReadSessionGuard};
pub use self::session::{Session, SessionGuard};
