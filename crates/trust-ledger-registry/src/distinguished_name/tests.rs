use std::io::Write as _;
use std::process::{Command, Stdio};

use super::*;

/// Type octets, value tag, value octets.
type Attribute<'a> = (&'a [u8], u8, &'a [u8]);

/// A Name whose RDNs are given as lists of attributes.
fn name(rdns: &[&[Attribute<'_>]]) -> Vec<u8> {
    let element = |tag: u8, content: &[u8]| {
        let mut whole = vec![tag];
        match content.len() {
            length @ 0..=127 => whole.push(length as u8),
            length => whole.extend_from_slice(&[0x82, (length >> 8) as u8, length as u8]),
        }
        whole.extend_from_slice(content);
        whole
    };
    let mut content = Vec::new();
    for rdn in rdns {
        let mut set = Vec::new();
        for (kind, tag, value) in *rdn {
            set.extend(element(0x30, &[element(0x06, kind), element(*tag, value)].concat()));
        }
        content.extend(element(0x31, &set));
    }
    element(0x30, &content)
}

fn read(rdns: &[&[Attribute<'_>]]) -> DistinguishedName {
    DistinguishedName::from_der(&name(rdns)).unwrap()
}

const CN: &[u8] = &[0x55, 0x04, 0x03];
const O: &[u8] = &[0x55, 0x04, 0x0a];
const UID: &[u8] = &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, 0x01];
const UTF8: u8 = 0x0c;
const PRINTABLE: u8 = 0x13;

/// What OpenSSL prints for the same name, by way of a certificate request made by hand.
fn openssl_text(name: &[u8]) -> String {
    // SEQUENCE { version 0, subject, an Ed25519 key, no attributes }, an algorithm and an empty signature.
    let key = [&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00][..], &[7; 32]].concat();
    let sequence =
        |content: Vec<u8>| [&[0x30, 0x82, (content.len() >> 8) as u8, content.len() as u8][..], &content].concat();
    let info = sequence([&[2, 1, 0][..], name, &key, &[0xa0, 0]].concat());
    let algorithm = [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];
    let request = sequence([&info[..], &algorithm, &[3, 1, 0]].concat());
    let mut child = Command::new("openssl")
        .args(["req", "-inform", "DER", "-noout", "-subject", "-nameopt", "RFC2253,-esc_msb"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&request).unwrap();
    let output = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    output.strip_prefix("subject=").unwrap_or(&output).trim_end_matches('\n').to_owned()
}

#[test]
fn the_text_is_rfc_4514_and_equals_openssl() {
    let cases: [(Vec<u8>, &str); 13] = [
        (name(&[&[(O, UTF8, b"Example")], &[(CN, UTF8, b"www")]]), "CN=www,O=Example"),
        (name(&[&[(CN, UTF8, b"a"), (UID, UTF8, b"b")]]), "UID=b+CN=a"),
        (name(&[&[(CN, UTF8, br#"a,b+c"d\e<f>g;h=i#j"#)]]), r#"CN=a\,b\+c\"d\\e\<f\>g\;h=i#j"#),
        (name(&[&[(CN, UTF8, b" lead and trail ")]]), r"CN=\ lead and trail\ "),
        (name(&[&[(CN, UTF8, b"#hash")]]), r"CN=\#hash"),
        (name(&[&[(CN, UTF8, b"")]]), "CN="),
        (name(&[&[(CN, UTF8, b"nul\0and\nline\x7f")]]), r"CN=nul\00and\0Aline\7F"),
        (name(&[&[(CN, UTF8, "Åke 測試 🔐".as_bytes())]]), "CN=Åke 測試 🔐"),
        (name(&[&[(CN, 0x14, b"M\xfcller")]]), "CN=Müller"),
        (name(&[&[(CN, 0x1e, b"\0M\0\xfc\x4e\x2d")]]), "CN=Mü中"),
        (name(&[&[(CN, 0x1c, b"\0\0\0M\0\x01\xf5\x10")]]), "CN=M🔐"),
        (name(&[&[(&[0x2a, 0x03, 0x04], UTF8, b"x")]]), "1.2.3.4=#0C0178"),
        (name(&[&[(CN, 0x03, b"\x00\x01")]]), "CN=#03020001"),
    ];
    for (der, expected) in cases {
        assert_eq!(DistinguishedName::from_der(&der).unwrap().text(), expected);
        assert_eq!(openssl_text(&der), expected, "OpenSSL's own reading");
    }
}

#[test]
fn names_that_openssl_cannot_print_are_still_readable() {
    assert_eq!(read(&[&[(CN, 0x1e, b"\xd8\x3d\xdd\x10")]]).text(), "CN=🔐");
    assert_eq!(read(&[&[(CN, UTF8, b"M\xfcller")]]).text(), "CN=Müller");
    assert_eq!(read(&[&[(CN, 0x1e, b"odd")]]).text(), "CN=#1E036F6464");
    assert_eq!(read(&[&[(CN, 0x04, b"\x01")]]).text(), "CN=#040101");
}

#[test]
fn the_common_name_is_the_most_specific_one_with_nul_escaped() {
    let name = read(&[&[(CN, UTF8, b"Root")], &[(CN, UTF8, b"good.example\0.evil")]]);
    assert_eq!(name.common_name(), Some("good.example\\00.evil"));
    assert_eq!(read(&[&[(O, UTF8, b"x")]]).common_name(), None);
}

#[test]
fn the_empty_name_is_a_name() {
    let empty = read(&[]);
    assert!(empty.is_empty());
    assert_eq!(empty.text(), "");
}

#[test]
fn comparison_ignores_string_type_case_and_white_space() {
    let key = |value: &[u8], tag| *read(&[&[(CN, tag, value)]]).comparison_key();
    let plain = key(b"Example CA", UTF8);
    assert_eq!(key(b"  example   CA ", PRINTABLE), plain);
    assert_eq!(key(b"\0E\0x\0a\0m\0p\0l\0e\0 \0C\0A", 0x1e), plain);
    assert_ne!(key(b"ExampleCA", UTF8), plain);
    assert_ne!(key(b"Example CA", 0x04), plain);
    assert_eq!(key("ÅKE".as_bytes(), UTF8), key(b"\xe5ke", 0x14));
}

#[test]
fn comparison_ignores_the_order_within_an_rdn_and_not_that_of_rdns() {
    let a: Attribute<'_> = (CN, UTF8, b"a");
    let o: Attribute<'_> = (O, UTF8, b"o");
    assert_eq!(read(&[&[a, o]]).comparison_key(), read(&[&[o, a]]).comparison_key());
    assert_ne!(read(&[&[a], &[o]]).comparison_key(), read(&[&[o], &[a]]).comparison_key());
    assert_ne!(read(&[&[a], &[o]]).comparison_key(), read(&[&[a, o]]).comparison_key());
}

#[test]
fn a_name_with_wrong_types_or_trailing_bytes_is_refused() {
    assert!(DistinguishedName::from_der(&[]).is_err());
    assert!(DistinguishedName::from_der(&[0x31, 0x00]).is_err());
    assert!(DistinguishedName::from_der(&[0x30, 0x02, 0x30, 0x00]).is_err());
    assert_eq!(DistinguishedName::from_der(&[0x30, 0x00, 0xff]), Err(DerError::Trailing { offset: 2, count: 1 }));
}
