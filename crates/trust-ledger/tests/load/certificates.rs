//! Certificates in numbers, signed by one CA, made on all cores.

use std::ops::Range;
use std::time::{Duration, Instant};

use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName, SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Builder, X509Name, X509NameBuilder};

use crate::random::mixed;

const DAY: u64 = 86_400;

/// A CA (P-256).
pub(crate) struct Issuer {
    x509: X509,
    key: PKey<Private>,
}

/// The serial of the certificate with this number: 16 octets in no order, in hex as the service writes it.
pub(crate) fn serial(number: u64) -> String {
    // The first digit is from 1 to 7, so none is left out and the number is positive.
    let high = mixed(number) & 0x6fff_ffff_ffff_ffff | 0x1000_0000_0000_0000;
    format!("{high:016x}{:016x}", mixed(!number))
}

/// The name of the certificate with this number. A twentieth of them is under `rare.example`.
pub(crate) fn host(number: u64) -> String {
    let domain = if number % 20 == 7 { "rare.example" } else { "corp.example.com" };
    format!("{:x}.host{number}.{domain}", mixed(number) & 0xffff)
}

impl Issuer {
    pub(crate) fn new() -> Issuer {
        let key = new_key();
        let mut builder = X509Builder::new().unwrap();
        builder.set_version(2).unwrap();
        let name = name("Load CA");
        builder.set_subject_name(&name).unwrap();
        builder.set_issuer_name(&name).unwrap();
        builder.set_pubkey(&key).unwrap();
        builder.set_serial_number(&Asn1Integer::from_bn(&BigNum::from_u32(1).unwrap()).unwrap()).unwrap();
        builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::days_from_now(3650).unwrap()).unwrap();
        let basic = BasicConstraints::new().critical().ca().build().unwrap();
        let usage = KeyUsage::new().critical().key_cert_sign().crl_sign().build().unwrap();
        let identifier = SubjectKeyIdentifier::new().build(&builder.x509v3_context(None, None)).unwrap();
        for extension in [basic, usage, identifier] {
            builder.append_extension(extension).unwrap();
        }
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        Issuer { x509: builder.build(), key }
    }

    /// How often one core verifies its signature in a second: what the machine does in this minute, beside which rates of
    /// different hours can be compared.
    pub(crate) fn verifications(&self) -> f64 {
        let (began, mut times) = (Instant::now(), 0.0);
        while began.elapsed() < Duration::from_millis(200) {
            assert!(self.x509.verify(&self.key).unwrap());
            times += 1.0;
        }
        times / began.elapsed().as_secs_f64()
    }

    /// Its own certificate, DER.
    pub(crate) fn der(&self) -> Vec<u8> {
        self.x509.to_der().unwrap()
    }

    /// A server's certificate, DER; it began up to 700 days ago and is valid for 398. Its key is its own: one that is used
    /// twice is a finding, which would be on every record.
    pub(crate) fn issue(&self, number: u64) -> Vec<u8> {
        let (key, host) = (new_key(), host(number));
        let mut builder = X509Builder::new().unwrap();
        builder.set_version(2).unwrap();
        builder.set_subject_name(&name(&host)).unwrap();
        builder.set_issuer_name(self.x509.subject_name()).unwrap();
        builder.set_pubkey(&key).unwrap();
        let serial = BigNum::from_hex_str(&serial(number)).unwrap();
        builder.set_serial_number(&Asn1Integer::from_bn(&serial).unwrap()).unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let began = i64::try_from(now - mixed(number ^ 0xabcd) % (700 * DAY)).unwrap();
        builder.set_not_before(&Asn1Time::from_unix(began).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::from_unix(began + 398 * DAY.cast_signed()).unwrap()).unwrap();
        let extensions = {
            let context = builder.x509v3_context(Some(&self.x509), None);
            [
                KeyUsage::new().critical().digital_signature().build().unwrap(),
                ExtendedKeyUsage::new().server_auth().build().unwrap(),
                AuthorityKeyIdentifier::new().keyid(true).build(&context).unwrap(),
                SubjectAlternativeName::new().dns(&host).build(&context).unwrap(),
            ]
        };
        for extension in extensions {
            builder.append_extension(extension).unwrap();
        }
        builder.sign(&self.key, MessageDigest::sha256()).unwrap();
        builder.build().to_der().unwrap()
    }

    /// Certificates by number, in order.
    pub(crate) fn issue_all(&self, numbers: Range<u64>) -> Vec<Vec<u8>> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
        let each = (numbers.end - numbers.start).div_ceil(threads).max(1);
        std::thread::scope(|scope| {
            let starts = (0..threads).map(|thread| (numbers.start + thread * each).min(numbers.end));
            let parts: Vec<_> = starts.map(|start| start..(start + each).min(numbers.end)).collect();
            let parts = parts.into_iter();
            let workers: Vec<_> =
                parts.map(|part| scope.spawn(|| part.map(|number| self.issue(number)).collect::<Vec<_>>())).collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
        })
    }
}

fn new_key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

fn name(common_name: &str) -> X509Name {
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_nid(Nid::ORGANIZATIONNAME, "Example Industries").unwrap();
    name.append_entry_by_nid(Nid::COMMONNAME, common_name).unwrap();
    name.build()
}
