//! Whether a certificate can be relied on now.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

/// Whether a certificate can be relied on now. Computed at reading; the first that applies, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// `revoked`: for good.
    Revoked,
    /// `on-hold`: revoked with reason certificateHold, which may be lifted.
    OnHold,
    /// `expired`: now is after notAfter.
    Expired,
    /// `not-yet-valid`: now is before notBefore.
    NotYetValid,
    /// `valid`: none of these. Both bounds of validity are part of it.
    Valid,
    /// `unknown`: answers only a serial of which the ledger has neither certificate nor revocation.
    Unknown,
}

impl Status {
    /// Every status a certificate can have.
    pub const ALL: [Status; 5] = [Status::Revoked, Status::OnHold, Status::Expired, Status::NotYetValid, Status::Valid];

    /// The status as it is shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Revoked => "revoked",
            Status::OnHold => "on-hold",
            Status::Expired => "expired",
            Status::NotYetValid => "not-yet-valid",
            Status::Valid => "valid",
            Status::Unknown => "unknown",
        }
    }

    /// The status of a certificate; `revoked` is its column: 0 no, 1 on hold, 2 for good.
    pub(crate) fn compute(
        revoked: i64,
        not_before: OffsetDateTime,
        not_after: OffsetDateTime,
        now: OffsetDateTime,
    ) -> Status {
        match revoked {
            REVOKED => Status::Revoked,
            ON_HOLD => Status::OnHold,
            _ if now > not_after => Status::Expired,
            _ if now < not_before => Status::NotYetValid,
            _ => Status::Valid,
        }
    }
}

/// Values of the column `certificate.revoked`.
pub(crate) const ON_HOLD: i64 = 1;
pub(crate) const REVOKED: i64 = 2;

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that is no status of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is no status: valid, revoked, on-hold, expired or not-yet-valid")]
pub struct UnknownStatus {
    /// The text.
    pub found: String,
}

impl FromStr for Status {
    type Err = UnknownStatus;

    /// Reads a status of a certificate in any case; `unknown` is none.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Status::ALL
            .into_iter()
            .find(|status| status.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownStatus { found: text.to_owned() })
    }
}
