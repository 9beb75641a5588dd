//! Certificates: what is read from one, and what follows from it.

mod algorithm;
mod category;
mod details;
mod extension;
#[cfg(test)]
pub(crate) mod fixture;
mod pem;
mod weakness;

use sha2::{Digest, Sha256};
use std::ops::Range;
use time::OffsetDateTime;
use time::macros::datetime;

use crate::der::oid::push_hex;
use crate::der::{DerError, Element, Reader, tag, time as der_time};
use crate::distinguished_name::DistinguishedName;
use crate::name::Name;
use crate::public_key::{PublicKey, Signed, SignedKind};
use crate::serial::{Serial, SerialError};

pub use category::{Category, UnknownCategory};
pub use details::Detail;
pub use pem::pem;
pub use weakness::Weakness;

pub(crate) use extension::{directory_name, extensions, key_identifier};

/// Largest certificate that is read, in bytes of DER: 1 MiB.
pub const MAX_CERTIFICATE_BYTES: usize = 1 << 20;

/// 9999-12-31 23:59:59 UTC: the notAfter of a certificate that never expires (RFC 5280 §4.1.2.5).
pub const NEVER: OffsetDateTime = datetime!(9999-12-31 23:59:59 UTC);

/// An X.509 certificate, read completely enough to be recorded and searched for.
///
/// Reading is lenient, because a register that refuses a certificate cannot answer for it. Accepted: unknown key and
/// signature algorithms and unknown critical extensions (shown by OID), serials that are negative, zero or over 20
/// octets, notAfter before notBefore, dates before 1970, times without seconds or with an offset (converted), times
/// without any zone (taken as UTC), and extensions with a damaged value (which then say nothing). Start with
/// [`Certificate::from_der`].
#[derive(Clone, Debug)]
pub struct Certificate {
    der: Vec<u8>,
    fingerprint: [u8; 32],
    version: u32,
    serial: Serial,
    subject: DistinguishedName,
    issuer: DistinguishedName,
    names: Vec<Name>,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
    key_algorithm: String,
    key_bits: Option<u32>,
    signature_algorithm: String,
    is_ca: bool,
    is_precertificate: bool,
    is_for_servers: bool,
    signs_lists: bool,
    list_delegate: Option<[u8; 32]>,
    subject_key_id: Option<Vec<u8>>,
    authority_key_id: Option<Vec<u8>>,
    public_key: Range<usize>,
    inner_algorithm: Range<usize>,
    weak_hash: Option<&'static str>,
}

/// Why bytes are no certificate that can be recorded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// Nothing at all.
    #[error("empty")]
    Empty,
    /// More than [`MAX_CERTIFICATE_BYTES`].
    #[error("a certificate of {bytes} bytes, more than {MAX_CERTIFICATE_BYTES}")]
    TooLarge {
        /// How many bytes there are.
        bytes: usize,
    },
    /// The certificate is followed by something.
    #[error("{count} bytes after the certificate's end at byte {offset}")]
    TrailingBytes {
        /// Length of the certificate.
        offset: usize,
        /// How many bytes follow.
        count: usize,
    },
    /// The structure is not that of RFC 5280 §4.1.
    #[error("not a certificate: {0}")]
    Structure(DerError),
    /// The serial cannot be recorded.
    #[error("not a certificate: {0}")]
    Serial(SerialError),
}

impl From<DerError> for CertificateError {
    fn from(error: DerError) -> Self {
        CertificateError::Structure(error)
    }
}

impl Certificate {
    /// Reads one certificate, which must be all of `der`.
    ///
    /// Fails when there are more than [`MAX_CERTIFICATE_BYTES`], bytes behind the certificate, lengths that contradict
    /// each other, or one of the fields that every certificate has is missing, of the wrong type, or (the
    /// times) meaningless. Errors hold byte positions, never content.
    pub fn from_der(der: &[u8]) -> Result<Certificate, CertificateError> {
        if der.is_empty() {
            return Err(CertificateError::Empty);
        }
        if der.len() > MAX_CERTIFICATE_BYTES {
            return Err(CertificateError::TooLarge { bytes: der.len() });
        }
        let outer = Reader::new(der).expect(tag::SEQUENCE, "Certificate")?;
        if outer.whole.len() < der.len() {
            let offset = outer.whole.len();
            return Err(CertificateError::TrailingBytes { offset, count: der.len() - offset });
        }
        let signed = Signed::read(der, "Certificate")?;

        let mut fields = signed.content.reader();
        let version = match fields.optional(VERSION)? {
            Some(wrapped) => {
                let number = wrapped.reader().expect(tag::INTEGER, "version")?;
                number.small_unsigned().ok_or_else(|| number.invalid("version"))?.saturating_add(1)
            }
            None => 1,
        };
        let serial = fields.expect(tag::INTEGER, "serialNumber")?;
        let serial = Serial::from_content(serial.content).map_err(CertificateError::Serial)?;
        let inner_algorithm = fields.expect(tag::SEQUENCE, "signature")?;
        let issuer = fields.expect(tag::SEQUENCE, "issuer")?;
        let mut validity = fields.expect(tag::SEQUENCE, "validity")?.reader();
        let not_before = read_time(&mut validity, "notBefore")?;
        let not_after = read_time(&mut validity, "notAfter")?;
        validity.finish()?;
        let subject = fields.expect(tag::SEQUENCE, "subject")?;
        let public_key = fields.expect(tag::SEQUENCE, "subjectPublicKeyInfo")?;
        let key = algorithm::key(&public_key)?;
        for unique_id in [ISSUER_UNIQUE_ID, SUBJECT_UNIQUE_ID] {
            for form in [unique_id, unique_id | CONSTRUCTED] {
                fields.optional(form)?;
            }
        }
        let extensions = match fields.optional(EXTENSIONS)? {
            Some(wrapped) => extension::read(&wrapped)?,
            None => extension::Extensions::default(),
        };
        fields.finish()?;

        Ok(Certificate {
            fingerprint: Sha256::digest(der).into(),
            version,
            serial,
            subject: DistinguishedName::from_element(&subject)?,
            issuer: DistinguishedName::from_element(&issuer)?,
            names: extensions.names,
            not_before,
            not_after,
            key_algorithm: key.name,
            key_bits: key.bits,
            signature_algorithm: algorithm::signature(&signed.algorithm)?,
            is_ca: extensions.is_ca,
            is_precertificate: extensions.is_precertificate,
            is_for_servers: extensions.is_for_servers,
            signs_lists: extensions.signs_lists,
            list_delegate: extensions.list_delegate,
            subject_key_id: extensions.subject_key_id,
            authority_key_id: extensions.authority_key_id,
            public_key: public_key.range(),
            inner_algorithm: inner_algorithm.range(),
            weak_hash: algorithm::weak_hash(&signed.algorithm),
            der: der.to_vec(),
        })
    }

    /// The certificate itself.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The certificate itself, without a copy.
    pub fn into_der(self) -> Vec<u8> {
        self.der
    }

    /// SHA-256 of the DER.
    pub fn fingerprint(&self) -> &[u8; 32] {
        &self.fingerprint
    }

    /// SHA-256 of the DER in lower-case hex.
    pub fn fingerprint_hex(&self) -> String {
        let mut text = String::with_capacity(64);
        push_hex(&mut text, &self.fingerprint);
        text
    }

    /// 1, 2 or 3; a number beyond them is kept.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The serial number.
    pub fn serial(&self) -> &Serial {
        &self.serial
    }

    /// Whom the certificate is for. May be empty.
    pub fn subject(&self) -> &DistinguishedName {
        &self.subject
    }

    /// Who issued it. May be empty, against RFC 5280 §4.1.2.4.
    pub fn issuer(&self) -> &DistinguishedName {
        &self.issuer
    }

    /// The most specific common name of the subject.
    pub fn common_name(&self) -> Option<&str> {
        self.subject.common_name()
    }

    /// Subject alternative names that are DNS names, addresses, e-mail addresses, URIs or user principal names, in the
    /// order of the certificate, each once. Directory names, registered IDs and other forms are left out.
    pub fn names(&self) -> &[Name] {
        &self.names
    }

    /// First moment of validity, itself included. UTC, full seconds.
    pub fn not_before(&self) -> OffsetDateTime {
        self.not_before
    }

    /// Last moment of validity, itself included. UTC, full seconds; [`NEVER`] means no end.
    pub fn not_after(&self) -> OffsetDateTime {
        self.not_after
    }

    /// `RSA`, `EC P-256`, `Ed25519`, `ML-DSA-65`, …; an algorithm or curve without a name here by its dotted OID.
    pub fn key_algorithm(&self) -> &str {
        &self.key_algorithm
    }

    /// Size of the key: the modulus of RSA, the field of an elliptic curve, the prime of DSA and DH. `None` where
    /// the algorithm fixes it by its name (ML-DSA), where it is unknown, or where the key cannot be read.
    pub fn key_bits(&self) -> Option<u32> {
        self.key_bits
    }

    /// The algorithm of the signature as OpenSSL names it (`sha256WithRSAEncryption`, `ecdsa-with-SHA256`, `ED25519`,
    /// `rsassaPss`), or its dotted OID.
    pub fn signature_algorithm(&self) -> &str {
        &self.signature_algorithm
    }

    /// Whether basicConstraints says so. Version 1 certificates have no extensions and are never counted as a CA's.
    pub fn is_ca(&self) -> bool {
        self.is_ca
    }

    /// Whether it holds the poison extension of RFC 6962 §3.1, which makes it no certificate but its announcement.
    pub fn is_precertificate(&self) -> bool {
        self.is_precertificate
    }

    /// Whether its key may sign CRLs: a CA's, whatever its keyUsage says, or another's with keyUsage cRLSign.
    pub(crate) fn may_sign_lists(&self) -> bool {
        self.is_ca || self.signs_lists
    }

    /// The comparison key of the one whom the issuer lets revoke this certificate in its stead: the cRLIssuer of its
    /// distribution points (RFC 5280 §4.2.1.13), the first if there are several.
    pub(crate) fn list_delegate(&self) -> Option<&[u8; 32]> {
        self.list_delegate.as_ref()
    }

    /// The subject key identifier, which is of any length.
    pub fn subject_key_id(&self) -> Option<&[u8]> {
        self.subject_key_id.as_deref()
    }

    /// The keyIdentifier of the authority key identifier.
    pub fn authority_key_id(&self) -> Option<&[u8]> {
        self.authority_key_id.as_deref()
    }

    /// The DER of the SubjectPublicKeyInfo.
    pub fn public_key(&self) -> &[u8] {
        &self.der[self.public_key.clone()]
    }

    /// How the certificate is called in a list: its common name, else its first alternative name, else its subject, else
    /// its fingerprint in hex. Common names that are blank are passed over. May hold any character but NUL; escape it
    /// before it goes to a terminal.
    pub fn display_name(&self) -> String {
        if let Some(name) = self.common_name().filter(|name| !name.trim().is_empty()) {
            return name.to_owned();
        }
        if let Some(name) = self.names.iter().map(Name::display).find(|name| !name.trim().is_empty()) {
            return name;
        }
        if !self.subject.is_empty() {
            return self.subject.text().to_owned();
        }
        let mut hex = String::new();
        push_hex(&mut hex, &self.fingerprint);
        hex
    }

    /// The category it gets when nobody says otherwise: `ca` by basicConstraints, `service` by the extended key usage
    /// serverAuth, `user` by an e-mail address (alternative name or in the subject) or a user principal name, else
    /// `device`. Never `internal`, which only people know.
    pub fn default_category(&self) -> Category {
        category::of(self)
    }

    /// Faults that make the certificate weak whatever its status. See [`Weakness`].
    pub fn weaknesses(&self) -> Vec<Weakness> {
        weakness::of(self)
    }

    /// Every field and extension as label and text, in the order of the certificate, for people.
    pub fn details(&self) -> Vec<Detail> {
        details::of(self)
    }

    /// Whether the holder of this key signed the certificate. False also when OpenSSL does not know the algorithm,
    /// refuses the key, or the algorithm within the signed part differs from the one outside (RFC 5280 §4.1.1.2).
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        // The DER was taken apart in `from_der`, so it can be again.
        Signed::read(&self.der, "Certificate").is_ok_and(|signed| {
            signed.is_signed_by(key, &self.der[self.inner_algorithm.clone()], SignedKind::Certificate)
        })
    }

    /// Whether subject and issuer are the same name and the certificate's own key signed it. Checks the signature each
    /// time.
    pub fn is_self_signed(&self) -> bool {
        self.subject.comparison_key() == self.issuer.comparison_key()
            && PublicKey::from_spki(self.public_key()).is_some_and(|key| self.is_signed_by(&key))
    }
}

const CONSTRUCTED: u8 = 0x20;
const VERSION: u8 = 0xa0;
const ISSUER_UNIQUE_ID: u8 = 0x81;
const SUBJECT_UNIQUE_ID: u8 = 0x82;
const EXTENSIONS: u8 = 0xa3;

fn read_time(reader: &mut Reader<'_>, expected: &'static str) -> Result<OffsetDateTime, DerError> {
    let element: Element<'_> = reader.next()?.ok_or(DerError::Missing { offset: reader.offset(), expected })?;
    der_time::read(&element).map_err(|_| element.invalid(expected))
}

#[cfg(test)]
mod tests;
