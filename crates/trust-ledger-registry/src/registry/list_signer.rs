//! Who signed a CRL, and for whom it may speak.
//!
//! A CRL is its issuer's by name, and its signature is checked with a key of that name (RFC 5280 §6.3.3 (f)): a CA's, or
//! one whose certificate has keyUsage cRLSign. Names alone prove nothing, so keys of one name count as one CA's only when
//! one trust anchor is above them: a CA that changed its key, or signs its CRLs with another, has such a one; two
//! strangers who chose the same name have not.

use std::collections::HashSet;
use std::sync::Arc;

use strongroom::params;
use uuid::Uuid;

use super::Registry;
use super::issuers::{Candidate, DnKey};
use super::register::{ca_key_holder, public_key_hash};
use super::row::damaged;
use crate::certificate::Certificate;
use crate::error::{Error, Result};
use crate::public_key::PublicKey;
use crate::revocation_list::RevocationList;

/// Issuers above one another at most; far more than any hierarchy has.
const MAX_ANCESTORS: usize = 100;

/// Who signed a CRL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Signer {
    /// A key of this CA, or one that it has for its CRLs.
    Ca {
        /// The CA by the key that signed, or, if that signs CRLs only, by one that signs certificates.
        issuer: Uuid,
        /// The same CA by its other keys.
        others: Vec<Uuid>,
    },
    /// A key whose certificate a known CA issued, but of no CA: it can speak for those who delegated to it.
    Delegate {
        /// The CA that issued its certificate.
        above: Uuid,
    },
    /// Nobody whose key is known.
    Unknown,
    /// It names this known issuer's key, with which nothing can be checked (an unknown algorithm, DSA without
    /// parameters).
    Uncheckable(Uuid),
    /// It names the key of a known issuer, who did not sign it.
    Forged,
}

impl Registry {
    /// Tries the keys of all known issuers of the CRL's issuer's name, and those that sign CRLs only.
    pub(super) async fn signer(&self, list: &RevocationList<'_>, der: &Arc<Vec<u8>>) -> Result<Signer> {
        let issuers = self.issuers_named(list.issuer()).await?;
        let delegates = self.list_keys(list.issuer().comparison_key()).await?;
        let mut keys: Vec<Option<PublicKey>> = issuers.iter().map(|issuer| issuer.key.clone()).collect();
        keys.extend(delegates.iter().map(|(_, key)| key.clone()));
        match (signed_by(der, keys).await?, &issuers[..]) {
            (Some(position), _) if position < issuers.len() => {
                let issuer = issuers[position].id;
                let mut others = self.same_ca(issuer, &issuers).await?;
                others.retain(|other| *other != issuer);
                Ok(Signer::Ca { issuer, others })
            }
            (Some(position), []) => Ok(Signer::Delegate { above: delegates[position].0 }),
            (Some(position), _) => {
                let (above, _) = delegates[position - issuers.len()];
                let mut same = self.same_ca(above, &issuers).await?;
                // A key that the CA itself certified is that of the CA by the key that did.
                same.sort_by_key(|issuer| *issuer != above);
                Ok(match same.split_first() {
                    Some((issuer, others)) => Signer::Ca { issuer: *issuer, others: others.to_vec() },
                    None => Signer::Unknown,
                })
            }
            (None, _) => Ok(unsigned(list, &issuers)),
        }
    }

    /// Those of the issuers that have a trust anchor in common with this one.
    async fn same_ca(&self, issuer: Uuid, issuers: &[Candidate]) -> Result<Vec<Uuid>> {
        if let [only] = issuers
            && only.id == issuer
        {
            return Ok(vec![issuer]);
        }
        let above = self.ancestors(issuer).await?;
        let mut same = Vec::new();
        for candidate in issuers {
            if !self.ancestors(candidate.id).await?.is_disjoint(&above) {
                same.push(candidate.id);
            }
        }
        Ok(same)
    }

    /// A known issuer, the issuers of its certificates, theirs and so on, as far as signatures were verified.
    async fn ancestors(&self, issuer: Uuid) -> Result<HashSet<Uuid>> {
        const KEY: &str = "-- key of issuer\n\
            SELECT i.dn_key, i.public_key FROM issuer AS i WHERE i.id = $1 AND i.public_key IS NOT NULL";
        const ABOVE: &str = "-- issuers of an issuer\n\
            SELECT DISTINCT c.issuer FROM certificate AS c CROSS JOIN issuer AS i \
            WHERE c.public_key_hash = $1 AND c.key_holder = $2 AND i.id = c.issuer AND i.public_key IS NOT NULL";
        let mut known = HashSet::new();
        let mut open = vec![issuer];
        while let Some(id) = open.pop() {
            if known.contains(&id) || known.len() == MAX_ANCESTORS {
                continue;
            }
            let Some(row) = self.db.fetch_optional(KEY, params![id]).await? else { continue };
            known.insert(id);
            let name: DnKey = row.get(0)?;
            let key = public_key_hash(&row.get::<Vec<u8>>(1)?);
            for row in self.db.fetch_all(ABOVE, params![key, ca_key_holder(&name)]).await? {
                open.push(row.get(0)?);
            }
        }
        Ok(known)
    }

    /// The keys of this name that sign CRLs only, each with the known issuer of its certificate.
    async fn list_keys(&self, name: &DnKey) -> Result<Vec<(Uuid, Option<PublicKey>)>> {
        const SQL: &str = "-- keys that sign CRLs only\n\
            SELECT c.id, c.issuer, c.der FROM certificate AS c CROSS JOIN issuer AS i \
            WHERE c.list_signer = $1 AND c.is_ca = 0 AND i.id = c.issuer AND i.public_key IS NOT NULL \
            ORDER BY c.id DESC LIMIT 100";
        let rows = self.db.fetch_all(SQL, params![name]).await?;
        rows.iter()
            .map(|row| {
                let (id, der): (Uuid, Vec<u8>) = (row.get(0)?, row.get(2)?);
                let certificate = Certificate::from_der(&der).map_err(|_| damaged("der", id))?;
                Ok((row.get(1)?, PublicKey::from_spki(certificate.public_key())))
            })
            .collect()
    }

    /// The known issuers of a name that let another sign their CRLs: one of their certificates names it as its cRLIssuer
    /// (RFC 5280 §6.3.3 (b)), and they have a trust anchor in common with `signer`, which is or is above the key that
    /// signed in that name (§6.3.3 (f)).
    pub(super) async fn delegated_by(&self, name: &DnKey, delegate: &DnKey, signer: Uuid) -> Result<Vec<Uuid>> {
        const SQL: &str = "-- delegated_by\n\
            SELECT i.id FROM issuer AS i WHERE i.dn_key = $1 AND i.public_key IS NOT NULL AND EXISTS (\
                SELECT 1 FROM certificate AS c WHERE c.list_delegate = $2 AND c.issuer = i.id) ORDER BY i.id";
        let above = self.ancestors(signer).await?;
        let mut delegated = Vec::new();
        for row in self.db.fetch_all(SQL, params![name, delegate]).await? {
            let issuer = row.get(0)?;
            if !self.ancestors(issuer).await?.is_disjoint(&above) {
                delegated.push(issuer);
            }
        }
        Ok(delegated)
    }
}

/// Which of the keys signed the CRL, found on a thread for blocking work.
async fn signed_by(der: &Arc<Vec<u8>>, keys: Vec<Option<PublicKey>>) -> Result<Option<usize>> {
    let der = der.clone();
    let check = move || {
        // It was taken apart before, so it can be again.
        let list = RevocationList::from_der(&der).ok()?;
        keys.iter().position(|key| key.as_ref().is_some_and(|key| list.is_signed_by(key)))
    };
    tokio::task::spawn_blocking(check).await.map_err(|_| Error::Worker { doing: "checking a CRL's signature" })
}

/// What a CRL is that none of the known keys signed.
fn unsigned(list: &RevocationList<'_>, issuers: &[Candidate]) -> Signer {
    let is_named = |issuer: &&Candidate| match (list.authority_key_id(), &issuer.key_id) {
        (Some(named), Some(key_id)) => named == key_id.as_slice(),
        // Nothing says that another key is meant.
        _ => true,
    };
    let mut named = issuers.iter().filter(is_named).peekable();
    match (named.peek().is_some(), named.find(|issuer| issuer.key.is_none())) {
        (_, Some(uncheckable)) => Signer::Uncheckable(uncheckable.id),
        (true, None) => Signer::Forged,
        (false, None) => Signer::Unknown,
    }
}
