//! Errors of the register.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::timestamp;

/// The result of the register's operations.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation of the register did not take place.
///
/// What an operation was asked about and did not find is an answer, not an error. A database error is always
/// [`Database`](Error::Database), never an empty answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database failed; nothing of the operation is known to be stored unless the cause says so.
    #[error("the ledger's database failed")]
    Database(#[from] strongroom::Error),
    /// A stored value is not what this program writes.
    #[error("the ledger is damaged: {what} of {object} cannot be read")]
    Damaged {
        /// Which value, such as `reason`.
        what: &'static str,
        /// Whose, such as a certificate's id.
        object: String,
    },
    /// A revocation was dated after now.
    #[error("revoked at {} lies in the future (now {})", timestamp::text(*revoked_at), timestamp::text(*now))]
    RevokedInFuture {
        /// The date that was given.
        revoked_at: OffsetDateTime,
        /// The ledger's clock.
        now: OffsetDateTime,
    },
    /// A certificate that has not expired was to be deleted without force.
    #[error("certificate {id} is valid until {}: only expired ones are deleted without force", timestamp::text(*not_after))]
    NotExpired {
        /// The certificate.
        id: Uuid,
        /// The end of its validity.
        not_after: OffsetDateTime,
    },
    /// A revoked certificate that has not expired was to be deleted: it must stay on its issuer's CRL.
    #[error("certificate {id} is revoked and valid until {}: it cannot be deleted before", timestamp::text(*not_after))]
    RevokedUnexpired {
        /// The certificate.
        id: Uuid,
        /// The end of its validity.
        not_after: OffsetDateTime,
    },
    /// A list was asked to go on from a place that no list gave out.
    #[error("{found:?} is no cursor of a list")]
    Cursor {
        /// What was given.
        found: String,
    },
    /// A page of no or too many records was asked for.
    #[error("a page holds 1 to {most} records, not {found}")]
    PageSize {
        /// What was asked for.
        found: u32,
        /// The most a page holds.
        most: u32,
    },
    /// No issuer has this id.
    #[error("the ledger knows no issuer {id}")]
    UnknownIssuer {
        /// What was asked for.
        id: Uuid,
    },
    /// A token was to have no name, or one of blanks.
    #[error("a token needs a name, which the audit trail shows for whoever presents it")]
    TokenWithoutName,
    /// A live token has the name that another was to get.
    #[error("a live token is named {name:?}: revoke it, or choose another name")]
    TokenNameTaken {
        /// The name.
        name: String,
    },
    /// A token was to expire before it is made.
    #[error("a token cannot expire at {}: it is {} now", timestamp::text(*expires_at), timestamp::text(*now))]
    TokenExpiresInPast {
        /// When it was to expire.
        expires_at: OffsetDateTime,
        /// The ledger's clock.
        now: OffsetDateTime,
    },
    /// The system gave no random bytes for a secret.
    #[error("no random bytes can be had")]
    Random(#[source] openssl::error::ErrorStack),
    /// An input could not be read.
    #[error("{input} cannot be read")]
    Input {
        /// The file, folder or stream.
        input: String,
        /// The cause.
        source: std::io::Error,
    },
    /// A worker thread ended without an answer; what was committed before stays.
    #[error("a worker of the ledger stopped while it was {doing}")]
    Worker {
        /// What it was doing.
        doing: &'static str,
    },
    /// The ledger that was to be copied could not be read; what was copied before stays, and copying again goes on there.
    #[error("the ledger to copy failed")]
    CopySource(#[source] strongroom::Error),
    /// The ledger that was copied into failed; what was copied before stays, and copying again goes on there.
    #[error("the ledger to copy into failed")]
    CopyTarget(#[source] strongroom::Error),
    /// A ledger was to be copied into one that holds something else; nothing was written.
    #[error(
        "the ledger to copy into has rows of table {table} that differ from the source's: it is another ledger, or the \
         source has changed since a copy was begun; nothing was written, begin with an empty one"
    )]
    CopyRefused {
        /// The first table in which they differ.
        table: &'static str,
    },
    /// Other writers changed the same thing again and again while this operation tried to.
    #[error("{what} kept changing under this operation; try again")]
    Contended {
        /// What changed.
        what: &'static str,
    },
}
