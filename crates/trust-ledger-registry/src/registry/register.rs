//! Registering certificates.

use strongroom::{Batch, params};
use time::OffsetDateTime;
use uuid::Uuid;

use super::Registry;
use super::event::{EventRow, action};
use super::issuers::{Identity, IssuerRow, identify};
use super::revocation_lists::CheckedLists;
use crate::certificate::Certificate;
use crate::error::{Error, Result};
use crate::record::{Annotations, Registration};

mod entry;
mod many;
mod sweep;

use entry::Entry;
pub(super) use entry::{SearchNames, ca_key_holder, public_key_hash};
pub(super) use sweep::Sweep;

/// The statements of a registration, for the test of their plans and the benchmark that runs them without this crate.
pub(super) const INSERT_CERTIFICATE: &str = Entry::INSERT;
#[cfg(test)]
pub(super) const INSERT_IF_TRIED: &str = Entry::INSERT_IF_TRIED;
pub(super) const INSERT_NAME: &str = Entry::INSERT_NAME;
pub(super) const INSERT_REVERSED: &str = Entry::INSERT_REVERSED;

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
            let now = self.now();
            let entry = Entry::new(certificate, annotations, &identity, now);
            let issuers: Vec<IssuerRow> = self.issuers_to_record(certificate, &identity).collect();
            let mut batch = Batch::new();
            for issuer in &issuers {
                batch.push(IssuerRow::INSERT, issuer.params(now));
            }
            let position = batch.len();
            batch.push(entry.insert(), entry.params());
            batch.push_many(Entry::INSERT_NAME, entry.name_params());
            batch.push_many(Entry::INSERT_REVERSED, entry.reversed_params());
            batch.push_many(Entry::INSERT_TAG, entry.tag_params());
            batch.push(EventRow::INSERT_FOR_CERTIFICATE, self.registered(&entry, now).params());
            let swept = self.sweep(&mut batch);
            let affected = self.db.batch(batch).await?;
            self.swept(swept, &affected);
            self.issuers.recorded(&issuers);
            if affected.get(position) == Some(&1) {
                return Ok(Registration::Registered(entry.id));
            }
            if let Some(id) = self.id_of(certificate.fingerprint()).await? {
                return Ok(Registration::AlreadyKnown(id));
            }
            // Another issuer of this name became known since the candidates were read.
            self.issuers.forget(certificate.issuer().comparison_key());
        }
        Err(Error::Contended { what: "the issuer's name" })
    }

    fn issuers_to_record(&self, certificate: &Certificate, identity: &Identity) -> impl Iterator<Item = IssuerRow> {
        IssuerRow::required_by(certificate, identity).filter(|row| !self.issuers.is_recorded(&row.id))
    }

    async fn id_of(&self, fingerprint: &[u8; 32]) -> Result<Option<Uuid>> {
        const SQL: &str = "-- id_of\nSELECT id FROM certificate WHERE fingerprint = $1";
        Ok(self.db.fetch_value(SQL, params![fingerprint]).await?)
    }

    fn registered(&self, entry: &Entry<'_>, now: OffsetDateTime) -> EventRow {
        EventRow {
            at: now,
            actor: self.actor.clone(),
            action: action::CERTIFICATE_REGISTERED,
            object: entry.id,
            before: None,
            after: Some(entry.to_json()),
        }
    }
}
