//! Certificates for tests: always the same bytes, since keys are fixed and Ed25519 has no randomness.

use openssl::asn1::{Asn1Time, Asn1Type};
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::{Id, PKey, Private};
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509Name, X509NameBuilder};

/// A certificate about to be made.
#[derive(Clone)]
pub(crate) struct Plan {
    serial: Vec<u8>,
    common_name: String,
    names: Vec<String>,
    issuer: String,
    issuer_key: u64,
    subject_key: u64,
    not_before: String,
    not_after: String,
    is_ca: bool,
}

/// No end: the notAfter of RFC 5280 §4.1.2.5 for this.
pub(crate) const NEVER: &str = "99991231235959Z";

impl Plan {
    /// A server's certificate of `Example CA` without end.
    pub(crate) fn server(serial: u64, common_name: &str) -> Plan {
        Plan {
            serial: serial.to_be_bytes().to_vec(),
            common_name: common_name.to_owned(),
            names: Vec::new(),
            issuer: "Example CA".to_owned(),
            issuer_key: 1,
            subject_key: serial.wrapping_add(1_000),
            not_before: "20240101000000Z".to_owned(),
            not_after: NEVER.to_owned(),
            is_ca: false,
        }
    }

    /// A root; its name also decides its key.
    pub(crate) fn root(common_name: &str, key: u64) -> Plan {
        Plan {
            issuer: common_name.to_owned(),
            issuer_key: key,
            subject_key: key,
            is_ca: true,
            ..Plan::server(key, common_name)
        }
    }

    pub(crate) fn name(mut self, name: &str) -> Plan {
        self.names.push(name.to_owned());
        self
    }

    pub(crate) fn of(mut self, issuer: &str, key: u64) -> Plan {
        (self.issuer, self.issuer_key) = (issuer.to_owned(), key);
        self
    }

    /// Both as `YYYYMMDDHHMMSSZ`.
    pub(crate) fn valid(mut self, not_before: &str, not_after: &str) -> Plan {
        (self.not_before, self.not_after) = (not_before.to_owned(), not_after.to_owned());
        self
    }

    /// Valid since some days ago (negative) and until so many from now.
    pub(crate) fn valid_days(self, from: i64, until: i64) -> Plan {
        let format = time::macros::format_description!("[year][month][day][hour][minute][second]Z");
        let text = |days| {
            let moment = time::OffsetDateTime::now_utc() + time::Duration::days(days) + time::Duration::minutes(5);
            moment.format(format).unwrap()
        };
        self.valid(&text(from), &text(until))
    }

    pub(crate) fn build(&self) -> X509 {
        let mut builder = X509Builder::new().unwrap();
        builder.set_version(2).unwrap();
        let serial = BigNum::from_slice(&self.serial).unwrap().to_asn1_integer().unwrap();
        builder.set_serial_number(&serial).unwrap();
        builder.set_subject_name(&name(&self.common_name)).unwrap();
        builder.set_issuer_name(&name(&self.issuer)).unwrap();
        builder.set_not_before(&Asn1Time::from_str(&self.not_before).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::from_str(&self.not_after).unwrap()).unwrap();
        builder.set_pubkey(&key(self.subject_key)).unwrap();
        let mut constraints = BasicConstraints::new();
        if self.is_ca {
            constraints.ca();
        } else {
            builder.append_extension(ExtendedKeyUsage::new().server_auth().build().unwrap()).unwrap();
        }
        builder.append_extension(constraints.critical().build().unwrap()).unwrap();
        if !self.names.is_empty() {
            let mut alternative = SubjectAlternativeName::new();
            for name in &self.names {
                alternative.dns(name);
            }
            let extension = alternative.build(&builder.x509v3_context(None, None)).unwrap();
            builder.append_extension(extension).unwrap();
        }
        builder.sign(&key(self.issuer_key), MessageDigest::null()).unwrap();
        builder.build()
    }

    pub(crate) fn pem(&self) -> String {
        String::from_utf8(self.build().to_pem().unwrap()).unwrap()
    }

    /// SHA-256 of the DER in hex.
    pub(crate) fn fingerprint(&self) -> String {
        let digest = self.build().digest(MessageDigest::sha256()).unwrap();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Several certificates in one file.
pub(crate) fn bundle<'a>(plans: impl IntoIterator<Item = &'a Plan>) -> String {
    plans.into_iter().map(Plan::pem).collect()
}

/// A private key in PEM.
pub(crate) fn private_key() -> String {
    key_pem(9)
}

/// The private key of a root with this key, in PEM.
pub(crate) fn key_pem(number: u64) -> String {
    String::from_utf8(key(number).private_key_to_pem_pkcs8().unwrap()).unwrap()
}

/// A key of its own for each number, and always the same one.
fn key(number: u64) -> PKey<Private> {
    PKey::private_key_from_raw_bytes(&number.to_le_bytes().repeat(4), Id::ED25519).unwrap()
}

fn name(common_name: &str) -> X509Name {
    let mut builder = X509NameBuilder::new().unwrap();
    builder.append_entry_by_text_with_type("CN", common_name, Asn1Type::UTF8STRING).unwrap();
    builder.append_entry_by_text("O", "Example").unwrap();
    builder.build()
}
