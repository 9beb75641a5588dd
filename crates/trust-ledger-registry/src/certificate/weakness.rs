//! Faults in how a certificate was made.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Certificate;

/// Least RSA modulus that counts as strong, in bits (NIST SP 800-131A).
const LEAST_RSA_BITS: u32 = 2048;

/// A fault that makes a certificate weak, whatever its status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "finding")]
#[non_exhaustive]
pub enum Weakness {
    /// Signed over MD2, MD4, MD5 or SHA-1, for which others can make a certificate with the same signature. Said of
    /// self-signed roots too, although nobody relies on their signature: they show who has not renewed.
    WeakSignature {
        /// The hash: `MD2`, `MD4`, `MD5` or `SHA-1`.
        hash: String,
    },
    /// RSA under 2048 bits, which can be factored.
    WeakKey {
        /// Bits of the modulus.
        bits: u32,
    },
}

impl Weakness {
    /// The finding's fixed name: `weak-signature` or `weak-key`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Weakness::WeakSignature { .. } => "weak-signature",
            Weakness::WeakKey { .. } => "weak-key",
        }
    }
}

impl fmt::Display for Weakness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Weakness::WeakSignature { hash } => write!(f, "weak-signature: signed over {hash}"),
            Weakness::WeakKey { bits } => write!(f, "weak-key: RSA of {bits} bits"),
        }
    }
}

pub(super) fn of(certificate: &Certificate) -> Vec<Weakness> {
    let mut found = Vec::new();
    if let Some(hash) = certificate.weak_hash {
        found.push(Weakness::WeakSignature { hash: hash.to_owned() });
    }
    if certificate.key_algorithm.starts_with("RSA")
        && let Some(bits) = certificate.key_bits.filter(|bits| *bits < LEAST_RSA_BITS)
    {
        found.push(Weakness::WeakKey { bits });
    }
    found
}
