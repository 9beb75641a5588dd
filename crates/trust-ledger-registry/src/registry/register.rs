//! Registering certificates.

use std::collections::HashMap;

use strongroom::{Dialect, params};
use uuid::Uuid;

use super::Registry;
use super::issuers::{DnKey, Identity, IssuerRow, identify};
use super::revocation_lists::CheckedLists;
use crate::certificate::Certificate;
use crate::error::{Error, Result};
use crate::record::{Annotations, Registration};

mod entry;
mod gathering;
mod many;
mod postgres;
mod sqlite;
mod sweep;

use entry::Entry;
pub(super) use entry::{SearchNames, ca_key_holder, public_key_hash};
pub(super) use gathering::Gathering;
pub(super) use sweep::Sweep;

#[cfg(test)]
pub(super) use postgres::REGISTER;
#[cfg(test)]
pub(super) use sqlite::INSERT_IF_TRIED;
/// The statements of a registration in a file, for the benchmark that runs them without this crate.
pub(super) use sqlite::{INSERT as INSERT_CERTIFICATE, INSERT_NAME, INSERT_REVERSED};

/// How often an insert is tried anew because an issuer became known in between: each time one more did.
const ATTEMPTS: usize = 100;

impl Registry {
    /// Registers one certificate, with its names, its issuer and an event, durably and as one.
    ///
    /// A certificate is known by its SHA-256: registering it again changes nothing. When it is a CA's, certificates
    /// registered before under the CA's name alone are attributed to the CA where the signature verifies; this follows
    /// in further steps of at most 3,000 certificates, and is caught up by registering the CA again if it was
    /// interrupted. So are CRLs checked that were kept until their signer is known.
    ///
    /// Many callers at once share the disk's sync: call it concurrently, or see
    /// [`register_many`](Registry::register_many).
    ///
    /// # Errors
    ///
    /// [`Error::Database`]; [`Error::Contended`] when 100 CAs of the issuer's name were registered in the meantime.
    pub async fn register(&self, certificate: &Certificate, annotations: &Annotations) -> Result<Registration> {
        let annotations = annotations.normal();
        let registration = self.register_alone(certificate, &annotations).await?;
        self.follow_up(certificate).await?;
        Ok(registration)
    }

    /// Does what waited for this certificate.
    async fn follow_up(&self, certificate: &Certificate) -> Result<CheckedLists> {
        if certificate.is_ca() {
            return self.resolve(&IssuerRow::resolved_by(certificate)).await;
        }
        if certificate.may_sign_lists() {
            return self.check_kept_lists(certificate.subject().comparison_key(), Uuid::nil()).await;
        }
        Ok(CheckedLists::default())
    }

    async fn register_alone(&self, certificate: &Certificate, annotations: &Annotations) -> Result<Registration> {
        for _ in 0..ATTEMPTS {
            let candidates = self.issuers.candidates(&self.db, certificate.issuer().comparison_key()).await?;
            let identity = identify(certificate, &candidates);
            let registered = match self.db.dialect() {
                Dialect::Sqlite => self.register_in_file(certificate, annotations, &identity).await?,
                Dialect::Postgres => self.register_in_company(certificate, annotations, identity).await?,
            };
            if let Some(registration) = registered {
                return Ok(registration);
            }
            // Another issuer of this name became known since the candidates were read.
            self.issuers.forget(certificate.issuer().comparison_key());
        }
        Err(Error::Contended { what: "the issuer's name" })
    }

    /// `None` when an issuer of the name became known that was not among the candidates.
    async fn register_in_file(
        &self,
        certificate: &Certificate,
        annotations: &Annotations,
        identity: &Identity,
    ) -> Result<Option<Registration>> {
        let entry = Entry::new(certificate, annotations, identity, &self.author, self.now());
        let issuers = self.issuers_to_record(std::iter::once((certificate, identity)));
        let inserted = self.insert_in_file(&issuers, std::slice::from_ref(&entry)).await?;
        self.issuers.recorded(&issuers);
        if inserted == 1 {
            return Ok(Some(Registration::Registered(entry.id)));
        }
        Ok(self.id_of(certificate.fingerprint()).await?.map(Registration::AlreadyKnown))
    }

    /// Inserts certificates and what belongs to them as one unit, with the issuers that must be there before. How many
    /// were inserted.
    async fn insert(&self, issuers: &[IssuerRow], entries: &[Entry<'_>]) -> strongroom::Result<u64> {
        match self.db.dialect() {
            Dialect::Sqlite => self.insert_in_file(issuers, entries).await,
            Dialect::Postgres => {
                let inserted = self.insert_on_server(issuers, entries).await?;
                self.tidy(inserted).await;
                Ok(inserted)
            }
        }
    }

    /// Attributes certificates that were just registered under their issuer's name alone, if the issuer became known
    /// meanwhile.
    ///
    /// A file has one writer, and the insert looks. On a server, neither of two transactions sees the other. So the one that
    /// makes the issuer known looks for certificates after it has committed, and those that registered one look for the
    /// issuer after they have: whoever commits last sees both.
    async fn overtaken(&self, tried: impl Iterator<Item = (DnKey, i64)>) -> Result<()> {
        const SQL: &str = "-- issuers that overtook\n\
            SELECT id, name, key_id, public_key FROM issuer WHERE dn_key = $1 AND public_key IS NOT NULL";
        if self.db.dialect() == Dialect::Sqlite {
            return Ok(());
        }
        for (dn_key, tried) in tried.collect::<HashMap<_, _>>() {
            let rows = self.db.fetch_all(SQL, params![dn_key]).await?;
            if i64::try_from(rows.len()) == Ok(tried) {
                continue;
            }
            self.issuers.forget(&dn_key);
            for row in rows {
                let (id, name, key_id, public_key) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
                self.resolve(&IssuerRow { id, dn_key, name, key_id, public_key }).await?;
            }
        }
        Ok(())
    }

    /// The issuers that must have a row before these certificates have one, each once.
    fn issuers_to_record<'c>(
        &self,
        identified: impl Iterator<Item = (&'c Certificate, &'c Identity)>,
    ) -> Vec<IssuerRow> {
        let required = identified.flat_map(|(certificate, identity)| IssuerRow::required_by(certificate, identity));
        let missing = required.filter(|row| !self.issuers.is_recorded(&row.id));
        missing.map(|row| (row.id, row)).collect::<HashMap<_, _>>().into_values().collect()
    }

    async fn id_of(&self, fingerprint: &[u8; 32]) -> Result<Option<Uuid>> {
        const SQL: &str = "-- id_of\nSELECT id FROM certificate WHERE fingerprint = $1";
        Ok(self.db.fetch_value(SQL, params![fingerprint]).await?)
    }
}

/// What became of a certificate that was to be inserted with the first id, and has the other.
fn registration(inserted: Uuid, found: Uuid) -> Registration {
    if inserted == found { Registration::Registered(found) } else { Registration::AlreadyKnown(found) }
}
