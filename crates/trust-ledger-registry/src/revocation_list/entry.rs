//! The entries of a CRL.

use time::OffsetDateTime;

use super::RevocationListError;
use crate::certificate::{directory_name, extensions};
use crate::der::{DerError, Element, Reader, tag, time as der_time};
use crate::distinguished_name::DistinguishedName;
use crate::revocation_reason::RevocationReason;
use crate::serial::Serial;

/// One revoked certificate (RFC 5280 §5.1.2.6 and §5.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokedEntry {
    /// The certificate's serial.
    pub serial: Serial,
    /// When the CA revoked it, UTC.
    pub revoked_at: OffsetDateTime,
    /// Why, or that it is no longer revoked.
    pub reason: EntryReason,
    /// When the key was, or may have been, compromised, UTC.
    pub invalidity_date: Option<OffsetDateTime>,
    /// In an indirect CRL: who issued the certificate, taken over from the entries before until another is named.
    /// `None`: the issuer of the CRL.
    pub certificate_issuer: Option<DistinguishedName>,
}

/// The reasonCode of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryReason {
    /// Revoked for this reason. Without a reasonCode, and with a code that is unknown or damaged (7, 11 and over), it is
    /// `unspecified`: the revocation is certain, its reason is not.
    Revoked(RevocationReason),
    /// removeFromCRL, in delta CRLs: a hold was lifted, or the certificate has expired.
    RemoveFromCrl,
}

/// Iterator over the entries of a [`RevocationList`](super::RevocationList).
#[derive(Clone, Debug)]
pub struct RevocationEntries<'der> {
    reader: Reader<'der>,
    certificate_issuer: Option<DistinguishedName>,
    /// The last certificateIssuer could not be read: whose the entries are is unknown until the next one.
    issuer_is_unknown: bool,
}

impl<'der> RevocationEntries<'der> {
    pub(super) fn new(reader: Reader<'der>) -> Self {
        RevocationEntries { reader, certificate_issuer: None, issuer_is_unknown: false }
    }

    fn read(&mut self, entry: &Element<'_>) -> Result<RevokedEntry, DerError> {
        let mut fields = entry.reader();
        let serial = fields.expect(tag::INTEGER, "userCertificate")?;
        let revoked_at =
            fields.next()?.ok_or(DerError::Missing { offset: fields.offset(), expected: "revocationDate" })?;
        let mut reason = EntryReason::Revoked(RevocationReason::Unspecified);
        let mut invalidity_date = None;
        if let Some(list) = fields.optional(tag::SEQUENCE)? {
            for extension in extensions(&list) {
                let extension = extension?;
                match extension.id {
                    [0x55, 0x1d, 21] => reason = read_reason(extension.value),
                    [0x55, 0x1d, 24] => {
                        // A damaged date is left out; the entry stays.
                        invalidity_date = Reader::new(extension.value)
                            .next()
                            .ok()
                            .flatten()
                            .and_then(|date| der_time::read(&date).ok());
                    }
                    [0x55, 0x1d, 29] => {
                        // A damaged issuer must not leave this entry, and those after it, to another issuer.
                        self.issuer_is_unknown = true;
                        self.certificate_issuer = Some(read_issuer(extension.value, entry)?);
                        self.issuer_is_unknown = false;
                    }
                    _ => {}
                }
            }
        }
        fields.finish()?;
        if self.issuer_is_unknown {
            return Err(entry.invalid("certificateIssuer of an entry before the one"));
        }
        Ok(RevokedEntry {
            serial: Serial::from_content(serial.content).map_err(|_| serial.invalid("userCertificate"))?,
            revoked_at: der_time::read(&revoked_at).map_err(|_| revoked_at.invalid("revocationDate"))?,
            reason,
            invalidity_date,
            certificate_issuer: self.certificate_issuer.clone(),
        })
    }
}

impl Iterator for RevocationEntries<'_> {
    type Item = Result<RevokedEntry, RevocationListError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let entry = match self.reader.expect(tag::SEQUENCE, "revoked certificate") {
            Ok(entry) => entry,
            Err(error) => {
                self.reader = Reader::new(&[]);
                return Some(Err(error.into()));
            }
        };
        Some(self.read(&entry).map_err(Into::into))
    }
}

fn read_reason(value: &[u8]) -> EntryReason {
    let code = Reader::new(value)
        .expect(tag::ENUMERATED, "CRLReason")
        .ok()
        .and_then(|reason| reason.small_unsigned())
        .and_then(|code| u8::try_from(code).ok());
    match code {
        Some(8) => EntryReason::RemoveFromCrl,
        Some(code) => EntryReason::Revoked(RevocationReason::from_code(code).unwrap_or_default()),
        None => EntryReason::Revoked(RevocationReason::Unspecified),
    }
}

/// The directoryName among the GeneralNames of a certificateIssuer (RFC 5280 §5.3.3).
fn read_issuer(value: &[u8], entry: &Element<'_>) -> Result<DistinguishedName, DerError> {
    let names = Reader::new(value).expect(tag::SEQUENCE, "GeneralNames").ok();
    names.and_then(|names| directory_name(names.reader())).ok_or_else(|| entry.invalid("certificateIssuer"))
}
