//! Why a certificate was revoked.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A CRLReason of RFC 5280 §5.3.1. Serde writes the names of the RFC (`keyCompromise`).
///
/// Code 7 is unused, and 8 (removeFromCRL) takes a revocation back rather than giving a reason for one; neither
/// is a value of this type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub enum RevocationReason {
    /// Code 0: no reason was given.
    #[default]
    Unspecified,
    /// Code 1: the subject's private key is, or may be, in other hands.
    KeyCompromise,
    /// Code 2: the CA's private key is, or may be, in other hands.
    #[serde(rename = "cACompromise")]
    CaCompromise,
    /// Code 3: the subject's name or affiliation changed.
    AffiliationChanged,
    /// Code 4: another certificate took its place.
    Superseded,
    /// Code 5: no longer needed.
    CessationOfOperation,
    /// Code 6: suspended; may be lifted or made final.
    CertificateHold,
    /// Code 9: a privilege the certificate grants was withdrawn.
    PrivilegeWithdrawn,
    /// Code 10: the attribute authority's key is, or may be, in other hands.
    #[serde(rename = "aACompromise")]
    AaCompromise,
}

/// A text or code that is no reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RevocationReasonError {
    /// removeFromCRL, code 8.
    #[error("removeFromCRL (8) takes a revocation back and is no reason for one: lift the hold instead")]
    RemoveFromCrl,
    /// Anything else, code 7 included.
    #[error(
        "{found:?} is no revocation reason: unspecified (0), keyCompromise (1), cACompromise (2), \
         affiliationChanged (3), superseded (4), cessationOfOperation (5), certificateHold (6), \
         privilegeWithdrawn (9) or aACompromise (10)"
    )]
    Unknown {
        /// The text or code.
        found: String,
    },
}

impl RevocationReason {
    /// Every reason, by its code.
    pub const ALL: [RevocationReason; 9] = [
        RevocationReason::Unspecified,
        RevocationReason::KeyCompromise,
        RevocationReason::CaCompromise,
        RevocationReason::AffiliationChanged,
        RevocationReason::Superseded,
        RevocationReason::CessationOfOperation,
        RevocationReason::CertificateHold,
        RevocationReason::PrivilegeWithdrawn,
        RevocationReason::AaCompromise,
    ];

    /// The CRLReason code: 0 to 6, 9 or 10.
    pub fn code(self) -> u8 {
        match self {
            RevocationReason::Unspecified => 0,
            RevocationReason::KeyCompromise => 1,
            RevocationReason::CaCompromise => 2,
            RevocationReason::AffiliationChanged => 3,
            RevocationReason::Superseded => 4,
            RevocationReason::CessationOfOperation => 5,
            RevocationReason::CertificateHold => 6,
            RevocationReason::PrivilegeWithdrawn => 9,
            RevocationReason::AaCompromise => 10,
        }
    }

    /// The reason with this code. Refuses 7, 8 and everything over 10.
    pub fn from_code(code: u8) -> Result<RevocationReason, RevocationReasonError> {
        RevocationReason::ALL.into_iter().find(|reason| reason.code() == code).ok_or_else(|| match code {
            8 => RevocationReasonError::RemoveFromCrl,
            _ => RevocationReasonError::Unknown { found: code.to_string() },
        })
    }

    /// The name RFC 5280 gives it, such as `keyCompromise`.
    pub fn as_str(self) -> &'static str {
        match self {
            RevocationReason::Unspecified => "unspecified",
            RevocationReason::KeyCompromise => "keyCompromise",
            RevocationReason::CaCompromise => "cACompromise",
            RevocationReason::AffiliationChanged => "affiliationChanged",
            RevocationReason::Superseded => "superseded",
            RevocationReason::CessationOfOperation => "cessationOfOperation",
            RevocationReason::CertificateHold => "certificateHold",
            RevocationReason::PrivilegeWithdrawn => "privilegeWithdrawn",
            RevocationReason::AaCompromise => "aACompromise",
        }
    }
}

impl fmt::Display for RevocationReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for RevocationReason {
    type Err = RevocationReasonError;

    /// Reads a name in any case, with or without `-`, `_` or blanks (`keyCompromise`, `key-compromise`,
    /// `KEY_COMPROMISE`), or a code (`1`). `hold` is certificateHold.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if let Ok(code) = text.parse() {
            return RevocationReason::from_code(code);
        }
        let letters: String =
            text.chars().filter(|c| !matches!(c, '-' | '_' | ' ')).map(|c| c.to_ascii_lowercase()).collect();
        if letters == "removefromcrl" {
            return Err(RevocationReasonError::RemoveFromCrl);
        }
        if letters == "hold" {
            return Ok(RevocationReason::CertificateHold);
        }
        RevocationReason::ALL
            .into_iter()
            .find(|reason| reason.as_str().eq_ignore_ascii_case(&letters))
            .ok_or_else(|| RevocationReasonError::Unknown { found: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_reason_is_read() {
        for text in ["keyCompromise", "key-compromise", "KEY_COMPROMISE", "Key Compromise", " 1 "] {
            assert_eq!(text.parse(), Ok(RevocationReason::KeyCompromise), "{text}");
        }
        assert_eq!("CACompromise".parse(), Ok(RevocationReason::CaCompromise));
        assert_eq!("ca-compromise".parse(), Ok(RevocationReason::CaCompromise));
        assert_eq!("hold".parse(), Ok(RevocationReason::CertificateHold));
    }

    #[test]
    fn names_and_codes_go_both_ways() {
        for reason in RevocationReason::ALL {
            assert_eq!(reason.as_str().parse(), Ok(reason));
            assert_eq!(RevocationReason::from_code(reason.code()), Ok(reason));
            let json = serde_json::to_string(&reason).unwrap();
            assert_eq!(json, format!("\"{reason}\""));
            assert_eq!(serde_json::from_str::<RevocationReason>(&json).unwrap(), reason);
        }
    }

    #[test]
    fn codes_7_and_8_are_refused() {
        assert_eq!("8".parse::<RevocationReason>(), Err(RevocationReasonError::RemoveFromCrl));
        assert_eq!("remove-from-crl".parse::<RevocationReason>(), Err(RevocationReasonError::RemoveFromCrl));
        for text in ["7", "11", "256", "-1", "", "stolen"] {
            let error = text.parse::<RevocationReason>().unwrap_err();
            assert_eq!(error, RevocationReasonError::Unknown { found: text.to_owned() });
        }
    }
}
