//! The register of certificates: what is valid, revoked and about to expire.
//!
//! Terms:
//!
//! - *certificate*: an X.509 certificate as it was read, [`certificate::Certificate`];
//! - *serial*: a certificate's number, signed and of any length, [`serial::Serial`];
//! - *name*: what a certificate is issued for, [`name::Name`];
//! - *revocation list*: a CRL, [`revocation_list::RevocationList`];
//! - *intake*: finding all of these in files and streams, [`intake::read`];
//! - *issuer*: who signs certificates, by name and key; it is *known* when a certificate of it is in the ledger;
//! - *record*: what the ledger holds of a certificate, [`Record`];
//! - *event*: a change to the ledger, recorded with it, [`Event`];
//! - *token*: what a program shows to be let in, by a service on top of the register, [`Token`].
//!
//! Start from [`Registry`]: `open` it on a database, or `in_memory` in tests. [`Registry::import`] fills it from files.
//! Without a runtime, [`blocking::Registry`] is the same.

// Certificates and the finding of them: pure, without a database.
pub mod certificate;
mod der;
pub mod distinguished_name;
pub mod intake;
pub mod name;
pub mod public_key;
pub mod revocation_list;
pub mod revocation_reason;
pub mod serial;

pub use der::DerError;

// The register itself.
pub mod blocking;
mod error;
mod import;
mod record;
mod registry;
mod schema;
mod timestamp;

pub use certificate::{Category, Certificate};
pub use error::{Error, Result};
pub use import::{ImportInput, ImportOptions, ImportProgress, ImportStopped, ImportSummary, Refusal};
pub use name::{Name, NameKind, NamePattern, NamePatternError};
pub use record::{
    AnnotationChange, Annotations, Finding, Issuer, Record, Registration, Revocation, Status, UnknownStatus,
};
#[doc(hidden)]
pub use registry::statements;
pub use registry::{
    Annotated, Copied, CopiedTable, CopyPhase, CopyProgress, Counts, CrlEntries, CrlEntry, CrlQuery, DeleteTarget,
    Event, EventFilter, EventPage, Expiring, Filter, FindingCounts, IssuerCount, IssuerStats, Lift, ListPage, MAX_PAGE,
    MonthCount, MonthStats, Page, Pruned, RecordedRevocations, Registry, RevocationEntry, RevocationRequest,
    RevocationTarget, Revoke, Role, Stats, Token, TokenText, UnknownRole,
};
pub use revocation_reason::RevocationReason;
pub use schema::{CACHE_KIB, MIGRATIONS};
pub use serial::Serial;
