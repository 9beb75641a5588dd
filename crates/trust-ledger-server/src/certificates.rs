//! `/v1/certificates`: a file for each thing that can be done.

pub(crate) mod annotate;
mod bulk;
pub(crate) mod expiring;
pub(crate) mod list;
pub(crate) mod one;
pub(crate) mod register;
pub(crate) mod revoke;

use trust_ledger_registry::{Record, Registry};
use uuid::Uuid;

use crate::problem::Problem;

/// Which certificate a path means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Id(Uuid),
    Fingerprint([u8; 32]),
}

impl Which {
    /// An id with its hyphens, or 64 hex digits.
    fn parse(text: &str) -> Result<Which, Problem> {
        if let (36, Ok(id)) = (text.len(), Uuid::try_parse(text)) {
            return Ok(Which::Id(id));
        }
        let fingerprint = fingerprint(text).ok_or_else(|| {
            Problem::malformed(format!("{text:?} is neither an id (a UUID) nor a SHA-256 fingerprint (64 hex digits)"))
        })?;
        Ok(Which::Fingerprint(fingerprint))
    }

    /// The certificate's record.
    async fn find(self, registry: &Registry) -> Result<Record, Problem> {
        let (found, name) = match self {
            Which::Id(id) => (registry.get(id).await?, "id"),
            Which::Fingerprint(fingerprint) => (registry.by_fingerprint(&fingerprint).await?, "fingerprint"),
        };
        found.ok_or_else(|| Problem::not_found(format!("the ledger has no certificate with this {name}")))
    }
}

fn fingerprint(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
    }
    Some(bytes)
}

/// The certificate that was changed, as it is now.
async fn changed(registry: &Registry, id: Uuid) -> Result<Record, Problem> {
    let record = registry.get(id).await?;
    record.ok_or_else(|| Problem::not_found("the certificate was deleted meanwhile"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_fingerprints_are_told_apart_and_others_refused() {
        let id = "0198c2f5-5d0e-7000-8000-0123456789ab";
        assert_eq!(Which::parse(id).unwrap(), Which::Id(id.parse().unwrap()));
        let Which::Fingerprint(bytes) = Which::parse(&"0aF1".repeat(16)).unwrap() else { panic!() };
        assert_eq!(bytes[..2], [0x0a, 0xf1]);
        for wrong in ["", "1a2b", &id.replace('-', ""), &"zz".repeat(32), &"é".repeat(32), "../x"] {
            assert!(Which::parse(wrong).is_err(), "{wrong}");
        }
    }
}
