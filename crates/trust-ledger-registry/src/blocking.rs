//! The register without a runtime of the caller's: operations that answer when they are done.
//!
//! Start from [`Registry::open`] or [`Registry::in_memory`]. Each operation has the name, the meaning and the errors of the
//! asynchronous [`Registry`](crate::Registry)'s. Inside an asynchronous task it is refused, with
//! [`BlockingInTask`](strongroom::Error::BlockingInTask) as the database's error, and does nothing; what else holds of
//! threads is said at [`strongroom::blocking`].

use std::fmt;
use std::iter::FusedIterator;
use std::time::Duration;

use strongroom::blocking::{Database, wait};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::certificate::Certificate;
use crate::error::{Error, Result};
use crate::import::{ImportInput, ImportOptions, ImportProgress, ImportStopped, ImportSummary};
use crate::record::{AnnotationChange, Annotations, Issuer, Record, Registration, Revocation, Status};
use crate::registry::{
    Annotated, Copied, CopyProgress, Counts, CrlEntry, CrlQuery, DeleteTarget, EventFilter, EventPage, Expiring,
    Filter, FindingCounts, Lift, ListPage, Page, Pruned, RecordedRevocations, RevocationEntry, RevocationRequest,
    RevocationTarget, Revoke, Role, Stats, Token, TokenText,
};
use crate::serial::Serial;

/// The register of certificates, for threads that wait. A cheap handle, to be used by any number of them at once.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use trust_ledger_registry::{Filter, Page, blocking::Registry};
///
/// let registry = Registry::in_memory()?;
/// let page = registry.list(&Filter::default(), &Page::default())?;
/// assert!(page.records.is_empty());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Registry {
    inner: crate::Registry,
}

impl Registry {
    /// The register in a database that has, or on first use gets, the schema [`MIGRATIONS`](crate::MIGRATIONS). Does no I/O.
    pub fn open(db: Database) -> Registry {
        Registry { inner: crate::Registry::open(db.into()) }
    }

    /// An empty register that lives as long as its last handle: the double for tests.
    ///
    /// # Errors
    ///
    /// [`Error::Database`] when SQLite cannot be set up.
    pub fn in_memory() -> Result<Registry> {
        wait(crate::Registry::in_memory()).map(Registry::from)
    }

    /// The same register, with changes recorded as made by `actor`: a user, a token's name, a job.
    pub fn acting_as(&self, actor: &str) -> Registry {
        self.inner.acting_as(actor).into()
    }

    /// The same register, with changes recorded as asked for from `origin`, such as a client's address, by the request with
    /// this id.
    pub fn asked_from(&self, origin: &str, request: Option<&str>) -> Registry {
        self.inner.asked_from(origin, request).into()
    }

    /// The same register with another clock: for tests, and for what was or will be valid at another time.
    pub fn with_clock(&self, clock: impl Fn() -> OffsetDateTime + Send + Sync + 'static) -> Registry {
        self.inner.with_clock(clock).into()
    }

    /// The database underneath.
    pub fn database(&self) -> Database {
        self.inner.database().clone().into()
    }

    /// What a CRL of this issuer must hold; see [`crl_entries`](crate::Registry::crl_entries).
    ///
    /// # Errors
    ///
    /// [`Error::UnknownIssuer`]; [`Error::Database`], also from the entries.
    pub fn crl_entries(&self, issuer: Uuid, query: &CrlQuery) -> Result<CrlEntries<'_>> {
        wait(self.inner.crl_entries(issuer, query)).map(|inner| CrlEntries { inner: Some(inner) })
    }

    /// Copies this ledger into another one; see [`copy_to`](crate::Registry::copy_to).
    ///
    /// `progress` is called on this thread; it counts as inside a task, so what it asks of blocking handles is refused.
    ///
    /// # Errors
    ///
    /// As [`copy_to`](crate::Registry::copy_to).
    pub fn copy_to(&self, target: &Registry, progress: &mut (dyn FnMut(CopyProgress) + Send)) -> Result<Copied> {
        wait(self.inner.copy_to(&target.inner, progress))
    }

    /// Imports certificates, revocations and CA databases from files, folders and streams; see
    /// [`import`](crate::Registry::import).
    ///
    /// `progress` is called after each commit, on this thread; it counts as inside a task, so what it asks of blocking
    /// handles is refused.
    ///
    /// # Errors
    ///
    /// [`ImportStopped`], with the summary of what went in. What has been reported to `progress` stays; importing again goes
    /// on from there.
    pub fn import(
        &self,
        inputs: Vec<ImportInput>,
        options: &ImportOptions,
        progress: &mut (dyn FnMut(&ImportProgress) + Send),
    ) -> Result<ImportSummary, ImportStopped> {
        let imported = wait(async { Ok::<_, Error>(self.inner.import(inputs, options, progress).await) });
        imported.unwrap_or_else(|error| Err(ImportStopped { summary: Box::default(), error }))
    }
}

/// Writes operations that wait for their asynchronous twins and do nothing else.
macro_rules! waiting {
    ($($(#[$doc:meta])* fn $name:ident(&self $(, $argument:ident: $type:ty)*) -> $answer:ty;)+) => {
        impl Registry {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                ///
                #[doc = concat!("As [`Registry::", stringify!($name), "`](crate::Registry::", stringify!($name), ").")]
                pub fn $name(&self $(, $argument: $type)*) -> $answer {
                    wait(self.inner.$name($($argument),*))
                }
            )+
        }
    };
}

waiting! {
    /// Registers a certificate, unless it is known.
    fn register(&self, certificate: &Certificate, annotations: &Annotations) -> Result<Registration>;

    /// Registers many certificates, in transactions of some thousands; the answers are in their order.
    fn register_many(&self, certificates: Vec<Certificate>, annotations: &Annotations) -> Result<Vec<Registration>>;

    /// Changes what is said about a certificate.
    fn annotate(&self, id: Uuid, change: &AnnotationChange) -> Result<Annotated>;

    /// Changes what is said about a certificate, if nobody has since it was read.
    fn annotate_unchanged(&self, seen: &Record, change: &AnnotationChange) -> Result<Option<Annotated>>;

    /// The certificate of this id.
    fn get(&self, id: Uuid) -> Result<Option<Record>>;

    /// The certificate with this SHA-256 of its DER.
    fn by_fingerprint(&self, fingerprint: &[u8; 32]) -> Result<Option<Record>>;

    /// The certificates with this serial, of one issuer or of all.
    fn by_serial(&self, serial: &Serial, issuer: Option<Uuid>) -> Result<Vec<Record>>;

    /// The certificate that answers for a name.
    fn by_name(&self, name: &str) -> Result<Option<Record>>;

    /// What holds of an issuer's serial now.
    fn status(&self, serial: &Serial, issuer: Uuid) -> Result<Status>;

    /// The revocation of an issuer's serial.
    fn revocation(&self, serial: &Serial, issuer: Uuid) -> Result<Option<Revocation>>;

    /// The revocations of this serial by all issuers.
    fn revocations_by_serial(&self, serial: &Serial) -> Result<Vec<Revocation>>;

    /// A certificate as it was registered.
    fn der(&self, id: Uuid) -> Result<Option<Vec<u8>>>;

    /// The issuers, by name.
    fn issuers(&self) -> Result<Vec<Issuer>>;

    /// The certificates that a filter takes, page by page.
    fn list(&self, filter: &Filter, page: &Page) -> Result<ListPage>;

    /// The certificates that are valid and expire soon, soonest first.
    fn expiring(&self, question: &Expiring) -> Result<Vec<Record>>;

    /// How many certificates are valid and expire soon.
    fn count_expiring(&self, question: &Expiring) -> Result<u64>;

    /// How many certificates there are, by what they are.
    fn counts(&self) -> Result<Counts>;

    /// How many certificates are weak, share a serial, or share a key.
    fn findings(&self) -> Result<FindingCounts>;

    /// Counts and findings together.
    fn stats(&self) -> Result<Stats>;

    /// The ledger in numbers, in Prometheus' text format.
    fn metrics(&self, by_issuer: bool) -> Result<String>;

    /// What was changed, by whom and when, page by page.
    fn events(&self, filter: &EventFilter, page: &Page) -> Result<EventPage>;

    /// Revokes a certificate, or puts it on hold.
    fn revoke(&self, target: &RevocationTarget, request: &RevocationRequest) -> Result<Revoke>;

    /// Takes a hold back.
    fn lift_hold(&self, target: &RevocationTarget) -> Result<Lift>;

    /// Records revocations of one issuer, as CRLs bring them.
    fn record_revocations(
        &self, issuer: Uuid, entries: &[RevocationEntry], source: Option<&str>
    ) -> Result<RecordedRevocations>;

    /// Deletes certificates, expired ones unless forced, and answers how many.
    fn delete(&self, target: DeleteTarget, force: bool) -> Result<u64>;

    /// Deletes the certificates that expired longer ago than this.
    fn prune(&self, expired_for: Duration) -> Result<Pruned>;

    /// Makes a token.
    fn create_token(&self, name: &str, role: Role, expires_at: Option<OffsetDateTime>) -> Result<(Token, TokenText)>;

    /// Every token there ever was, newest first.
    fn tokens(&self) -> Result<Vec<Token>>;

    /// Revokes a token.
    fn revoke_token(&self, id: Uuid) -> Result<Option<Token>>;

    /// The token with this text, live or not.
    fn token(&self, presented: &str) -> Result<Option<Token>>;

    /// Notes when tokens were used.
    fn note_token_uses(&self, uses: &[(Uuid, OffsetDateTime)]) -> Result<()>;
}

/// A second handle on the same register.
impl From<crate::Registry> for Registry {
    fn from(inner: crate::Registry) -> Self {
        Registry { inner }
    }
}

/// A second handle on the same register.
impl From<Registry> for crate::Registry {
    fn from(registry: Registry) -> Self {
        registry.inner
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

/// The entries of a CRL as they are read, in the order of the serials' octets: one snapshot, bounded memory.
///
/// The first error is the last item: what came before is then not a CRL. Dropping it ends the reading, without waiting.
#[must_use = "entries are not read before they are asked for"]
pub struct CrlEntries<'a> {
    /// None after the end.
    inner: Option<crate::CrlEntries<'a>>,
}

impl Iterator for CrlEntries<'_> {
    type Item = Result<CrlEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        let entries = self.inner.as_mut()?;
        let next = wait(async { entries.next().await.transpose() }).transpose();
        if !matches!(next, Some(Ok(_))) {
            self.inner = None;
        }
        next
    }
}

impl FusedIterator for CrlEntries<'_> {}
