//! Who issued a certificate.
//!
//! Terms: an issuer is *resolved* when a certificate of it is known, so that its key can check signatures; its identity is
//! then (name, key), else (name, authority key identifier). A *candidate* for a certificate is a resolved issuer with
//! the name that the certificate gives as its issuer's.
//!
//! Resolved issuers are never deleted. What is remembered here is therefore only ever too little, never wrong, and
//! their number per name is a version: whoever found no candidate to fit says how many were tried, and the insert
//! is refused when there are more by then.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use sha2::{Digest, Sha256};
use strongroom::{Database, Params, params};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::certificate::Certificate;
use crate::error::Result;
use crate::public_key::PublicKey;

/// The comparison key of a distinguished name.
pub(super) type DnKey = [u8; 32];

/// Names remembered at most; beyond, all are forgotten. A name takes about 1 KiB with its parsed key.
const REMEMBERED_NAMES: usize = 20_000;

/// A resolved issuer that may have signed a certificate.
#[derive(Clone)]
pub(crate) struct Candidate {
    pub(crate) id: Uuid,
    pub(crate) key_id: Option<Vec<u8>>,
    /// None when OpenSSL cannot use the key; then nothing can be said to be signed by it.
    pub(crate) key: Option<PublicKey>,
}

/// What is known of issuers without asking the database.
#[derive(Default)]
pub(super) struct Issuers {
    candidates: RwLock<HashMap<DnKey, Arc<[Candidate]>>>,
    /// Issuers whose row is committed.
    recorded: RwLock<HashSet<Uuid>>,
}

impl Issuers {
    /// The candidates for a name, from memory or the database.
    pub(super) async fn candidates(&self, db: &Database, name: &DnKey) -> Result<Arc<[Candidate]>> {
        const SQL: &str = "-- candidates\n\
            SELECT id, public_key, key_id FROM issuer WHERE dn_key = $1 AND public_key IS NOT NULL ORDER BY id";
        let remembered = self.candidates.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if let Some(candidates) = remembered {
            return Ok(candidates);
        }
        let rows = db.fetch_all(SQL, params![name]).await?;
        let candidates: Arc<[Candidate]> = rows
            .iter()
            .map(|row| {
                let key = PublicKey::from_spki(&row.get::<Vec<u8>>(1)?);
                Ok(Candidate { id: row.get(0)?, key, key_id: row.get(2)? })
            })
            .collect::<Result<Vec<_>>>()?
            .into();
        let mut memory = self.candidates.write().unwrap_or_else(PoisonError::into_inner);
        if memory.len() >= REMEMBERED_NAMES {
            memory.clear();
        }
        memory.insert(*name, candidates.clone());
        Ok(candidates)
    }

    /// Makes the next question about a name go to the database.
    pub(super) fn forget(&self, name: &DnKey) {
        self.candidates.write().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    /// Whether an issuer's row is known to be there.
    pub(super) fn is_recorded(&self, id: &Uuid) -> bool {
        self.recorded.read().unwrap_or_else(PoisonError::into_inner).contains(id)
    }

    /// Remembers rows that have been committed.
    pub(super) fn recorded(&self, rows: &[IssuerRow]) {
        for row in rows {
            if row.public_key.is_some() {
                self.forget(&row.dn_key);
            }
        }
        let mut recorded = self.recorded.write().unwrap_or_else(PoisonError::into_inner);
        if recorded.len() >= REMEMBERED_NAMES {
            recorded.clear();
        }
        recorded.extend(rows.iter().map(|row| row.id));
    }
}

/// Who issued a certificate, as far as can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) id: Uuid,
    /// When none fitted: how many resolved issuers of the name there were, with the one that the certificate itself
    /// makes known.
    pub(super) tried: Option<usize>,
    /// Whether the certificate's own key signed it.
    pub(super) self_signed: bool,
}

impl Identity {
    /// The issuer's name that the certificate is registered under, while none of so many resolved issuers of it fitted.
    pub(super) fn tried_under(&self, certificate: &Certificate) -> Option<(DnKey, i64)> {
        let tried = self.tried.and_then(|tried| i64::try_from(tried).ok())?;
        Some((*certificate.issuer().comparison_key(), tried))
    }
}

/// Finds the issuer among the candidates, or the certificate itself. Checks signatures, some 50 µs each; first by the key that
/// the certificate names, since a CA that changes its key keeps its name.
pub(super) fn identify(certificate: &Certificate, candidates: &[Candidate]) -> Identity {
    let name = certificate.issuer().comparison_key();
    if certificate.subject().comparison_key() == name {
        let id = resolved_id(name, certificate.public_key());
        let known = candidates.iter().find(|candidate| candidate.id == id).and_then(|candidate| candidate.key.clone());
        let key = known.or_else(|| PublicKey::from_spki(certificate.public_key()));
        if key.is_some_and(|key| certificate.is_signed_by(&key)) {
            return Identity { id, tried: None, self_signed: true };
        }
    }
    let is_named = |candidate: &&Candidate| {
        candidate.key_id.is_some() && candidate.key_id.as_deref() == certificate.authority_key_id()
    };
    let (named, others): (Vec<_>, Vec<_>) = candidates.iter().partition(is_named);
    for candidate in named.into_iter().chain(others) {
        if candidate.key.as_ref().is_some_and(|key| certificate.is_signed_by(key)) {
            return Identity { id: candidate.id, tried: None, self_signed: false };
        }
    }
    let id = unresolved_id(name, certificate.authority_key_id());
    let own = certificate.is_ca() && certificate.subject().comparison_key() == name && {
        let own = resolved_id(name, certificate.public_key());
        candidates.iter().all(|candidate| candidate.id != own)
    };
    Identity { id, tried: Some(candidates.len() + usize::from(own)), self_signed: false }
}

/// A row of the table `issuer`.
#[derive(Clone, Debug)]
pub(super) struct IssuerRow {
    pub(super) id: Uuid,
    pub(super) dn_key: DnKey,
    pub(super) name: String,
    pub(super) key_id: Option<Vec<u8>>,
    pub(super) public_key: Option<Vec<u8>>,
}

impl IssuerRow {
    pub(super) const INSERT: &str = "-- record issuer\n\
        INSERT INTO issuer (id, dn_key, name, key_id, public_key, recorded_at) \
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (id) DO NOTHING";

    pub(super) fn params(&self, now: OffsetDateTime) -> Params {
        params![self.id, self.dn_key, &self.name, self.key_id.clone(), self.public_key.clone(), now]
    }

    /// The issuer that a CA or self-signed certificate makes known.
    pub(super) fn resolved_by(certificate: &Certificate) -> IssuerRow {
        let dn_key = *certificate.subject().comparison_key();
        IssuerRow {
            id: resolved_id(&dn_key, certificate.public_key()),
            dn_key,
            name: certificate.subject().text().to_owned(),
            key_id: certificate.subject_key_id().map(<[u8]>::to_vec),
            public_key: Some(certificate.public_key().to_vec()),
        }
    }

    /// An issuer of which only the name and perhaps a key identifier is known.
    pub(super) fn unresolved(dn_key: &DnKey, name: &str, key_id: Option<&[u8]>) -> IssuerRow {
        IssuerRow {
            id: unresolved_id(dn_key, key_id),
            dn_key: *dn_key,
            name: name.to_owned(),
            key_id: key_id.map(<[u8]>::to_vec),
            public_key: None,
        }
    }

    /// The issuers that must have a row before the certificate has one.
    pub(super) fn required_by(certificate: &Certificate, identity: &Identity) -> impl Iterator<Item = IssuerRow> {
        let resolved = (certificate.is_ca() || identity.self_signed).then(|| IssuerRow::resolved_by(certificate));
        let unresolved = identity.tried.is_some().then(|| {
            let name = certificate.issuer();
            IssuerRow::unresolved(name.comparison_key(), name.text(), certificate.authority_key_id())
        });
        resolved.into_iter().chain(unresolved)
    }
}

/// The issuer that a CA certificate makes known.
pub(crate) fn issuer_made_known(certificate: &Certificate) -> Uuid {
    resolved_id(certificate.subject().comparison_key(), certificate.public_key())
}

/// The id of the issuer with this name and key (SubjectPublicKeyInfo, DER).
pub(super) fn resolved_id(name: &DnKey, public_key: &[u8]) -> Uuid {
    identity_uuid(name, b"key", Some(public_key))
}

/// The id of the issuer with this name that certificates point to by this key identifier, or by none.
pub(super) fn unresolved_id(name: &DnKey, key_id: Option<&[u8]>) -> Uuid {
    identity_uuid(name, b"aki", key_id)
}

/// A UUIDv8 (RFC 9562 §5.8) of the first 122 bits of SHA-256. An empty and a missing identifier differ.
fn identity_uuid(name: &DnKey, kind: &[u8; 3], identifier: Option<&[u8]>) -> Uuid {
    let mut hash = Sha256::new();
    hash.update(name);
    hash.update(kind);
    hash.update([u8::from(identifier.is_some())]);
    hash.update(identifier.unwrap_or_default());
    let digest = hash.finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuers_id_depends_on_name_kind_and_identifier_only() {
        let (a, b) = ([1; 32], [2; 32]);
        assert_eq!(resolved_id(&a, b"key"), resolved_id(&a, b"key"));
        assert_eq!(resolved_id(&a, b"key").get_version_num(), 8);
        let ids = [
            resolved_id(&a, b"key"),
            resolved_id(&b, b"key"),
            unresolved_id(&a, Some(b"key")),
            unresolved_id(&a, Some(b"")),
            unresolved_id(&a, None),
        ];
        assert_eq!(HashSet::from(ids).len(), ids.len());
    }

    #[test]
    fn an_issuers_id_never_changes_between_versions() {
        // Ledgers are compared and merged by these ids: a change here is a migration.
        assert_eq!(unresolved_id(&[0; 32], None).to_string(), "6e19a299-04a4-8f41-ba6c-5a52903acc9d");
    }
}
