//! CRLs.

use std::sync::Arc;

use uuid::Uuid;

use super::pipeline::Pipeline;
use crate::distinguished_name::DistinguishedName;
use crate::error::{Error, Result};
use crate::intake::Position;
use crate::registry::{RecordedRevocations, RevocationEntry};
use crate::revocation_list::{EntryReason, RevocationList, RevokedEntry};

/// Entries that are recorded together.
const TOGETHER: usize = 1_000;

/// Whose a CRL is.
enum Signer {
    /// This issuer's key signed it.
    Known(Uuid),
    /// No issuer with the key that it names is known.
    Unknown,
    /// It names this known issuer's key, with which nothing can be checked (an unknown algorithm, DSA without
    /// parameters).
    Uncheckable(Uuid),
    /// It names the key of a known issuer, who did not sign it.
    Forged,
}

impl Pipeline<'_> {
    /// Records what a CRL says, if its issuer signed it or is not known.
    pub(super) async fn record_list(&mut self, position: &Position, der: Vec<u8>) -> Result<()> {
        let der = Arc::new(der);
        let list = match RevocationList::from_der(&der) {
            Ok(list) => list,
            Err(error) => {
                self.summary.refuse(position, error);
                return Ok(());
            }
        };
        let signer = self.signer(&list, &der).await?;
        let issuer = match signer {
            Signer::Known(issuer) => issuer,
            Signer::Uncheckable(issuer) => {
                self.summary.unchecked(position);
                issuer
            }
            Signer::Unknown => {
                self.summary.unchecked(position);
                self.registry.record_issuer(list.issuer(), list.authority_key_id()).await?
            }
            Signer::Forged => {
                self.summary.refuse(position, "a CRL whose signature is not its issuer's");
                return Ok(());
            }
        };
        if self.registry.has_list(issuer, &der).await? {
            self.summary.revocations_known += list.entries().filter(Result::is_ok).count() as u64;
            return Ok(());
        }
        let is_checked = matches!(signer, Signer::Known(_));
        let source = self.source_of(position);
        let mut entries = Vec::with_capacity(TOGETHER);
        // In an indirect CRL, entries of several issuers follow each other.
        let mut current: Option<DistinguishedName> = None;
        let mut current_id = issuer;
        for entry in list.entries() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.summary.refuse(position, format!("an entry of the CRL: {error}"));
                    continue;
                }
            };
            let other = entry.certificate_issuer.as_ref().filter(|name| !same(name, list.issuer()));
            if let Some(other) = other.filter(|_| !is_checked) {
                // Else anybody could revoke anybody's certificates.
                let reason = format!(
                    "an entry for {}: a CRL whose signature is not checked speaks for its own issuer only",
                    other.text()
                );
                self.summary.refuse(position, reason);
                continue;
            }
            let changed = match (&current, other) {
                (None, None) => false,
                (Some(current), Some(other)) => !same(current, other),
                _ => true,
            };
            if changed || entries.len() == TOGETHER {
                self.record(current_id, &mut entries, &source).await?;
            }
            if changed {
                current_id = match other {
                    Some(name) => self.issuer_named(name).await?,
                    None => issuer,
                };
                current = other.cloned();
            }
            entries.push(recordable(entry));
        }
        self.record(current_id, &mut entries, &source).await?;
        self.registry.note_list(issuer, &list, &der, &source).await
    }

    /// Records some revocations of one issuer and counts them.
    pub(super) async fn record(
        &mut self,
        issuer: Uuid,
        entries: &mut Vec<RevocationEntry>,
        source: &str,
    ) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let recorded: RecordedRevocations = self.registry.record_revocations(issuer, entries, Some(source)).await?;
        entries.clear();
        self.summary.revocations += recorded.recorded + recorded.changed;
        self.summary.revocations_known += recorded.known;
        self.summary.holds_lifted += recorded.lifted;
        self.report();
        Ok(())
    }

    /// Tries the keys of all known issuers of the CRL's issuer's name.
    async fn signer(&mut self, list: &RevocationList<'_>, der: &Arc<Vec<u8>>) -> Result<Signer> {
        let issuers = self.registry.issuers_named(list.issuer()).await?;
        let named = |key_id: &Option<Vec<u8>>| match (list.authority_key_id(), key_id) {
            (Some(named), Some(key_id)) => named == key_id.as_slice(),
            // Nothing says that another key is meant.
            _ => true,
        };
        let is_named = issuers.iter().any(|issuer| named(&issuer.key_id));
        let uncheckable = issuers.iter().find(|issuer| named(&issuer.key_id) && issuer.key.is_none());
        let uncheckable = uncheckable.map(|issuer| issuer.id);
        let der = der.clone();
        let check = move || {
            // It was taken apart before, so it can be again.
            let list = RevocationList::from_der(&der).ok()?;
            issuers.into_iter().find(|issuer| issuer.key.as_ref().is_some_and(|key| list.is_signed_by(key)))
        };
        let checked = tokio::task::spawn_blocking(check).await;
        let signer = checked.map_err(|_| Error::Worker { doing: "checking a CRL's signature" })?;
        Ok(match (signer, uncheckable) {
            (Some(issuer), _) => Signer::Known(issuer.id),
            (None, Some(issuer)) => Signer::Uncheckable(issuer),
            (None, None) if is_named => Signer::Forged,
            (None, None) => Signer::Unknown,
        })
    }

    /// The issuer of a name, if only one is known, else one known by name alone.
    async fn issuer_named(&mut self, name: &DistinguishedName) -> Result<Uuid> {
        match &self.registry.issuers_named(name).await?[..] {
            [only] => Ok(only.id),
            _ => self.registry.record_issuer(name, None).await,
        }
    }
}

fn same(a: &DistinguishedName, b: &DistinguishedName) -> bool {
    a.comparison_key() == b.comparison_key()
}

fn recordable(entry: RevokedEntry) -> RevocationEntry {
    RevocationEntry {
        serial: entry.serial,
        revoked_at: entry.revoked_at,
        reason: match entry.reason {
            EntryReason::Revoked(reason) => Some(reason),
            EntryReason::RemoveFromCrl => None,
        },
        invalidity_date: entry.invalidity_date,
        not_after: None,
    }
}
