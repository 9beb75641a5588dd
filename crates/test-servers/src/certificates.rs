//! A certificate authority for the tests, and what it issues.

use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509Builder, X509NameBuilder};

use crate::guard::{self, Guard};

/// A certificate authority (P-256, valid from yesterday for ten years). Two of them are two authorities: a client that
/// trusts one refuses the other's servers.
pub struct Ca {
    certificate: X509,
    key: PKey<Private>,
    file: PathBuf,
    /// Removes the files, also when a test keeps the authority in a `static`.
    folder: Arc<Guard>,
    issued: AtomicU32,
}

/// A certificate with its key, as PEM and as files that live as long as this or its [`Ca`].
#[derive(Clone)]
pub struct Identity {
    certificate: String,
    key: String,
    issuer: String,
    certificate_file: PathBuf,
    key_file: PathBuf,
    _folder: Arc<Guard>,
}

impl Ca {
    /// Names in a server's certificate, unless it is told others.
    pub const NAMES: [&str; 3] = ["db.test", "localhost", "127.0.0.1"];

    /// A new authority with a key of its own.
    #[expect(clippy::new_without_default, reason = "it makes keys and files")]
    pub fn new() -> Ca {
        static MADE: AtomicU32 = AtomicU32::new(1);
        let (common_name, key) = (format!("Test CA {}", MADE.fetch_add(1, Ordering::Relaxed)), new_key());
        let mut builder = builder(&common_name, 1, -1..3650, &key);
        builder.set_issuer_name(&name(&common_name)).expect("a name");
        builder.append_extension(BasicConstraints::new().critical().ca().build().expect("constant")).expect("constant");
        let usage = KeyUsage::new().critical().key_cert_sign().crl_sign().build().expect("constant");
        builder.append_extension(usage).expect("constant");
        builder.sign(&key, MessageDigest::sha256()).expect("a P-256 key signs");
        let folder = tempfile::Builder::new().prefix("ts-ca-").tempdir().expect("a temporary folder").keep();
        let folder = Arc::new(Guard::new(&folder, Command::new(guard::SHELL), "KILL", &[]));
        let file = folder.folder().join("ca.pem");
        let ca = Ca { certificate: builder.build(), key, file, folder, issued: AtomicU32::new(1) };
        fs::write(ca.file(), ca.pem()).expect("own folder");
        ca
    }

    /// The authority's certificate, PEM.
    pub fn pem(&self) -> String {
        pem(self.certificate.to_pem())
    }

    /// File with [`Ca::pem`], for `sslrootcert`.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// For a server called `db.test`, `localhost` and `127.0.0.1`, valid from yesterday for 30 days.
    pub fn server(&self) -> Identity {
        self.server_with(&Ca::NAMES, -1..30)
    }

    /// The same, but it expired yesterday.
    pub fn expired_server(&self) -> Identity {
        self.server_with(&Ca::NAMES, -30..-1)
    }

    /// For a server with these names (DNS names and IP addresses), valid in these days, counted from now.
    pub fn server_with(&self, names: &[&str], days: Range<i32>) -> Identity {
        self.issue(names[0], names, days, ExtendedKeyUsage::new().server_auth())
    }

    /// For a client whose role is `role`: that is the common name, which PostgreSQL's `cert` method compares.
    pub fn client(&self, role: &str) -> Identity {
        self.issue(role, &[], -1..30, ExtendedKeyUsage::new().client_auth())
    }

    fn issue(&self, common_name: &str, names: &[&str], days: Range<i32>, usage: &mut ExtendedKeyUsage) -> Identity {
        let serial = 1 + self.issued.fetch_add(1, Ordering::Relaxed);
        let key = new_key();
        let mut builder = builder(common_name, serial, days, &key);
        builder.set_issuer_name(self.certificate.subject_name()).expect("the CA's own name");
        if !names.is_empty() {
            let mut alternatives = SubjectAlternativeName::new();
            for name in names {
                match name.parse::<IpAddr>() {
                    Ok(_) => alternatives.ip(name),
                    Err(_) => alternatives.dns(name),
                };
            }
            let context = builder.x509v3_context(Some(&self.certificate), None);
            let alternatives = alternatives.build(&context).expect("names that OpenSSL takes");
            builder.append_extension(alternatives).expect("built by OpenSSL");
        }
        builder.append_extension(usage.build().expect("constant")).expect("constant");
        builder.sign(&self.key, MessageDigest::sha256()).expect("a P-256 key signs");
        let identity = Identity {
            certificate: pem(builder.build().to_pem()),
            key: pem(key.private_key_to_pem_pkcs8()),
            issuer: self.pem(),
            certificate_file: self.folder.folder().join(format!("{serial}.crt")),
            key_file: self.folder.folder().join(format!("{serial}.key")),
            _folder: self.folder.clone(),
        };
        fs::write(identity.certificate_file(), &identity.certificate).expect("own folder");
        write_private(identity.key_file(), &identity.key);
        identity
    }
}

impl Identity {
    /// The certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The private key, PKCS#8 in PEM.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// File with [`Identity::certificate`], for `sslcert`.
    pub fn certificate_file(&self) -> &Path {
        &self.certificate_file
    }

    /// File with [`Identity::key`], mode 0600, for `sslkey`.
    pub fn key_file(&self) -> &Path {
        &self.key_file
    }

    /// The issuer's certificate, PEM.
    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }
}

/// Writes a new file, or an old one anew, that only its owner can read.
pub(crate) fn write_private(path: &Path, text: &str) {
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

fn new_key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).expect("OpenSSL knows P-256");
    PKey::from_ec_key(EcKey::generate(&group).expect("OpenSSL makes keys")).expect("an EC key is a key")
}

/// A version 3 certificate with all but issuer, extensions and signature.
fn builder(common_name: &str, serial: u32, days: Range<i32>, key: &PKey<Private>) -> X509Builder {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs().cast_signed();
    let time = |day: i32| Asn1Time::from_unix(now + i64::from(day) * 86_400).expect("a year of four digits");
    let mut builder = X509Builder::new().expect("OpenSSL has memory");
    builder.set_version(2).expect("version 3");
    let serial = BigNum::from_u32(serial).and_then(|serial| serial.to_asn1_integer()).expect("a small number");
    builder.set_serial_number(&serial).expect("a small number");
    builder.set_subject_name(&name(common_name)).expect("a name");
    builder.set_not_before(&time(days.start)).expect("a time");
    builder.set_not_after(&time(days.end)).expect("a time");
    builder.set_pubkey(key).expect("a P-256 key");
    builder
}

fn name(common_name: &str) -> openssl::x509::X509Name {
    let mut name = X509NameBuilder::new().expect("OpenSSL has memory");
    name.append_entry_by_nid(Nid::COMMONNAME, common_name).expect("a common name of at most 64 characters");
    name.build()
}

fn pem(encoded: Result<Vec<u8>, openssl::error::ErrorStack>) -> String {
    String::from_utf8(encoded.expect("OpenSSL writes what it made")).expect("PEM is ASCII")
}
