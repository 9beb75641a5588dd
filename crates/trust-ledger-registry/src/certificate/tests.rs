use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::x509::{X509Builder, X509NameBuilder};

use super::fixture::{Fixture, validity};
use super::*;
use crate::der::build::{element, extension, sequence};
use crate::name::NameKind;

fn read(fixture: &Fixture) -> Certificate {
    Certificate::from_der(&fixture.der()).unwrap()
}

fn values(certificate: &Certificate) -> Vec<(NameKind, &str)> {
    certificate.names().iter().map(|name| (name.kind, name.value.as_str())).collect()
}

/// 1.3.6.1.5.5.7.3.1.
const SERVER_AUTH: &[u8] = &[0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];

#[test]
fn every_field_of_a_plain_certificate_is_read() {
    let fixture = Fixture::self_signed("root").extension(&[0x55, 0x1d, 19], &[0x30, 3, 1, 1, 0xff]);
    let der = fixture.der();
    let certificate = Certificate::from_der(&der).unwrap();
    assert_eq!(certificate.der(), der);
    assert_eq!(certificate.fingerprint(), openssl::sha::sha256(&der).as_slice());
    assert_eq!(certificate.version(), 3);
    assert_eq!(certificate.subject().text(), "CN=root");
    assert_eq!(certificate.not_before(), datetime!(2024-01-01 0:00 UTC));
    assert_eq!((certificate.key_algorithm(), certificate.key_bits()), ("Ed25519", Some(256)));
    assert_eq!(certificate.signature_algorithm(), "ED25519");
    assert_eq!(certificate.public_key(), fixture.public_key);
    assert!(certificate.is_ca() && certificate.is_self_signed());
    assert_eq!(certificate.weaknesses(), []);
}

#[test]
fn serials_that_break_the_rules_are_accepted() {
    for (octets, hex) in
        [(vec![0], "0"), (vec![0xff], "-1"), (vec![0x80, 0], "-8000"), (vec![0x11; 21], &*"11".repeat(21))]
    {
        assert_eq!(read(&Fixture { serial: octets, ..Fixture::new() }).serial().to_hex(), hex);
    }
    let empty = Certificate::from_der(&Fixture { serial: vec![], ..Fixture::new() }.der());
    assert_eq!(empty.unwrap_err(), CertificateError::Serial(SerialError::Empty));
}

#[test]
fn dates_that_make_no_sense_together_or_lie_far_away_are_accepted() {
    let dates = |tag, not_before: &str, not_after: &str| {
        let certificate = read(&Fixture { validity: validity(tag, not_before, not_after), ..Fixture::new() });
        (certificate.not_before(), certificate.not_after())
    };
    let (not_before, not_after) = dates(tag::UTC_TIME, "300101000000Z", "200101000000Z");
    assert!(not_after < not_before);
    assert_eq!(dates(tag::GENERALIZED_TIME, "19500101000000Z", "99991231235959Z").1, NEVER);
    assert_eq!(dates(tag::UTC_TIME, "690101000000Z", "690101000000Z").0, datetime!(1969-01-01 0:00 UTC));
    assert_eq!(dates(tag::UTC_TIME, "240101000000+0200", "2401010000Z").0, datetime!(2023-12-31 22:00 UTC));
    assert_eq!(dates(tag::UTC_TIME, "240101000000", "340101000000").0, datetime!(2024-01-01 0:00 UTC));
}

#[test]
fn a_date_that_is_none_is_refused_by_its_field() {
    let fixture = Fixture { validity: validity(tag::UTC_TIME, "240101000000Z", "241301000000Z"), ..Fixture::new() };
    let error = Certificate::from_der(&fixture.der()).unwrap_err().to_string();
    assert!(error.contains("notAfter at byte"), "{error}");
}

#[test]
fn trailing_bytes_are_refused_with_their_count() {
    let mut der = Fixture::new().der();
    let offset = der.len();
    der.extend_from_slice(b"xyz");
    assert_eq!(Certificate::from_der(&der).unwrap_err(), CertificateError::TrailingBytes { offset, count: 3 });
}

#[test]
fn every_truncation_is_an_error() {
    let der = Fixture::new().names(&[(0x82, b"a.example")]).der();
    for length in 0..der.len() {
        assert!(Certificate::from_der(&der[..length]).is_err(), "{length}");
    }
}

#[test]
fn sizes_are_accepted_up_to_one_mebibyte() {
    let sized = |bytes: usize| {
        let fixture = Fixture::new().extension(&[0x2a, 3], &[]);
        let shortfall = bytes - fixture.der().len();
        // The lengths around a large value take up to 12 octets more than those around none.
        (shortfall - 16..shortfall)
            .map(|size| Fixture::new().extension(&[0x2a, 3], &vec![0; size]).der())
            .find(|der| der.len() == bytes)
            .unwrap()
    };
    assert!(Certificate::from_der(&sized(MAX_CERTIFICATE_BYTES)).is_ok());
    let error = Certificate::from_der(&sized(MAX_CERTIFICATE_BYTES + 1)).unwrap_err();
    assert_eq!(error, CertificateError::TooLarge { bytes: MAX_CERTIFICATE_BYTES + 1 });
}

#[test]
fn names_of_every_kind_are_read_in_order_and_once() {
    let upn =
        [&[0x06, 10, 0x2b, 6, 1, 4, 1, 0x82, 0x37, 20, 2, 3][..], &element(0xa0, element(0x0c, "Joe@CORP"))].concat();
    let certificate = read(&Fixture::new().names(&[
        (0x82, b"B.example."),
        (0x82, b"a.example"),
        (0x82, b"b.EXAMPLE"),
        (0x87, &[10, 0, 0, 1]),
        (0x87, &[1, 2, 3]),
        (0x81, b"Joe@Example.COM"),
        (0x86, b"https://x.example/"),
        (0xa0, &upn),
        (0x88, &[0x2a, 3]),
        (0x82, b"nul\0.example"),
        (0x82, "b\u{202e}idi\x1b.example".as_bytes()),
    ]));
    assert_eq!(
        values(&certificate),
        [
            (NameKind::Dns, "b.example"),
            (NameKind::Dns, "a.example"),
            (NameKind::Ip, "10.0.0.1"),
            (NameKind::Ip, "010203"),
            (NameKind::Email, "Joe@example.com"),
            (NameKind::Uri, "https://x.example/"),
            (NameKind::Upn, "Joe@corp"),
            (NameKind::Dns, "nul\\00.example"),
            (NameKind::Dns, "b\u{202e}idi\u{1b}.example"),
        ]
    );
}

#[test]
fn thousands_of_names_are_read_once_each() {
    let texts: Vec<String> = (0..5000).map(|number| format!("host-{}.example", number % 3000)).collect();
    let names: Vec<(u8, &[u8])> = texts.iter().map(|text| (0x82, text.as_bytes())).collect();
    assert_eq!(read(&Fixture::new().names(&names)).names().len(), 3000);
}

#[test]
fn damaged_and_unknown_extensions_do_not_refuse_the_certificate() {
    for value in [&b""[..], b"\xff", &[0x30, 0x05, 0x82], &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff], &[0x04, 0x00]] {
        for id in [14, 15, 17, 19, 30, 31, 32, 35, 37] {
            let certificate = read(&Fixture::new().extension(&[0x55, 0x1d, id], value));
            assert!(!certificate.is_ca() && certificate.names().is_empty());
            assert_eq!(certificate.details().len(), 9);
        }
    }
    let mut fixture = Fixture::new();
    fixture.extensions.push(extension(&[0x2a, 3, 4], true, &[0x05, 0x00]));
    let detail = read(&fixture).details().pop().unwrap();
    assert_eq!(detail, Detail { label: String::from("1.2.3.4"), value: String::from("0500"), critical: true });
}

#[test]
fn unknown_algorithms_are_shown_by_oid_and_known_new_ones_by_name() {
    let key = |id: &[u8], key: &[u8]| {
        let algorithm = sequence(&[&element(tag::OID, id)]);
        let fixture = Fixture {
            public_key: sequence(&[&algorithm, &element(tag::BIT_STRING, [&[0], key].concat())]),
            algorithm,
            ..Fixture::new()
        };
        let certificate = read(&fixture);
        assert!(!certificate.is_self_signed());
        (certificate.key_algorithm().to_owned(), certificate.signature_algorithm().to_owned(), certificate.key_bits())
    };
    let text = |text: &str| text.to_owned();
    assert_eq!(key(&[0x2a, 3, 4], b"?"), (text("1.2.3.4"), text("1.2.3.4"), None));
    let ml_dsa_65 = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 18];
    assert_eq!(key(&ml_dsa_65, &[7; 1952]), (text("ML-DSA-65"), text("ML-DSA-65"), None));
    let rsa = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 1];
    for odd in [&[][..], &[0x30, 0x00], &[0x30, 0x02, 0x02, 0x00], &[0x30, 0x03, 0x02, 0x01, 0x00], b"\xff\xff"] {
        assert_eq!(key(&rsa, odd), (text("RSA"), text("1.2.840.113549.1.1.1"), None), "{odd:?}");
    }
    assert_eq!(key(&rsa, &[0x30, 0x04, 0x02, 0x02, 0x80, 0x01]).2, Some(16));
}

#[test]
fn the_category_follows_from_what_the_certificate_is_for() {
    let ca: &[u8] = &[0x30, 3, 1, 1, 0xff];
    let eku = element(tag::SEQUENCE, SERVER_AUTH);
    let category = |fixture: Fixture| read(&fixture).default_category();
    assert_eq!(category(Fixture::new()), Category::Device);
    assert_eq!(category(Fixture::new().names(&[(0x81, b"a@b")])), Category::User);
    let server = Fixture::new().names(&[(0x81, b"a@b")]).extension(&[0x55, 0x1d, 37], &eku);
    assert_eq!(category(server), Category::Service);
    let server_ca = Fixture::new().extension(&[0x55, 0x1d, 37], &eku).extension(&[0x55, 0x1d, 19], ca);
    assert_eq!(category(server_ca), Category::Ca);
    let not_a_ca = Fixture::new().extension(&[0x55, 0x1d, 19], &[0x30, 0]);
    assert_eq!(category(not_a_ca), Category::Device);
    let email = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01];
    let attribute = sequence(&[&element(tag::OID, email), &element(0x16, "a@b")]);
    let subject = sequence(&[&element(tag::SET, attribute)]);
    assert_eq!(category(Fixture { subject, ..Fixture::new() }), Category::User);
}

#[test]
fn a_certificate_is_called_by_the_first_name_it_has() {
    let nameless = || Fixture { subject: sequence(&[]), ..Fixture::new() };
    assert_eq!(read(&Fixture::new().names(&[(0x82, b"a.example")])).display_name(), "subject");
    assert_eq!(read(&nameless().names(&[(0x82, b"xn--bcher-kva.example")])).display_name(), "bücher.example");
    let attribute = sequence(&[&element(tag::OID, [0x55, 4, 10]), &element(0x0c, "Example")]);
    let organisation = Fixture { subject: sequence(&[&element(tag::SET, attribute)]), ..Fixture::new() };
    assert_eq!(read(&organisation).display_name(), "O=Example");
    assert_eq!(read(&nameless()).display_name().len(), 64);
}

#[test]
fn a_precertificate_is_known_by_its_poison() {
    let poison = [0x2b, 6, 1, 4, 1, 0xd6, 0x79, 2, 4, 3];
    assert!(read(&Fixture::new().extension(&poison, &[5, 0])).is_precertificate());
    assert!(!read(&Fixture::new()).is_precertificate());
}

#[test]
fn key_identifiers_of_both_sides_are_read() {
    let certificate = read(
        &Fixture::new()
            .extension(&[0x55, 0x1d, 14], &[4, 2, 0xab, 0xcd])
            .extension(&[0x55, 0x1d, 35], &[0x30, 3, 0x80, 1, 9]),
    );
    assert_eq!(certificate.subject_key_id(), Some(&[0xab, 0xcd][..]));
    assert_eq!(certificate.authority_key_id(), Some(&[9][..]));
}

#[test]
fn details_spell_the_extensions_out() {
    let certificate = read(
        &Fixture::new()
            .extension(&[0x55, 0x1d, 19], &[0x30, 6, 1, 1, 0xff, 2, 1, 3])
            .extension(&[0x55, 0x1d, 15], &[3, 2, 1, 0x06])
            .extension(&[0x55, 0x1d, 37], &element(tag::SEQUENCE, SERVER_AUTH))
            .names(&[(0x82, b"a.example"), (0x87, &[10, 0, 0, 1])])
            .extension(
                &[0x55, 0x1d, 31],
                &sequence(&[&sequence(&[&element(0xa0, element(0xa0, element(0x86, "http://c/")))])]),
            ),
    );
    let details: Vec<(String, String)> =
        certificate.details().into_iter().skip(8).map(|detail| (detail.label, detail.value)).collect();
    let pair = |label: &str, value: &str| (label.to_owned(), value.to_owned());
    assert_eq!(
        details,
        [
            pair("basicConstraints", "CA, path length 3"),
            pair("keyUsage", "keyCertSign, cRLSign"),
            pair("extKeyUsage", "serverAuth"),
            pair("subjectAltName", "dns:a.example, ip:10.0.0.1"),
            pair("cRLDistributionPoints", "uri:http://c/"),
        ]
    );
}

/// A self-signed RSA certificate made by OpenSSL.
fn rsa_certificate(bits: u32, digest: MessageDigest) -> Vec<u8> {
    let key = PKey::from_rsa(Rsa::generate(bits).unwrap()).unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_nid(Nid::COMMONNAME, "rsa").unwrap();
    let name = name.build();
    let mut builder = X509Builder::new().unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&openssl::asn1::Asn1Time::from_unix(0).unwrap()).unwrap();
    builder.set_not_after(&openssl::asn1::Asn1Time::from_unix(1 << 32).unwrap()).unwrap();
    builder.sign(&key, digest).unwrap();
    builder.build().to_der().unwrap()
}

#[test]
fn broken_hashes_and_short_rsa_keys_are_weaknesses_of_roots_too() {
    let weak = Certificate::from_der(&rsa_certificate(1024, MessageDigest::sha1())).unwrap();
    assert!(weak.is_self_signed());
    let names: Vec<&str> = weak.weaknesses().iter().map(Weakness::as_str).collect();
    assert_eq!(names, ["weak-signature", "weak-key"]);
    assert_eq!(weak.weaknesses()[0].to_string(), "weak-signature: signed over SHA-1");
    let strong = Certificate::from_der(&rsa_certificate(2048, MessageDigest::sha256())).unwrap();
    assert_eq!(strong.weaknesses(), []);
    assert_eq!(strong.signature_algorithm(), "sha256WithRSAEncryption");
}

#[test]
fn only_the_signer_s_key_and_the_untouched_bytes_verify() {
    let fixture = Fixture::self_signed("root");
    let own = PublicKey::from_spki(&fixture.public_key).unwrap();
    let other = PublicKey::from_spki(&Fixture::new().public_key).unwrap();
    let mut der = fixture.der();
    let certificate = Certificate::from_der(&der).unwrap();
    assert!(certificate.is_signed_by(&own) && !certificate.is_signed_by(&other));

    let rsa = Certificate::from_der(&rsa_certificate(2048, MessageDigest::sha256())).unwrap();
    let rsa_key = PublicKey::from_spki(rsa.public_key()).unwrap();
    assert!(rsa.is_signed_by(&rsa_key) && !certificate.is_signed_by(&rsa_key) && !rsa.is_signed_by(&own));

    let last = der.len() - 1;
    der[last] ^= 1;
    assert!(!Certificate::from_der(&der).unwrap().is_signed_by(&own));
    assert!(ErrorStack::get().errors().is_empty());
}

#[test]
fn an_algorithm_that_differs_inside_and_outside_does_not_verify() {
    let fixture = Fixture::self_signed("root");
    let mut der = fixture.der();
    let algorithm = [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];
    let outer = der.windows(7).rposition(|window| window == algorithm).unwrap();
    der[outer + 6] = 0x71;
    assert!(!Certificate::from_der(&der).unwrap().is_self_signed());
}
