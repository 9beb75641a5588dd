//! The register: every operation on the ledger's certificates, issuers, revocations and events.

use std::fmt;
use std::sync::Arc;

use strongroom::{Config, Database};
use time::OffsetDateTime;

use crate::error::Result;
use crate::schema::MIGRATIONS;

mod annotate;
mod author;
mod by_keys;
mod copy;
mod counts;
mod crl;
mod delete;
mod event;
mod expiring;
mod filter;
mod issuers;
mod list;
mod list_signer;
mod lookup;
mod page;
#[cfg(test)]
mod plans;
mod register;
mod resolve;
mod revocation_lists;
mod revocations;
mod revoke;
mod row;
mod sql;
mod stats;
mod token;

pub use annotate::Annotated;
pub use copy::{Copied, CopiedTable, CopyPhase, CopyProgress};
pub use counts::{Counts, FindingCounts, IssuerCount, MonthCount};
pub use crl::{CrlEntries, CrlEntry, CrlQuery};
pub use delete::{DeleteTarget, Pruned};
pub use event::{Event, EventFilter, EventPage};
pub use expiring::Expiring;
pub use filter::Filter;
pub(crate) use issuers::issuer_made_known;
pub use list::{ListPage, MAX_PAGE, Page};
pub(crate) use revocation_lists::{CheckedLists, Told, Verdict};
pub use revocations::{RecordedRevocations, RevocationEntry};
pub use revoke::{Lift, RevocationRequest, RevocationTarget, Revoke};
pub use stats::{IssuerStats, MonthStats, Stats};
pub use token::{Role, Token, TokenText, UnknownRole};

use author::Author;

/// The register of certificates.
///
/// A cheap handle: clones share the database and what is known of issuers. Everything an operation answers as done is
/// durable. Dropping the future of an operation either leaves its change undone or done as a whole; operations that say
/// that they work in chunks keep the chunks they have finished.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use trust_ledger_registry::{Filter, Page, Registry};
///
/// let registry = Registry::in_memory().await?;
/// let page = registry.list(&Filter::default(), &Page::default()).await?;
/// assert!(page.records.is_empty());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Registry {
    db: Database,
    issuers: Arc<issuers::Issuers>,
    sweep: Arc<register::Sweep>,
    gathering: Arc<register::Gathering>,
    author: Arc<Author>,
    clock: Clock,
}

/// Tells the time; see [`Registry::with_clock`].
type Clock = Arc<dyn Fn() -> OffsetDateTime + Send + Sync>;

impl Registry {
    /// The register in a database that has, or on first use gets, the schema [`MIGRATIONS`].
    ///
    /// Does no I/O. Changes are recorded as made by `ledger` until [`acting_as`](Registry::acting_as) says who makes
    /// them.
    pub fn open(db: Database) -> Registry {
        Registry {
            db,
            issuers: Arc::default(),
            sweep: Arc::default(),
            gathering: Arc::default(),
            author: Arc::new(Author::named("ledger")),
            clock: Arc::new(OffsetDateTime::now_utc),
        }
    }

    /// An empty register that lives as long as its last handle: the double for tests.
    ///
    /// # Errors
    ///
    /// [`Error::Database`](crate::Error::Database) when SQLite cannot be set up.
    pub async fn in_memory() -> Result<Registry> {
        Ok(Registry::open(Config::memory().migrations(&MIGRATIONS).migrate(true).connect().await?))
    }

    /// The same register, with changes recorded as made by `actor`: a user, a token's name, a job.
    pub fn acting_as(&self, actor: &str) -> Registry {
        Registry { author: Arc::new(self.author.acting_as(actor)), ..self.clone() }
    }

    /// The same register, with changes recorded as asked for from `origin`, such as a client's address, by the request with
    /// this id.
    pub fn asked_from(&self, origin: &str, request: Option<&str>) -> Registry {
        Registry { author: Arc::new(self.author.asked_from(origin, request)), ..self.clone() }
    }

    /// The same register with another clock: for tests, and for what was or will be valid at another time.
    pub fn with_clock(&self, clock: impl Fn() -> OffsetDateTime + Send + Sync + 'static) -> Registry {
        Registry { clock: Arc::new(clock), ..self.clone() }
    }

    /// The database underneath.
    pub fn database(&self) -> &Database {
        &self.db
    }

    /// The time, to the microsecond as the database stores it.
    fn now(&self) -> OffsetDateTime {
        let now = (self.clock)();
        now.replace_nanosecond(now.microsecond() * 1_000).unwrap_or(now)
    }

    /// The time that validity is compared with: certificates know whole seconds, and the last one is part of it.
    fn instant(&self) -> OffsetDateTime {
        let now = (self.clock)();
        now.replace_nanosecond(0).unwrap_or(now)
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("author", &self.author).finish_non_exhaustive()
    }
}

/// Statements as the register runs them, for the benchmark that compares it with running them plainly. Not for others:
/// they change without notice.
#[doc(hidden)]
pub mod statements {
    /// See [`register`](super::Registry::register).
    pub const ISSUER: &str = super::issuers::IssuerRow::INSERT;
    /// See [`register`](super::Registry::register).
    pub const CERTIFICATE: &str = super::register::INSERT_CERTIFICATE;
    /// See [`register`](super::Registry::register).
    pub const NAME: &str = super::register::INSERT_NAME;
    /// See [`register`](super::Registry::register).
    pub const REVERSED_NAME: &str = super::register::INSERT_REVERSED;
    /// See [`register`](super::Registry::register).
    pub const EVENT: &str = super::event::EventRow::INSERT_FOR_CERTIFICATE;
    /// See [`by_serial`](super::Registry::by_serial).
    pub const BY_SERIAL: &str = super::lookup::BY_SERIAL.sqlite;
    /// See [`by_name`](super::Registry::by_name).
    pub const BY_NAME: &str = super::lookup::BY_NAME;
}
