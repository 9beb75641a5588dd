//! Public keys, and signatures checked with them.
//!
//! OpenSSL does the arithmetic: it knows the algorithms that certificates from the last thirty years are signed with,
//! MD5 and SHA-1 included. Whether a signature is *good enough* is not decided here (see
//! [`Certificate::weaknesses`](crate::certificate::Certificate::weaknesses)).

use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::{Id, PKey, Public};
use openssl::sign::Verifier;
use openssl::x509::{X509, X509Crl};

use crate::der::{DerError, Element, Reader, tag};

/// A public key that signatures can be checked with, parsed once and kept. `Send` and `Sync`.
#[derive(Clone)]
pub struct PublicKey(PKey<Public>);

impl PublicKey {
    /// Parses the DER of a SubjectPublicKeyInfo. `None` when OpenSSL does not know the algorithm (ML-DSA before
    /// OpenSSL 3.5) or cannot use the key (DSA without its parameters).
    pub fn from_spki(der: &[u8]) -> Option<PublicKey> {
        let key = PKey::public_key_from_der(der).ok();
        drain_errors();
        // A DSA key that inherits its parameters from its issuer's certificate (RFC 3279 section 2.3.2) has no size.
        key.filter(|key| key.bits() > 0).map(PublicKey)
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PublicKey({:?})", self.0.id())
    }
}

/// What kind of object a signature is on, for the algorithms that OpenSSL has to read out of the whole of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignedKind {
    Certificate,
    RevocationList,
}

/// `SIGNED { … }` of X.509: what is signed, how, and the signature.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signed<'a> {
    /// All three parts with their header.
    pub(crate) whole: &'a [u8],
    /// What is signed.
    pub(crate) content: Element<'a>,
    /// The AlgorithmIdentifier.
    pub(crate) algorithm: Element<'a>,
    /// The signature's bits.
    pub(crate) signature: &'a [u8],
}

impl<'a> Signed<'a> {
    /// Takes the three parts apart. They must be all of `der`.
    pub(crate) fn read(der: &'a [u8], expected: &'static str) -> Result<Signed<'a>, DerError> {
        let mut reader = Reader::new(der);
        let outer = reader.expect(tag::SEQUENCE, expected)?;
        reader.finish()?;
        let mut parts = outer.reader();
        let content = parts.expect(tag::SEQUENCE, expected)?;
        let algorithm = parts.expect(tag::SEQUENCE, "signatureAlgorithm")?;
        let signature = parts.expect(tag::BIT_STRING, "signature")?;
        parts.finish()?;
        Ok(Signed { whole: outer.whole, content, algorithm, signature: signature.bit_string()? })
    }

    /// Whether this key made the signature. `inner_algorithm` is the AlgorithmIdentifier within the signed part, which
    /// RFC 5280 §4.1.1.2 wants to be the same.
    pub(crate) fn is_signed_by(&self, key: &PublicKey, inner_algorithm: &[u8], kind: SignedKind) -> bool {
        if inner_algorithm != self.algorithm.whole {
            return false;
        }
        let valid = match Scheme::of(&self.algorithm) {
            Some(scheme) => self.verify_directly(key, scheme),
            None => self.verify_whole(key, kind),
        };
        // OpenSSL leaves a failed check in the thread's error queue, where the next caller would find it.
        drain_errors();
        valid
    }

    /// The common schemes: only the signed bytes are looked at. `X509_verify` first parses the whole certificate once
    /// more, which costs more than an RSA check.
    fn verify_directly(&self, key: &PublicKey, scheme: Scheme) -> bool {
        if key.0.id() != scheme.key {
            return false;
        }
        let verifier = match scheme.digest {
            Some(digest) => Verifier::new(digest, &key.0),
            None => Verifier::new_without_digest(&key.0),
        };
        verifier.and_then(|mut verifier| verifier.verify_oneshot(self.signature, self.content.whole)).unwrap_or(false)
    }

    /// Schemes with parameters (RSASSA-PSS), and those that only a newer OpenSSL knows.
    fn verify_whole(&self, key: &PublicKey, kind: SignedKind) -> bool {
        match kind {
            SignedKind::Certificate => X509::from_der(self.whole).and_then(|object| object.verify(&key.0)),
            SignedKind::RevocationList => X509Crl::from_der(self.whole).and_then(|object| object.verify(&key.0)),
        }
        .unwrap_or(false)
    }
}

/// A signature algorithm without parameters: which key, which hash.
struct Scheme {
    key: Id,
    digest: Option<MessageDigest>,
}

impl Scheme {
    fn of(algorithm: &Element<'_>) -> Option<Scheme> {
        let identifier = algorithm.reader().next().ok()??;
        let with = |key, digest| Some(Scheme { key, digest: Some(digest) });
        match identifier.content {
            [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, number] => match number {
                4 => with(Id::RSA, MessageDigest::md5()),
                5 => with(Id::RSA, MessageDigest::sha1()),
                11 => with(Id::RSA, MessageDigest::sha256()),
                12 => with(Id::RSA, MessageDigest::sha384()),
                13 => with(Id::RSA, MessageDigest::sha512()),
                14 => with(Id::RSA, MessageDigest::sha224()),
                _ => None,
            },
            [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01] => with(Id::EC, MessageDigest::sha1()),
            [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, number] => match number {
                1 => with(Id::EC, MessageDigest::sha224()),
                2 => with(Id::EC, MessageDigest::sha256()),
                3 => with(Id::EC, MessageDigest::sha384()),
                4 => with(Id::EC, MessageDigest::sha512()),
                _ => None,
            },
            [0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x03] => with(Id::DSA, MessageDigest::sha1()),
            [0x2b, 0x65, 0x70] => Some(Scheme { key: Id::ED25519, digest: None }),
            [0x2b, 0x65, 0x71] => Some(Scheme { key: Id::ED448, digest: None }),
            _ => None,
        }
    }
}

fn drain_errors() {
    drop(ErrorStack::get());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_key_is_none_and_leaves_no_error_behind() {
        assert!(PublicKey::from_spki(&[]).is_none());
        assert!(PublicKey::from_spki(&[0x30, 0x03, 0x02, 0x01, 0x00]).is_none());
        assert!(ErrorStack::get().errors().is_empty());
    }

    #[test]
    fn keys_can_be_shared_between_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<PublicKey>();
    }
}
