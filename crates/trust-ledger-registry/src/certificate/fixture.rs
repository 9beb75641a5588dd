//! Certificates made by hand, as odd as a test needs them.

use openssl::pkey::{PKey, Private};
use openssl::sign::Signer;

use crate::der::build::{element, extension, name, sequence};
use crate::der::tag;

/// The parts of a certificate; every one can be replaced by any bytes. Signed with Ed25519.
pub(crate) struct Fixture {
    pub(crate) serial: Vec<u8>,
    pub(crate) issuer: Vec<u8>,
    pub(crate) subject: Vec<u8>,
    pub(crate) validity: Vec<u8>,
    pub(crate) public_key: Vec<u8>,
    pub(crate) algorithm: Vec<u8>,
    pub(crate) extensions: Vec<Vec<u8>>,
    pub(crate) key: PKey<Private>,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let key = PKey::generate_ed25519().unwrap();
        Fixture {
            serial: vec![1],
            issuer: name("issuer"),
            subject: name("subject"),
            validity: validity(tag::UTC_TIME, "240101000000Z", "340101000000Z"),
            public_key: key.public_key_to_der().unwrap(),
            algorithm: sequence(&[&element(tag::OID, [0x2b, 0x65, 0x70])]),
            extensions: Vec::new(),
            key,
        }
    }

    pub(crate) fn self_signed(common_name: &str) -> Self {
        Fixture { issuer: name(common_name), subject: name(common_name), ..Fixture::new() }
    }

    pub(crate) fn extension(mut self, id: &[u8], value: &[u8]) -> Self {
        self.extensions.push(extension(id, false, value));
        self
    }

    /// subjectAltName of these GeneralNames.
    pub(crate) fn names(self, names: &[(u8, &[u8])]) -> Self {
        let names: Vec<u8> = names.iter().flat_map(|(tag, content)| element(*tag, content)).collect();
        self.extension(&[0x55, 0x1d, 17], &element(tag::SEQUENCE, names))
    }

    pub(crate) fn der(&self) -> Vec<u8> {
        let mut fields = Vec::new();
        if !self.extensions.is_empty() {
            fields.extend(element(0xa0, element(tag::INTEGER, [2])));
        }
        fields.extend(element(tag::INTEGER, &self.serial));
        for field in [&self.algorithm, &self.issuer, &self.validity, &self.subject, &self.public_key] {
            fields.extend_from_slice(field);
        }
        if !self.extensions.is_empty() {
            fields.extend(element(0xa3, element(tag::SEQUENCE, self.extensions.concat())));
        }
        let content = element(tag::SEQUENCE, fields);
        let signature = Signer::new_without_digest(&self.key).unwrap().sign_oneshot_to_vec(&content).unwrap();
        let bits = [&[0], signature.as_slice()].concat();
        sequence(&[&content, &self.algorithm, &element(tag::BIT_STRING, bits)])
    }
}

pub(crate) fn validity(tag: u8, not_before: &str, not_after: &str) -> Vec<u8> {
    sequence(&[&element(tag, not_before), &element(tag, not_after)])
}
