//! Registering many certificates together.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::Arc;

use strongroom::Value;
use uuid::Uuid;

use super::super::Registry;
use super::super::by_keys::ByKeys;
use super::super::issuers::{Candidate, DnKey, Identity, IssuerRow, identify};
use super::super::revocation_lists::CheckedLists;
use super::{ATTEMPTS, Entry, registration};
use crate::certificate::Certificate;
use crate::error::{Error, Result};
use crate::public_key::PublicKey;
use crate::record::{Annotations, Registration};

/// Certificates that are registered in one transaction at most.
const MAX_TOGETHER: usize = 3_000;

const KNOWN: ByKeys = ByKeys {
    sqlite: "-- known certificates\nSELECT fingerprint, id FROM certificate WHERE fingerprint",
    postgres: "-- known certificates\nSELECT fingerprint, id FROM known_certificates($1)",
};

type Fingerprint = [u8; 32];

impl Registry {
    /// Registers many certificates, as [`register`](Registry::register) does each; the answers are in their order.
    ///
    /// They are committed in transactions of at most 3,000, and each of those is all or nothing: when this fails or is
    /// dropped, those before stay. A certificate that occurs twice is registered once. Issuers among those of one
    /// transaction are known to the others whatever the order. Signatures are checked on a thread for blocking work.
    ///
    /// # Errors
    ///
    /// As [`register`](Registry::register).
    ///
    /// # Panics
    ///
    /// Outside a Tokio runtime.
    pub async fn register_many(
        &self,
        certificates: Vec<Certificate>,
        annotations: &Annotations,
    ) -> Result<Vec<Registration>> {
        Ok(self.register_and_check(certificates, annotations).await?.0)
    }

    /// [`register_many`](Registry::register_many), which tells what became of CRLs that were kept.
    pub(crate) async fn register_and_check(
        &self,
        certificates: Vec<Certificate>,
        annotations: &Annotations,
    ) -> Result<(Vec<Registration>, CheckedLists)> {
        let annotations = annotations.normal();
        let certificates = Arc::new(certificates);
        let mut registrations = Vec::with_capacity(certificates.len());
        let mut lists = CheckedLists::default();
        for start in (0..certificates.len()).step_by(MAX_TOGETHER) {
            let together = start..certificates.len().min(start + MAX_TOGETHER);
            let together = self.register_together(&certificates, together.collect(), &annotations, &mut lists).await?;
            registrations.extend(together);
        }
        Ok((registrations, lists))
    }

    /// Registers the certificates at these positions, in one transaction unless an issuer becomes known meanwhile.
    async fn register_together(
        &self,
        certificates: &Arc<Vec<Certificate>>,
        positions: Vec<usize>,
        annotations: &Annotations,
        lists: &mut CheckedLists,
    ) -> Result<Vec<Registration>> {
        let fingerprint = |position: &usize| *certificates[*position].fingerprint();
        let mut answers: HashMap<Fingerprint, Registration> = self
            .ids_of(positions.iter().map(fingerprint).collect())
            .await?
            .into_iter()
            .map(|(fingerprint, id)| (fingerprint, Registration::AlreadyKnown(id)))
            .collect();
        let mut open = Vec::new();
        let mut seen = answers.clone();
        for position in &positions {
            if let Slot::Vacant(slot) = seen.entry(fingerprint(position)) {
                slot.insert(Registration::AlreadyKnown(Uuid::nil()));
                open.push(*position);
            }
        }
        drop(seen);
        for _ in 0..ATTEMPTS {
            if open.is_empty() {
                break;
            }
            let (ids, inserted) = self.insert_together(certificates, &open, annotations).await?;
            if inserted == ids.len() {
                answers.extend(ids.into_iter().map(|(fingerprint, id)| (fingerprint, Registration::Registered(id))));
                open.clear();
                break;
            }
            // Others registered some of them meanwhile, or an issuer became known: see which are there now.
            let found = self.ids_of(open.iter().map(fingerprint).collect()).await?;
            for (fingerprint, id) in ids {
                if let Some(found) = found.get(&fingerprint) {
                    answers.insert(fingerprint, registration(id, *found));
                }
            }
            open.retain(|position| !found.contains_key(&fingerprint(position)));
            for position in &open {
                self.issuers.forget(certificates[*position].issuer().comparison_key());
            }
        }
        if !open.is_empty() {
            return Err(Error::Contended { what: "an issuer's name" });
        }
        for position in &positions {
            lists.append(self.follow_up(&certificates[*position]).await?);
        }
        let mut registrations = Vec::with_capacity(positions.len());
        for position in &positions {
            // Every position is known or was inserted: nothing is open any more.
            let answer = answers.get_mut(&fingerprint(position)).ok_or(Error::Contended { what: "the ledger" })?;
            registrations.push(*answer);
            *answer = Registration::AlreadyKnown(answer.id());
        }
        Ok(registrations)
    }

    /// One transaction. Gives back the ids that the certificates have if they were inserted, and how many were.
    async fn insert_together(
        &self,
        certificates: &Arc<Vec<Certificate>>,
        positions: &[usize],
        annotations: &Annotations,
    ) -> Result<(Vec<(Fingerprint, Uuid)>, usize)> {
        let identities = self.identify_together(certificates, positions).await?;
        let now = self.now();
        let identified = || positions.iter().map(|position| &certificates[*position]).zip(&identities);
        let issuers = self.issuers_to_record(identified());
        let entries: Vec<Entry<'_>> = identified()
            .map(|(certificate, identity)| Entry::new(certificate, annotations, identity, &self.author, now))
            .collect();
        let ids = entries.iter().map(|entry| (*entry.certificate.fingerprint(), entry.id)).collect();
        let inserted = self.insert(&issuers, &entries).await?;
        self.issuers.recorded(&issuers);
        self.overtaken(entries.iter().filter_map(|entry| entry.tried_under)).await?;
        Ok((ids, usize::try_from(inserted).unwrap_or(usize::MAX)))
    }

    /// Finds the issuers, those among the certificates included.
    async fn identify_together(
        &self,
        certificates: &Arc<Vec<Certificate>>,
        positions: &[usize],
    ) -> Result<Vec<Identity>> {
        let mut candidates: HashMap<DnKey, Vec<Candidate>> = HashMap::new();
        for position in positions {
            let name = certificates[*position].issuer().comparison_key();
            if !candidates.contains_key(name) {
                candidates.insert(*name, self.issuers.candidates(&self.db, name).await?.to_vec());
            }
        }
        let certificates = certificates.clone();
        let positions = positions.to_vec();
        let identify = move || {
            let certificates: Vec<&Certificate> = positions.iter().map(|position| &certificates[*position]).collect();
            identify_all(&certificates, candidates)
        };
        tokio::task::spawn_blocking(identify).await.map_err(|_| Error::Worker { doing: "checking signatures" })
    }

    /// The ids of those fingerprints that are known.
    pub(super) async fn ids_of(
        &self,
        fingerprints: Vec<Fingerprint>,
    ) -> strongroom::Result<HashMap<Fingerprint, Uuid>> {
        let mut ids = HashMap::new();
        if fingerprints.is_empty() {
            return Ok(ids);
        }
        let mut session = self.db.read_session().await?;
        for (sql, params) in KNOWN.statements(self.db.dialect(), None, fingerprints.iter().map(Value::from)) {
            for row in session.fetch_all(&sql, params).await? {
                ids.insert(row.get(0)?, row.get(1)?);
            }
        }
        Ok(ids)
    }
}

/// Finds the issuers of certificates among the candidates, to which it adds those that the certificates make known.
fn identify_all(certificates: &[&Certificate], mut candidates: HashMap<DnKey, Vec<Candidate>>) -> Vec<Identity> {
    for certificate in certificates {
        let own_name = certificate.subject().comparison_key() == certificate.issuer().comparison_key();
        if !certificate.is_ca() && !own_name {
            continue;
        }
        let Some(known) = candidates.get_mut(certificate.subject().comparison_key()) else { continue };
        let id = IssuerRow::resolved_by(certificate).id;
        let key = PublicKey::from_spki(certificate.public_key());
        // Without basicConstraints, only a certificate that signed itself makes its holder an issuer.
        let issues = certificate.is_ca() || key.as_ref().is_some_and(|key| certificate.is_signed_by(key));
        if issues && known.iter().all(|candidate| candidate.id != id) {
            let key_id = certificate.subject_key_id().map(<[u8]>::to_vec);
            known.push(Candidate { id, key_id, key });
        }
    }
    let of = |certificate: &&Certificate| {
        let known = candidates.get(certificate.issuer().comparison_key());
        identify(certificate, known.map_or(&[], Vec::as_slice))
    };
    certificates.iter().map(of).collect()
}
