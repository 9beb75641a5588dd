//! Throwaway servers for tests: real ones, started by the test that needs them and gone when it ends.
//!
//! ```no_run
//! use test_servers::{Ca, Fault, FaultProxy, Postgres, needs};
//!
//! if !needs::postgres() {
//!     return; // "skipped: needs …" was printed
//! }
//! let ca = Ca::new();
//! let server = Postgres::scram("app", "secret").tls(&ca.server()).setting("max_connections", "20").start();
//! let proxy = FaultProxy::in_front_of(server.address());
//! let url = server.url_at(proxy.address(), "app");
//! proxy.set(Fault::Blackhole);
//! ```
//!
//! Start from [`Postgres`]: [`Postgres::shared`] when a test needs no more than a database, one of its constructors
//! when the server itself matters. Everything listens on loopback or in a folder of its own, on a port nobody else
//! has, so tests and test processes run in parallel. Everything ends when it is dropped, and also when the test process
//! is killed; nothing in `/etc` is read or changed.
//!
//! All calls block and need no runtime, so they serve tests of every kind; a call takes milliseconds, a start some
//! hundred. They panic, with the server's own words, when the server does not do as it is told: a test could do
//! nothing else.

mod account;
mod certificates;
mod guard;
mod moto;
pub mod needs;
mod pgbouncer;
mod postgres;
mod proxy;

pub use certificates::{Ca, Identity};
pub use moto::Moto;
pub use pgbouncer::{PgBouncer, PgBouncerSetup};
pub use postgres::{IamKeys, Postgres, Session, Setup, TestDatabase};
pub use proxy::{Fault, FaultProxy};
