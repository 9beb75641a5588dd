//! Certificates in numbers, made on all cores.

use std::io::Write;
use std::path::Path;

use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName, SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Builder, X509Name, X509NameBuilder};

pub(crate) struct Ca {
    pub(crate) x509: X509,
    key: PKey<Private>,
}

fn ec_key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

fn name(common_name: &str) -> X509Name {
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_nid(Nid::COUNTRYNAME, "SE").unwrap();
    name.append_entry_by_nid(Nid::ORGANIZATIONNAME, "Example Industries").unwrap();
    name.append_entry_by_nid(Nid::COMMONNAME, common_name).unwrap();
    name.build()
}

/// Numbers that only look random: splitmix64.
pub(crate) fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The serial of the certificate with this number: 16 octets in no order, as CAs give them.
pub(crate) fn serial(number: usize) -> Vec<u8> {
    let number = number as u64;
    let mut serial = mixed(number).to_be_bytes().to_vec();
    serial.extend(mixed(number ^ 0xffff_0000).to_be_bytes());
    serial[0] = (serial[0] & 0x7f) | 1;
    serial
}

/// The name of the certificate with this number. A twentieth of them is under `rare.example`.
pub(crate) fn host(number: usize) -> String {
    let domain = if number % 20 == 7 { "rare.example" } else { "corp.example.com" };
    format!("{:x}.host{number}.{domain}", mixed(number as u64) & 0xffff)
}

impl Ca {
    pub(crate) fn new() -> Ca {
        let key = match std::env::var("LEDGER_BENCH_CA").as_deref() {
            Ok("rsa") => PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap(),
            _ => ec_key(),
        };
        let mut builder = X509Builder::new().unwrap();
        let name = name("Example Issuing CA");
        builder.set_version(2).unwrap();
        builder.set_subject_name(&name).unwrap();
        builder.set_issuer_name(&name).unwrap();
        builder.set_pubkey(&key).unwrap();
        builder.set_serial_number(&Asn1Integer::from_bn(&BigNum::from_u32(1).unwrap()).unwrap()).unwrap();
        builder.set_not_before(&Asn1Time::from_unix(1_500_000_000).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::days_from_now(3_650).unwrap()).unwrap();
        builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
        let identifier = SubjectKeyIdentifier::new().build(&builder.x509v3_context(None, None)).unwrap();
        builder.append_extension(identifier).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        Ca { x509: builder.build(), key }
    }

    /// Signed, with a key and a name of its own, like a server's; begun up to 700 days ago, for 398 days.
    pub(crate) fn issue(&self, number: usize) -> X509 {
        let key = ec_key();
        let host = host(number);
        let mut builder = X509Builder::new().unwrap();
        builder.set_version(2).unwrap();
        builder.set_subject_name(&name(&host)).unwrap();
        builder.set_issuer_name(self.x509.subject_name()).unwrap();
        builder.set_pubkey(&key).unwrap();
        let serial = BigNum::from_slice(&serial(number)).unwrap();
        builder.set_serial_number(&Asn1Integer::from_bn(&serial).unwrap()).unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let began = i64::try_from(now - mixed(number as u64 ^ 0xabcd) % (700 * 86_400)).unwrap();
        builder.set_not_before(&Asn1Time::from_unix(began).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::from_unix(began + 398 * 86_400).unwrap()).unwrap();
        let extensions = {
            let context = builder.x509v3_context(Some(&self.x509), None);
            [
                KeyUsage::new().critical().digital_signature().build().unwrap(),
                ExtendedKeyUsage::new().server_auth().build().unwrap(),
                SubjectKeyIdentifier::new().build(&context).unwrap(),
                AuthorityKeyIdentifier::new().keyid(true).build(&context).unwrap(),
                SubjectAlternativeName::new().dns(&host).build(&context).unwrap(),
            ]
        };
        for extension in extensions {
            builder.append_extension(extension).unwrap();
        }
        builder.sign(&self.key, MessageDigest::sha256()).unwrap();
        builder.build()
    }

    /// Certificates by number, made on all cores, in order.
    pub(crate) fn issue_all<T: Send>(&self, numbers: std::ops::Range<usize>, form: fn(X509) -> T) -> Vec<T> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let each = numbers.len().div_ceil(threads).max(1);
        std::thread::scope(|scope| {
            let workers: Vec<_> = numbers
                .clone()
                .step_by(each)
                .map(|start| {
                    let end = (start + each).min(numbers.end);
                    scope.spawn(move || (start..end).map(|number| form(self.issue(number))).collect::<Vec<T>>())
                })
                .collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
        })
    }

    /// Writes a bundle of PEM.
    pub(crate) fn write(&self, path: &Path, numbers: std::ops::Range<usize>) {
        let mut file = std::io::BufWriter::new(std::fs::File::create(path).unwrap());
        file.write_all(&self.x509.to_pem().unwrap()).unwrap();
        for start in numbers.clone().step_by(20_000) {
            let some = start..(start + 20_000).min(numbers.end);
            for pem in self.issue_all(some, |x509| x509.to_pem().unwrap()) {
                file.write_all(&pem).unwrap();
            }
        }
        file.flush().unwrap();
    }
}
