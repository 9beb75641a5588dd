//! What is wrong with a certificate.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::certificate::{Certificate, Weakness};

/// Something about a certificate that whoever answers for it should know. Written in kebab case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Finding {
    /// `duplicate-serial`: its issuer gave the same serial to another certificate (RFC 5280 §4.1.2.2 forbids it). A
    /// precertificate and its certificate share a serial by design and are not meant.
    DuplicateSerial,
    /// `weak-signature`: signed over MD5, SHA-1 or older.
    WeakSignature,
    /// `weak-key`: RSA under 2048 bits.
    WeakKey,
    /// `key-reuse`: its public key is also in another certificate. CA certificates of one subject (cross-signed,
    /// renewed) and a precertificate with its certificate are not meant.
    KeyReuse,
}

impl Finding {
    /// Every finding.
    pub const ALL: [Finding; 4] =
        [Finding::DuplicateSerial, Finding::WeakSignature, Finding::WeakKey, Finding::KeyReuse];

    /// The finding as it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Finding::DuplicateSerial => "duplicate-serial",
            Finding::WeakSignature => "weak-signature",
            Finding::WeakKey => "weak-key",
            Finding::KeyReuse => "key-reuse",
        }
    }

    /// The findings that three columns of a certificate tell.
    pub(crate) fn from_columns(weak: i64, duplicate_serial: bool, key_reused: bool) -> Vec<Finding> {
        let present = |finding: &Finding| match finding {
            Finding::DuplicateSerial => duplicate_serial,
            Finding::WeakSignature => weak & WEAK_SIGNATURE != 0,
            Finding::WeakKey => weak & WEAK_KEY != 0,
            Finding::KeyReuse => key_reused,
        };
        Finding::ALL.into_iter().filter(present).collect()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

const WEAK_SIGNATURE: i64 = 1;
const WEAK_KEY: i64 = 2;

/// The column `weak` of a certificate.
pub(crate) fn weak_column(certificate: &Certificate) -> i64 {
    certificate.weaknesses().iter().fold(0, |bits, weakness| match weakness {
        Weakness::WeakSignature { .. } => bits | WEAK_SIGNATURE,
        Weakness::WeakKey { .. } => bits | WEAK_KEY,
    })
}
