//! Certificates for tests, made and signed by OpenSSL, and ledgers whose clocks stand still.

use std::path::{Path, PathBuf};

use openssl::asn1::{Asn1Integer, Asn1Object, Asn1OctetString, Asn1Time};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName, SubjectKeyIdentifier,
};
use openssl::x509::{X509, X509Builder, X509Extension, X509NameBuilder};
use strongroom::{Config, KeySource};
use test_servers::{Postgres, TestDatabase};
use time::macros::datetime;
use time::{Duration, OffsetDateTime};
use trust_ledger_registry::{
    Annotations, Certificate, ImportInput, ImportOptions, ImportSummary, MIGRATIONS, Record, Registry,
};
use uuid::Uuid;

/// The time at which the tests' ledgers live.
pub(crate) const NOW: OffsetDateTime = datetime!(2026-11-21 12:00 UTC);

/// NIST's path validation suite: the folder that holds its `certs` and `crls`, which the test set-up provides (see
/// CONTRIBUTING.md). Without it a test is skipped, or fails where nothing may be skipped.
pub(crate) fn pkits() -> Option<PathBuf> {
    let folder = std::env::var_os("TRUST_LEDGER_PKITS");
    if folder.is_none() {
        test_servers::needs::skip("TRUST_LEDGER_PKITS");
    }
    folder.map(PathBuf::from)
}

/// An empty ledger at [`NOW`].
pub(crate) struct Ledger {
    registry: Registry,
    /// Removed when this is dropped, after the register.
    place: Place,
}

/// What a ledger is in.
enum Place {
    Memory,
    /// In another one's.
    Elsewhere,
    #[expect(dead_code, reason = "removed when dropped")]
    Folder(tempfile::TempDir),
    #[expect(dead_code, reason = "removed when dropped")]
    Server(TestDatabase<'static>),
}

impl std::ops::Deref for Ledger {
    type Target = Registry;

    fn deref(&self) -> &Registry {
        &self.registry
    }
}

/// A ledger on each engine: in memory, in an encrypted file, and on a server, where PostgreSQL is installed.
pub(crate) async fn ledgers() -> Vec<Ledger> {
    let mut ledgers = Vec::new();
    for (config, place) in places() {
        let db = config.connect().await.unwrap();
        ledgers.push(Ledger { registry: Registry::open(db).with_clock(|| NOW), place });
    }
    ledgers
}

/// Several machines that share an empty ledger, at [`NOW`]: each has connections and a memory of its own. None where
/// PostgreSQL is not installed.
pub(crate) async fn machines(number: usize) -> Vec<Ledger> {
    let mut machines = Vec::new();
    if !test_servers::needs::postgres() {
        return machines;
    }
    let database = Postgres::shared().create_database();
    let url = database.url();
    for _ in 0..number {
        let config = Config::from_url(&url).unwrap().migrations(&MIGRATIONS).migrate(true);
        let registry = Registry::open(config.connect().await.unwrap()).with_clock(|| NOW);
        machines.push(Ledger { registry, place: Place::Elsewhere });
    }
    // Dropped last, it takes the database along.
    if let Some(last) = machines.last_mut() {
        last.place = Place::Server(database);
    }
    machines
}

fn places() -> Vec<(Config, Place)> {
    let folder = tempfile::tempdir().unwrap();
    // A raw key: what it takes to derive one is not the matter here.
    let file =
        Config::sqlite(folder.path().join("ledger.db")).key(KeySource::literal(format!("x'{}'", "5a".repeat(32))));
    let mut places = vec![(Config::memory(), Place::Memory), (file, Place::Folder(folder))];
    if test_servers::needs::postgres() {
        let database = Postgres::shared().create_database();
        places.push((Config::from_url(&database.url()).unwrap(), Place::Server(database)));
    }
    let with_schema = |(config, place): (Config, Place)| (config.migrations(&MIGRATIONS).migrate(true), place);
    places.into_iter().map(with_schema).collect()
}

pub(crate) fn key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

/// A CA that can sign.
pub(crate) struct Ca {
    pub(crate) x509: X509,
    pub(crate) key: PKey<Private>,
}

impl Ca {
    pub(crate) fn new(name: &str) -> Ca {
        Ca::with_key(name, key())
    }

    pub(crate) fn with_key(name: &str, key: PKey<Private>) -> Ca {
        let x509 = Leaf::new(name).ca().key(&key).build(None);
        Ca { x509, key }
    }

    pub(crate) fn certificate(&self) -> Certificate {
        Certificate::from_der(&self.x509.to_der().unwrap()).unwrap()
    }

    pub(crate) fn issue(&self, leaf: &Leaf) -> Certificate {
        Certificate::from_der(&leaf.build(Some(self)).to_der().unwrap()).unwrap()
    }
}

/// What a certificate is to say. By default valid from ten days ago for a hundred days, with a random serial and key.
#[derive(Clone)]
pub(crate) struct Leaf {
    common_name: Option<String>,
    organization: Option<String>,
    dns: Vec<String>,
    serial: BigNumBytes,
    from: OffsetDateTime,
    until: OffsetDateTime,
    key: Option<PKey<Private>>,
    is_ca: bool,
    signs_lists: bool,
    list_delegate: Option<Vec<u8>>,
    is_precertificate: bool,
    with_authority_key_id: bool,
    digest: MessageDigest,
}

type BigNumBytes = Vec<u8>;

impl Leaf {
    pub(crate) fn new(common_name: &str) -> Leaf {
        let mut serial = Uuid::now_v7().as_bytes().to_vec();
        serial[0] &= 0x7f;
        serial[0] |= 1;
        Leaf {
            common_name: Some(common_name.to_owned()),
            organization: None,
            dns: Vec::new(),
            serial,
            from: NOW - Duration::days(10),
            until: NOW + Duration::days(90),
            key: None,
            is_ca: false,
            signs_lists: false,
            list_delegate: None,
            is_precertificate: false,
            with_authority_key_id: true,
            digest: MessageDigest::sha256(),
        }
    }

    pub(crate) fn nameless(organization: &str) -> Leaf {
        Leaf { common_name: None, organization: Some(organization.to_owned()), ..Leaf::new("") }
    }

    pub(crate) fn dns(mut self, name: &str) -> Leaf {
        self.dns.push(name.to_owned());
        self
    }

    pub(crate) fn serial(mut self, serial: u64) -> Leaf {
        self.serial = serial.to_be_bytes().to_vec();
        self
    }

    pub(crate) fn valid(mut self, from: OffsetDateTime, until: OffsetDateTime) -> Leaf {
        (self.from, self.until) = (from, until);
        self
    }

    pub(crate) fn key(mut self, key: &PKey<Private>) -> Leaf {
        self.key = Some(key.clone());
        self
    }

    pub(crate) fn ca(mut self) -> Leaf {
        self.is_ca = true;
        self
    }

    /// With keyUsage cRLSign.
    pub(crate) fn signs_lists(mut self) -> Leaf {
        self.signs_lists = true;
        self
    }

    /// With a CRL distribution point whose cRLIssuer is this one's subject.
    pub(crate) fn delegates_to(mut self, other: &X509) -> Leaf {
        self.list_delegate = Some(other.subject_name().to_der().unwrap());
        self
    }

    pub(crate) fn precertificate(mut self) -> Leaf {
        self.is_precertificate = true;
        self
    }

    pub(crate) fn without_authority_key_id(mut self) -> Leaf {
        self.with_authority_key_id = false;
        self
    }

    pub(crate) fn sha1(mut self) -> Leaf {
        self.digest = MessageDigest::sha1();
        self
    }

    /// Signed by the CA, or by itself.
    pub(crate) fn build(&self, ca: Option<&Ca>) -> X509 {
        let mut name = X509NameBuilder::new().unwrap();
        if let Some(common_name) = &self.common_name {
            name.append_entry_by_nid(Nid::COMMONNAME, common_name).unwrap();
        }
        if let Some(organization) = &self.organization {
            name.append_entry_by_nid(Nid::ORGANIZATIONNAME, organization).unwrap();
        }
        let name = name.build();
        let own = self.key.clone().unwrap_or_else(key);
        let mut builder = X509Builder::new().unwrap();
        builder.set_version(2).unwrap();
        builder.set_subject_name(&name).unwrap();
        builder.set_issuer_name(ca.map_or(&name, |ca| ca.x509.subject_name())).unwrap();
        builder.set_pubkey(&own).unwrap();
        let serial = BigNum::from_slice(&self.serial).unwrap();
        builder.set_serial_number(&Asn1Integer::from_bn(&serial).unwrap()).unwrap();
        builder.set_not_before(&Asn1Time::from_unix(self.from.unix_timestamp()).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::from_unix(self.until.unix_timestamp()).unwrap()).unwrap();
        let mut extensions = Vec::new();
        {
            let context = builder.x509v3_context(ca.map(|ca| &*ca.x509), None);
            extensions.push(SubjectKeyIdentifier::new().build(&context).unwrap());
            if self.is_ca {
                extensions.push(BasicConstraints::new().critical().ca().build().unwrap());
            } else {
                extensions.push(ExtendedKeyUsage::new().server_auth().build().unwrap());
            }
            if ca.is_some() && self.with_authority_key_id {
                extensions.push(AuthorityKeyIdentifier::new().keyid(true).build(&context).unwrap());
            }
            if !self.dns.is_empty() {
                let mut names = SubjectAlternativeName::new();
                for dns in &self.dns {
                    names.dns(dns);
                }
                extensions.push(names.build(&context).unwrap());
            }
        }
        if self.signs_lists {
            extensions.push(KeyUsage::new().critical().crl_sign().build().unwrap());
        }
        if let Some(name) = &self.list_delegate {
            let points = Asn1Object::from_str("2.5.29.31").unwrap();
            let point = tlv(0x30, &tlv(0x30, &tlv(0xa2, &tlv(0xa4, name))));
            let points_value = Asn1OctetString::new_from_bytes(&point).unwrap();
            extensions.push(X509Extension::new_from_der(&points, false, &points_value).unwrap());
        }
        if self.is_precertificate {
            let poison = Asn1Object::from_str("1.3.6.1.4.1.11129.2.4.3").unwrap();
            let null = Asn1OctetString::new_from_bytes(&[5, 0]).unwrap();
            extensions.push(X509Extension::new_from_der(&poison, true, &null).unwrap());
        }
        for extension in extensions {
            builder.append_extension(extension).unwrap();
        }
        builder.sign(ca.map_or(&own, |ca| &ca.key), self.digest).unwrap();
        builder.build()
    }
}

/// Registers without annotations.
pub(crate) async fn add(registry: &Registry, certificate: &Certificate) -> Uuid {
    registry.register(certificate, &Annotations::default()).await.unwrap().id()
}

/// The record, which must be there.
pub(crate) async fn get(registry: &Registry, id: Uuid) -> Record {
    registry.get(id).await.unwrap().expect("the record is there")
}

/// DER by hand: a SEQUENCE, or anything with this tag.
pub(crate) fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut der = vec![tag];
    match content.len() {
        length @ 0..128 => der.push(u8::try_from(length).unwrap()),
        length => {
            der.push(0x84);
            der.extend(u32::try_from(length).unwrap().to_be_bytes());
        }
    }
    der.extend(content);
    der
}

pub(crate) async fn import(registry: &Registry, path: &Path) -> ImportSummary {
    import_with(registry, path, &ImportOptions::default()).await
}

pub(crate) async fn import_with(registry: &Registry, path: &Path, options: &ImportOptions) -> ImportSummary {
    registry.import(vec![ImportInput::Path(path.to_owned())], options, &mut |_| {}).await.unwrap()
}

pub(crate) fn pem(certificate: &Certificate) -> Vec<u8> {
    X509::from_der(certificate.der()).unwrap().to_pem().unwrap()
}
