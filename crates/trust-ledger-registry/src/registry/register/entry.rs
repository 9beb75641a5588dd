//! A certificate on its way into the database: every column, computed once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use serde_json::json;
use sha2::{Digest, Sha256};
use strongroom::Value;
use time::OffsetDateTime;
use uuid::{Builder, Uuid};

use super::super::author::Author;
use super::super::event::{EventRow, action};
use super::super::issuers::{DnKey, Identity};
use super::super::row::hex;
use crate::certificate::{Category, Certificate};
use crate::name::{reversed_key, search_key};
use crate::record::{Annotations, category_code, weak_column};
use crate::timestamp;

/// A row of `certificate` and what belongs to it.
pub(super) struct Entry<'a> {
    pub(super) id: Uuid,
    pub(super) certificate: &'a Certificate,
    annotations: &'a Annotations,
    category: Category,
    issuer: Uuid,
    /// The issuer's name, and how many resolved issuers of it there must be for the row to be inserted; None when the
    /// issuer's signature was verified.
    pub(super) tried_under: Option<(DnKey, i64)>,
    names: SearchNames,
    /// Who registers it.
    pub(super) author: &'a Arc<Author>,
    /// When.
    pub(super) now: OffsetDateTime,
}

impl<'a> Entry<'a> {
    pub(super) fn new(
        certificate: &'a Certificate,
        annotations: &'a Annotations,
        identity: &Identity,
        author: &'a Arc<Author>,
        now: OffsetDateTime,
    ) -> Entry<'a> {
        Entry {
            id: new_id(now),
            certificate,
            annotations,
            category: annotations.category.unwrap_or_else(|| certificate.default_category()),
            issuer: identity.id,
            tried_under: identity.tried_under(certificate),
            names: SearchNames::of(
                certificate.common_name(),
                certificate.names().iter().map(|name| name.value.as_str()),
            ),
            author,
            now,
        }
    }

    /// How many columns of a row are given.
    pub(super) const COLUMNS: usize = 30;

    /// The values of the row, in the order of its columns.
    pub(super) fn values(&self) -> Vec<Value> {
        let certificate = self.certificate;
        vec![
            self.id.into(),
            certificate.fingerprint().into(),
            self.issuer.into(),
            certificate.serial().as_bytes().into(),
            certificate.subject().text().into(),
            certificate.issuer().text().into(),
            certificate.common_name().into(),
            json!(certificate.names()).to_string().into(),
            certificate.not_before().into(),
            certificate.not_after().into(),
            category_code(self.category).into(),
            certificate.key_algorithm().into(),
            certificate.key_bits().into(),
            certificate.signature_algorithm().into(),
            i64::from(certificate.is_ca()).into(),
            i64::from(certificate.is_precertificate()).into(),
            weak_column(certificate).into(),
            public_key_hash(certificate.public_key()).into(),
            key_holder(certificate).into(),
            names_key(&self.names, certificate).into(),
            self.annotations.source.as_deref().into(),
            self.annotations.owner.as_deref().into(),
            json!(self.annotations.tags).to_string().into(),
            self.annotations.note.as_deref().into(),
            self.annotations.files.into(),
            self.now.into(),
            i64::from(certificate.not_after() < self.now).into(),
            certificate.der().into(),
            certificate.may_sign_lists().then(|| certificate.subject().comparison_key()).into(),
            certificate.list_delegate().into(),
        ]
    }

    /// Its names in the form for search.
    pub(super) fn names(&self) -> &SearchNames {
        &self.names
    }

    /// Its tags.
    pub(super) fn tags(&self) -> &'a [String] {
        &self.annotations.tags
    }

    /// The event of its registration.
    pub(super) fn registered(&self) -> EventRow {
        EventRow {
            at: self.now,
            author: Arc::clone(self.author),
            action: action::CERTIFICATE_REGISTERED,
            object: self.id,
            before: None,
            after: Some(self.to_json()),
        }
    }

    /// What an event says of the new record: enough to tell later which certificate it was.
    pub(super) fn to_json(&self) -> String {
        let certificate = self.certificate;
        json!({
            "fingerprint_sha256": hex(certificate.fingerprint()),
            "issuer_id": self.issuer,
            "serial": certificate.serial().to_hex(),
            "subject": certificate.subject().text(),
            "not_after": timestamp::text(certificate.not_after()),
            "category": self.category,
            "source": self.annotations.source,
            "owner": self.annotations.owner,
            "tags": self.annotations.tags,
            "note": self.annotations.note,
        })
        .to_string()
    }
}

/// A UUIDv7 of exactly this millisecond: so a range of times of registration is a range of ids, even where the clock was set
/// back. Of the same millisecond, those of a process are in the order in which they are made.
fn new_id(now: OffsetDateTime) -> Uuid {
    // Counts all ids of the process in the 42 bits that follow the time (RFC 9562, section 6.2, method 1). Half of them are
    // above where it begins.
    static COUNT: LazyLock<AtomicU64> = LazyLock::new(|| AtomicU64::new(u64::from(random()) << 9));
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut rest = [0; 10];
    // The version takes four bits before the first twelve of them, the variant two before the others.
    rest[..2].copy_from_slice(&((count >> 30) as u16 & 0xfff).to_be_bytes());
    rest[2..6].copy_from_slice(&(count as u32 & 0x3fff_ffff).to_be_bytes());
    rest[6..].copy_from_slice(&random().to_be_bytes());
    let millis = u64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or_default();
    Builder::from_unix_timestamp_millis(millis, &rest).into_uuid()
}

/// The bits of a UUIDv7 that are random whatever its time.
fn random() -> u32 {
    Uuid::now_v7().as_u128() as u32
}

/// The names of a certificate in the forms in which they are searched: sorted, each once.
pub(in super::super) struct SearchNames {
    /// For equality and beginnings.
    pub(in super::super) keys: Vec<String>,
    /// For ends; only of names that a pattern for ends can fit.
    pub(in super::super) reversed: Vec<String>,
}

impl SearchNames {
    pub(in super::super) fn of<'n>(common_name: Option<&'n str>, names: impl Iterator<Item = &'n str>) -> SearchNames {
        let mut keys = Vec::new();
        let mut reversed = Vec::new();
        for name in common_name.into_iter().chain(names) {
            let key = search_key(name);
            if key.is_empty() || keys.contains(&key) {
                continue;
            }
            if name.contains(['.', '@']) {
                reversed.push(reversed_key(name));
            }
            keys.push(key);
        }
        for names in [&mut keys, &mut reversed] {
            names.sort_unstable();
            names.dedup();
        }
        SearchNames { keys, reversed }
    }
}

/// What a renewal has in common with its predecessor: the set of names, or, as for display, the subject of a
/// certificate without names, or its fingerprint.
fn names_key(names: &SearchNames, certificate: &Certificate) -> [u8; 16] {
    let mut hash = Sha256::new();
    if !names.keys.is_empty() {
        for name in &names.keys {
            hash.update((name.len() as u64).to_be_bytes());
            hash.update(name);
        }
    } else if !certificate.subject().is_empty() {
        hash.update(b"subject");
        hash.update(certificate.subject().comparison_key());
    } else {
        hash.update(b"fingerprint");
        hash.update(certificate.fingerprint());
    }
    let mut key = [0; 16];
    key.copy_from_slice(&hash.finalize()[..16]);
    key
}

/// Whom the key may serve without being reused; see the schema.
fn key_holder(certificate: &Certificate) -> i64 {
    if certificate.is_ca() {
        return ca_key_holder(certificate.subject().comparison_key());
    }
    let mut hash = Sha256::new();
    hash.update(b"issuer and serial");
    hash.update(certificate.issuer().comparison_key());
    hash.update(certificate.serial().as_bytes());
    first_64_bits(hash)
}

/// The holder of a CA's key: the CA's name.
pub(in super::super) fn ca_key_holder(name: &DnKey) -> i64 {
    let mut hash = Sha256::new();
    hash.update(b"subject");
    hash.update(name);
    first_64_bits(hash)
}

/// The hash of a public key (SubjectPublicKeyInfo, DER) that rows are found by.
pub(in super::super) fn public_key_hash(public_key: &[u8]) -> [u8; 16] {
    let mut hash = [0; 16];
    hash.copy_from_slice(&Sha256::digest(public_key)[..16]);
    hash
}

fn first_64_bits(hash: Sha256) -> i64 {
    let mut bits = [0; 8];
    bits.copy_from_slice(&hash.finalize()[..8]);
    i64::from_be_bytes(bits)
}

#[cfg(test)]
mod tests {
    use time::Duration;

    use super::*;

    #[test]
    fn an_id_has_the_time_of_its_registration_and_the_order_within_it() {
        let start = OffsetDateTime::from_unix_timestamp(1_900_000_000).unwrap();
        let mut of_millisecond = std::collections::HashMap::<i64, Vec<Uuid>>::new();
        // Forth, within a millisecond, and back.
        for after in [0, 1, 1, 900, 1_700, 1_700, 90_000_000, 5_000, 5_000, 5_100, 1, 1_800] {
            let now = start + Duration::microseconds(after);
            let id = new_id(now);
            assert_eq!(id.get_version_num(), 7);
            assert_eq!(id.get_variant(), uuid::Variant::RFC4122);
            assert_eq!(id.as_u128() >> 80, u128::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap());
            of_millisecond.entry(after / 1_000).or_default().push(id);
        }
        assert!(of_millisecond.values().all(|ids| ids.is_sorted()), "{of_millisecond:?}");
        assert_eq!(of_millisecond[&0].len(), 5);
    }
}
