//! Certificate revocation lists (CRLs).

mod entry;

use std::ops::Range;

use time::OffsetDateTime;

use crate::certificate::{extensions, key_identifier};
use crate::der::{DerError, Reader, tag, time as der_time};
use crate::distinguished_name::DistinguishedName;
use crate::public_key::{PublicKey, Signed, SignedKind};
use crate::serial::Serial;

pub use entry::{EntryReason, RevocationEntries, RevokedEntry};

/// A CRL (RFC 5280 §5), full or delta, direct or indirect.
///
/// Borrows its DER and decodes an entry only when it is asked for, so that a list of 1.5 million takes no memory
/// beyond the file's. Unknown extensions, critical ones included, are passed over.
#[derive(Clone, Debug)]
pub struct RevocationList<'der> {
    der: &'der [u8],
    issuer: DistinguishedName,
    authority_key_id: Option<Vec<u8>>,
    crl_number: Option<Serial>,
    base_crl_number: Option<Serial>,
    scope: Option<&'der [u8]>,
    is_indirect: bool,
    this_update: OffsetDateTime,
    next_update: Option<OffsetDateTime>,
    signature_algorithm: Range<usize>,
    entries: Reader<'der>,
}

/// Why bytes are no CRL that can be recorded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RevocationListError {
    /// The structure is not that of RFC 5280 §5.1; positions count from the CRL's first byte.
    #[error("not a CRL: {0}")]
    Structure(DerError),
}

impl From<DerError> for RevocationListError {
    fn from(error: DerError) -> Self {
        RevocationListError::Structure(error)
    }
}

impl<'der> RevocationList<'der> {
    /// Reads one CRL, which must be all of `der`. Its entries are read later, by [`RevocationList::entries`]; of them,
    /// only that their list ends where it says is checked here.
    pub fn from_der(der: &'der [u8]) -> Result<RevocationList<'der>, RevocationListError> {
        const EXTENSIONS: u8 = 0xa0;
        let signed = Signed::read(der, "CertificateList")?;
        let mut fields = signed.content.reader();
        fields.optional(tag::INTEGER)?;
        let signature_algorithm = fields.expect(tag::SEQUENCE, "signature")?;
        let issuer = fields.expect(tag::SEQUENCE, "issuer")?;
        let this_update = match fields.next()? {
            Some(element) => der_time::read(&element).map_err(|_| element.invalid("thisUpdate"))?,
            None => return Err(DerError::Missing { offset: fields.offset(), expected: "thisUpdate" }.into()),
        };
        let mut next_update = None;
        if matches!(fields.peek(), Some(tag::UTC_TIME | tag::GENERALIZED_TIME))
            && let Some(element) = fields.next()?
        {
            next_update = Some(der_time::read(&element).map_err(|_| element.invalid("nextUpdate"))?);
        }
        let entries = match fields.optional(tag::SEQUENCE)? {
            Some(list) => list.reader(),
            None => Reader::new(&[]),
        };
        let mut list = RevocationList {
            der,
            issuer: DistinguishedName::from_element(&issuer)?,
            authority_key_id: None,
            crl_number: None,
            base_crl_number: None,
            scope: None,
            is_indirect: false,
            this_update,
            next_update,
            signature_algorithm: signature_algorithm.range(),
            entries,
        };
        if let Some(wrapped) = fields.optional(EXTENSIONS)? {
            for extension in extensions(&wrapped.reader().expect(tag::SEQUENCE, "crlExtensions")?) {
                let extension = extension?;
                match extension.id {
                    [0x55, 0x1d, 20] => list.crl_number = number(extension.value),
                    [0x55, 0x1d, 27] => list.base_crl_number = number(extension.value),
                    [0x55, 0x1d, 28] => {
                        list.scope = Some(extension.value);
                        list.is_indirect = extension.critical && says_indirect(extension.value);
                    }
                    [0x55, 0x1d, 35] => list.authority_key_id = key_identifier(extension.value),
                    _ => {}
                }
            }
        }
        fields.finish()?;
        Ok(list)
    }

    /// Who issued the list. For entries of an indirect CRL see [`RevokedEntry::certificate_issuer`].
    pub fn issuer(&self) -> &DistinguishedName {
        &self.issuer
    }

    /// The keyIdentifier of the authority key identifier.
    pub fn authority_key_id(&self) -> Option<&[u8]> {
        self.authority_key_id.as_deref()
    }

    /// The CRL number (RFC 5280 §5.2.3), a number of up to 20 octets and more in the wild.
    pub fn crl_number(&self) -> Option<&Serial> {
        self.crl_number.as_ref()
    }

    /// The number of the full CRL that this delta CRL adds to (RFC 5280 §5.2.4); `None` for a full CRL.
    pub fn base_crl_number(&self) -> Option<&Serial> {
        self.base_crl_number.as_ref()
    }

    /// Whether it is a delta CRL, in which removeFromCRL may occur.
    pub fn is_delta(&self) -> bool {
        self.base_crl_number.is_some()
    }

    /// Its issuing distribution point (RFC 5280 §5.2.5), DER: which part of the issuer's certificates it speaks of; `None`
    /// when it speaks of all.
    pub fn issuing_distribution_point(&self) -> Option<&'der [u8]> {
        self.scope
    }

    /// Whether it may hold entries for certificates of other issuers: its issuing distribution point is critical and
    /// says indirectCRL.
    pub fn is_indirect(&self) -> bool {
        self.is_indirect
    }

    /// Whether an issuer's certificate that it does not list is not revoked: it is no delta and has no issuing
    /// distribution point, which would make it a part.
    pub fn is_complete(&self) -> bool {
        !self.is_delta() && self.scope.is_none()
    }

    /// When it was issued, UTC.
    pub fn this_update(&self) -> OffsetDateTime {
        self.this_update
    }

    /// When the next one is due at the latest, UTC.
    pub fn next_update(&self) -> Option<OffsetDateTime> {
        self.next_update
    }

    /// Whether the holder of this key signed the list. False also when OpenSSL does not know the algorithm.
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        Signed::read(self.der, "CertificateList").is_ok_and(|signed| {
            signed.is_signed_by(key, &self.der[self.signature_algorithm.clone()], SignedKind::RevocationList)
        })
    }

    /// The revoked certificates, in the order of the list, decoded one at a time.
    ///
    /// An entry that cannot be read is an `Err` and the iterator goes on with the next one; when the entry's own
    /// length is wrong there is no next one, and the iterator ends after the error.
    pub fn entries(&self) -> RevocationEntries<'der> {
        RevocationEntries::new(self.entries.clone())
    }
}

/// indirectCRL of an IssuingDistributionPoint.
fn says_indirect(value: &[u8]) -> bool {
    const INDIRECT_CRL: u8 = 0x84;
    let Ok(point) = Reader::new(value).expect(tag::SEQUENCE, "IssuingDistributionPoint") else { return false };
    let mut fields = point.reader();
    while let Ok(Some(field)) = fields.next() {
        if field.tag == INDIRECT_CRL {
            return field.content.iter().any(|octet| *octet != 0);
        }
    }
    false
}

fn number(value: &[u8]) -> Option<Serial> {
    Serial::from_content(Reader::new(value).expect(tag::INTEGER, "CRLNumber").ok()?.content).ok()
}

#[cfg(test)]
mod tests;
