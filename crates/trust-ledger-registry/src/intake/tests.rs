use std::fs;
use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;

use super::*;
use crate::certificate::Certificate;
use crate::certificate::fixture::Fixture;
use crate::der::build::{element, name, sequence};
use crate::revocation_list::RevocationList;

/// Every object as its place and a short text: the noun, or the reason of a refusal.
fn read_all(input: &[u8]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    read(Cursor::new(input), "in", &mut |Found { position, object }| {
        let text = match object {
            Object::Certificate(der) => {
                Certificate::from_der(&der).map_or_else(|error| error.to_string(), |read| read.display_name())
            }
            Object::RevocationList(der) => RevocationList::from_der(&der).unwrap().issuer().text().to_owned(),
            Object::IndexEntry(entry) => format!("entry {}", entry.serial),
            Object::Skipped(skipped) => skipped.to_string(),
            Object::Refused(reason) => format!("refused: {reason}"),
        };
        found.push((position.place.to_string(), text));
        ControlFlow::Continue(())
    })
    .unwrap();
    found
}

/// The same as one string, for short expectations: `line 1 a | line 20 b`.
fn summary(input: impl AsRef<[u8]>) -> String {
    read_all(input.as_ref()).iter().map(|(place, text)| format!("{place} {text}")).collect::<Vec<_>>().join(" | ")
}

fn certificate(common_name: &str) -> Vec<u8> {
    Fixture::self_signed(common_name).der()
}

fn revocation_list() -> Vec<u8> {
    let algorithm = [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];
    let content = sequence(&[&algorithm, &name("the CRL"), &element(0x17, "240101000000Z")]);
    sequence(&[&content, &algorithm, &element(3, [0])])
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn certificate_pem(common_name: &str) -> String {
    pem("CERTIFICATE", &certificate(common_name))
}

/// A PKCS#7 of these certificates and CRLs; with `indefinite` in BER as streaming writers make it.
fn pkcs_7(certificates: &[u8], crls: &[u8], indefinite: bool) -> Vec<u8> {
    let wrap = |tag: u8, content: Vec<u8>| match indefinite {
        true => [&[tag, 0x80][..], &content, &[0, 0]].concat(),
        false => element(tag, content),
    };
    let data = element(6, [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1]);
    let signed_data = [
        element(2, [1]),
        element(0x31, []),
        sequence(&[&data]),
        wrap(0xa0, certificates.to_vec()),
        wrap(0xa1, crls.to_vec()),
        element(0x31, []),
    ]
    .concat();
    let id = element(6, [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2]);
    wrap(0x30, [id, wrap(0xa0, wrap(0x30, signed_data))].concat())
}

#[test]
fn pem_blocks_are_found_anywhere_in_other_text() {
    let (a, b) = (certificate_pem("a"), certificate_pem("b"));
    let text = format!("subject=x\nissuer=y\n{a}\nnoise -----\n{b}trailing");
    let lines = a.lines().count();
    assert_eq!(summary(text), format!("line 3 a | line {} b", 3 + lines + 2));
}

#[test]
fn every_layout_of_a_pem_block_is_read() {
    let a = certificate_pem("a");
    for text in [
        a.clone(),
        a.replace('\n', "\r\n"),
        a.replace('\n', "\r"),
        a.trim_end().to_owned(),
        format!("\u{feff}{a}"),
        a.lines().map(|line| format!("    {line}\n")).collect(),
        a.lines().map(|line| format!("# {line}\n")).collect(),
        a.lines().map(|line| format!("> {line}  \n")).collect(),
        a.lines().map(|line| format!("\"{line}\\n\"\n")).collect(),
        a.replace('\n', "\n\n"),
        format!("CERT=\"{}\"", a.replace('\n', "\\n")),
        format!("key: {}", a.replace('\n', "\\r\\n")),
        a.replace("CERTIFICATE", "X509 CERTIFICATE"),
        a.replacen('\n', "\nProc-Type: 4,CLEAR\n\n", 1),
    ] {
        assert_eq!(summary(&text), "line 1 a", "{text}");
    }
}

#[test]
fn a_damaged_pem_block_is_refused_with_its_line_and_the_next_one_is_read() {
    let a = certificate_pem("a");
    let begin = a.lines().next().unwrap();
    let half: String = a.lines().take(3).map(|line| format!("{line}\n")).collect();
    for (damaged, reason) in [
        (half.clone(), "has no END line"),
        (a.replace("-----END CERTIFICATE-----", "-----END X509 CRL-----"), "ends with the END line of something else"),
        (a.replacen("MI", "M!", 1), "is not valid base64"),
        (format!("{begin}\n-----END CERTIFICATE-----\n"), "is empty"),
    ] {
        let found = read_all(format!("x\n{damaged}{a}").as_bytes());
        assert_eq!(found[0], (String::from("line 2"), format!("refused: the certificate that begins here {reason}")));
        assert_eq!(found[1].1, "a");
        assert_eq!(found.len(), 2);
    }
    assert_eq!(summary(&half), "line 1 refused: the certificate that begins here has no END line");
}

#[test]
fn an_oversize_block_is_refused_once_and_the_next_one_is_read() {
    let huge = pem("CERTIFICATE", &vec![0x30; (1 << 20) + 100]);
    let found = read_all(format!("{huge}{}", certificate_pem("a")).as_bytes());
    assert_eq!(found[0].1, "refused: the certificate that begins here is larger than 1 MiB");
    assert_eq!((found.len(), found[1].1.as_str()), (2, "a"));
}

#[test]
fn a_block_without_end_in_a_long_text_is_refused_once() {
    let text = format!("-----BEGIN CERTIFICATE-----\n{}", "some words and - dashes -----\n".repeat(100_000));
    assert_eq!(summary(text), "line 1 refused: the certificate that begins here is larger than 1 MiB");
}

#[test]
fn what_stands_behind_the_certificate_in_its_block_is_refused_unless_openssl_put_it_there() {
    let der = [certificate("a"), sequence(&[&element(0x0c, "alias")])].concat();
    let length = certificate("a").len();
    assert_eq!(summary(pem("TRUSTED CERTIFICATE", &der)), "line 1 a");
    assert_eq!(
        summary(pem("CERTIFICATE", &der)),
        format!("line 1 a | line 1 refused: 9 bytes after the object's end at byte {length} of its DER")
    );
}

#[test]
fn pkcs_7_yields_all_its_certificates_and_crls() {
    for indefinite in [false, true] {
        let bundle = pkcs_7(&[certificate("a"), certificate("b")].concat(), &revocation_list(), indefinite);
        assert_eq!(summary(&bundle), "byte 0 a | byte 0 b | byte 0 CN=the CRL");
        for label in ["PKCS7", "CMS", "CERTIFICATE"] {
            assert_eq!(summary(pem(label, &bundle)), "line 1 a | line 1 b | line 1 CN=the CRL");
        }
    }
    assert_eq!(summary(pkcs_7(&[], &[], false)), "byte 0 another kind of object");
}

#[test]
fn crls_are_found_in_pem_and_der() {
    assert_eq!(summary(revocation_list()), "byte 0 CN=the CRL");
    assert_eq!(summary(pem("X509 CRL", &revocation_list())), "line 1 CN=the CRL");
}

#[test]
fn der_objects_are_read_one_behind_the_other() {
    let (a, b) = (certificate("a"), certificate("b"));
    let all = [&a[..], &b, &revocation_list(), b"\n"].concat();
    assert_eq!(summary(all), format!("byte 0 a | byte {} b | byte {} CN=the CRL", a.len(), a.len() + b.len()));
}

#[test]
fn garbage_behind_a_der_certificate_is_refused_with_its_position() {
    let a = certificate("a");
    let found = read_all(&[&a[..], b"garbage"].concat());
    assert_eq!(found[0], (String::from("byte 0"), String::from("a")));
    assert_eq!(found[1].0, format!("byte {}", a.len()));
    assert_eq!(found[1].1, "refused: 7 bytes that are neither DER nor part of the object before");
}

#[test]
fn truncated_der_is_refused_at_every_length() {
    let a = certificate("a");
    assert_eq!(
        summary(&a[..a.len() - 1]),
        format!("byte 0 refused: DER that is cut off: {} bytes announced, {} present", a.len(), a.len() - 1)
    );
    for length in 8..a.len() {
        assert!(summary(&a[..length]).starts_with("byte 0 refused"), "{length}");
    }
}

#[test]
fn der_with_contradicting_lengths_is_refused() {
    let mut der = certificate("a");
    // The serial's length reaches beyond the certificate.
    let serial = der.windows(3).position(|window| window == [2, 1, 1]).unwrap();
    der[serial + 1] = 0x7f;
    let found = summary(&der);
    assert!(found.contains("expected at byte") || found.contains("wrong length"), "{found}");
}

#[test]
fn keys_requests_and_parameters_are_skipped_by_kind() {
    let rsa = Rsa::generate(1024).unwrap();
    let ec = EcKey::generate(&EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap()).unwrap();
    let key = PKey::from_rsa(rsa.clone()).unwrap();
    let mut request = openssl::x509::X509Req::builder().unwrap();
    request.set_pubkey(&key).unwrap();
    request.sign(&key, openssl::hash::MessageDigest::sha256()).unwrap();
    let request = request.build();
    let cipher = openssl::symm::Cipher::aes_128_cbc();
    for (input, skipped) in [
        (key.private_key_to_der().unwrap(), "a private key"),
        (key.private_key_to_pkcs8().unwrap(), "a private key"),
        (key.private_key_to_pkcs8_passphrase(cipher, b"x").unwrap(), "a private key"),
        (ec.private_key_to_der().unwrap(), "a private key"),
        (PKey::generate_ed25519().unwrap().private_key_to_pkcs8().unwrap(), "a private key"),
        (key.private_key_to_pem_pkcs8().unwrap(), "a private key"),
        (rsa.private_key_to_pem_passphrase(cipher, b"x").unwrap(), "a private key"),
        (ec.private_key_to_pem().unwrap(), "a private key"),
        (pem("OPENSSH PRIVATE KEY", b"openssh").into_bytes(), "a private key"),
        (request.to_der().unwrap(), "a certificate request"),
        (request.to_pem().unwrap(), "a certificate request"),
        (key.public_key_to_der().unwrap(), "a public key"),
        (key.public_key_to_pem().unwrap(), "a public key"),
        (pem("DH PARAMETERS", b"x").into_bytes(), "key parameters"),
        (pem("PGP MESSAGE", b"x").into_bytes(), "another kind of object"),
    ] {
        let found = read_all(&input);
        assert_eq!((found.len(), found[0].1.as_str()), (1, skipped));
    }
}

#[test]
fn a_pkcs_12_file_is_refused_with_the_command_that_converts_it() {
    let key = PKey::generate_ed25519().unwrap();
    let file = openssl::pkcs12::Pkcs12::builder().pkey(&key).build2("x").unwrap().to_der().unwrap();
    assert!(summary(file).contains("openssl pkcs12 -in FILE -nokeys"));
}

#[test]
fn nothing_of_a_private_key_gets_out() {
    let key = PKey::generate_ed25519().unwrap().private_key_to_pkcs8().unwrap();
    let text = pem("PRIVATE KEY", &key);
    let secret = text.lines().nth(1).unwrap();
    let hex: String = key.iter().map(|octet| format!("{octet:02x}")).collect();
    for input in [
        text.clone(),
        text.replace("PRIVATE KEY", "CERTIFICATE"),
        text.replace("PRIVATE KEY", "X509 CRL"),
        text.replace("-----END PRIVATE KEY-----", ""),
        text.replace("END PRIVATE", "END"),
        text.replacen('\n', "\n!", 1).replace("PRIVATE KEY", "CERTIFICATE"),
        format!("{{\"tls.key\": {text:?}, \"b64\": {:?}}}", STANDARD.encode(&text)),
        format!("{{\"key\": {text:?}, broken"),
        format!("{{\"a\":1}}\n{{\"key\": {text:?}, broken}}\n"),
        format!("V\t330101000000Z\t\t0A\tunknown\t/CN=a\nV\t{secret}\t\t0A\tunknown\t/CN=a\n"),
    ] {
        let mut all = String::new();
        read(Cursor::new(&input), "in", &mut |found| {
            if let Object::Certificate(der) | Object::RevocationList(der) = &found.object {
                assert_ne!(*der, key);
            }
            all.push_str(&format!("{found:?} {}\n", found.position));
            ControlFlow::Continue(())
        })
        .unwrap();
        assert!(!all.is_empty() && !all.contains(secret) && !all.contains(&hex), "{all}");
        assert!(!all.contains(&secret[4..20]), "{all}");
    }
}

#[test]
fn json_strings_of_every_encoding_are_found_at_any_depth() {
    let (der, text) = (certificate("a"), certificate_pem("a"));
    for string in [
        text.clone(),
        text.replace('\n', "\r\n"),
        STANDARD.encode(&text),
        STANDARD.encode(&der),
        STANDARD_NO_PAD.encode(&der),
        URL_SAFE_NO_PAD.encode(&der),
        STANDARD
            .encode(&der)
            .as_bytes()
            .chunks(76)
            .map(|line| format!("{}\n", String::from_utf8_lossy(line)))
            .collect(),
    ] {
        let json = format!(r#"{{"items": [1, null, {{"data": {{"tls.crt": {string:?}, "x": true}}}}]}}"#);
        assert_eq!(summary(&json), "items[2].data[\"tls.crt\"] a");
        assert_eq!(summary(json.replace('{', "{\n")), "items[2].data[\"tls.crt\"] a");
    }
    assert_eq!(summary(format!("[{:?}]", text.repeat(2))), "[0] a | [0] a");
    assert_eq!(summary(format!("{text:?}")), "the whole document a");
    let key = pem("PRIVATE KEY", &PKey::generate_ed25519().unwrap().private_key_to_pkcs8().unwrap());
    let secret =
        format!(r#"{{"data": {{"tls.crt": {:?}, "tls.key": {:?}}}}}"#, STANDARD.encode(&text), STANDARD.encode(&key));
    assert_eq!(summary(secret), "data[\"tls.crt\"] a | data[\"tls.key\"] a private key");
}

#[test]
fn other_json_strings_are_nothing_and_a_truncated_certificate_is_refused() {
    let signature = STANDARD.encode(sequence(&[&element(2, [1; 32]), &element(2, [1; 32])]));
    let json =
        format!(r#"{{"jwt": "{}", "hash": "{}", "signature": "{signature}"}}"#, "eyJ".repeat(50), "00ff".repeat(30));
    assert_eq!(summary(json), "byte 0 nothing recognised");
    let der = certificate("a");
    let cut = STANDARD.encode([&[0x30, 0x82, 0x03, 0x00, 0x30, 0x82, 0x02, 0x00], &der[..100]].concat());
    assert_eq!(summary(format!(r#"{{"c": "{cut}"}}"#)), "c refused: DER that is cut off");
}

#[test]
fn json_documents_may_follow_one_another() {
    let text = certificate_pem("a");
    let document = format!("{{\n \"c\": {text:?}\n}}\n");
    assert_eq!(summary(document.repeat(3)), "c a | line 4, c a | line 7, c a");
}

#[test]
fn a_malformed_line_of_ndjson_is_refused_and_the_next_one_is_read() {
    let line = |name: &str| format!("{{\"c\": {:?}}}\n", certificate_pem(name));
    let text = format!("{}{{\"c\": \n{}\n{}", line("a"), line("b"), line("c").trim_end());
    assert_eq!(summary(&text), "c a | line 2 refused: JSON that ends in mid-document | line 3, c b | line 5, c c");
    let first_is_bad = format!("{{\"c\": trux}}\n{}", line("b"));
    assert_eq!(summary(first_is_bad), "line 1 refused: malformed JSON: expected ident | line 2, c b");
}

#[test]
fn json_lines_are_found_in_a_log_of_other_lines() {
    let der = STANDARD.encode(certificate("a"));
    let log =
        format!("badger INFO: starting\n2024/01/01 step-ca\n{{\"level\":\"info\",\"certificate\":\"{der}\"}}\nbye\n");
    assert_eq!(summary(log), "line 3, certificate a");
}

#[test]
fn json_nested_ten_thousand_deep_is_refused_once() {
    for text in ["[".repeat(10_000), "{\"a\":".repeat(10_000), format!("{}{}", "[".repeat(10_000), "]".repeat(10_000))]
    {
        for text in [text.clone(), text.replace('[', "[\n").replace(':', ":\n")] {
            let found = read_all(text.as_bytes());
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].1.starts_with("refused: JSON"), "{found:?}");
        }
    }
}

#[test]
fn pem_behind_a_fault_in_json_is_still_found() {
    let text = format!("{{\n\"a\": nonsense,\n\"c\": {:?}\n}}\n", certificate_pem("a"));
    assert_eq!(summary(text), "line 2 refused: malformed JSON: expected ident | line 3 a");
}

#[test]
fn text_that_begins_with_a_bracket_is_not_taken_for_json() {
    let a = certificate_pem("a");
    for start in
        ["[section]\nkey=1\n", "[2024-01-01 10:00] INFO\n", "{{ .Values.cert }}\n", "\"quoted\" words\n", "[1] note\n"]
    {
        assert_eq!(
            summary(format!("{start}{a}")).split_once(' ').unwrap().1.split_once(' ').unwrap().1,
            "a",
            "{start}"
        );
    }
}

#[test]
fn an_index_is_known_by_its_form_and_its_bad_lines_are_refused() {
    let index =
        "V\t330101000000Z\t\t01\tunknown\t/CN=a\nrubbish\n\nR\t330101000000Z\t240101000000Z\t02\tunknown\t/CN=b\r\n";
    assert_eq!(
        summary(index),
        "line 1 entry 1 | line 2 refused: not an entry of an index.txt: 1 fields instead of 6 | line 4 entry 2"
    );
}

#[test]
fn input_without_anything_yields_one_skip() {
    for input in [
        &b""[..],
        b"\n",
        b"hello\n",
        b"0",
        b"0123456789",
        b"{}",
        b"[]",
        b"\"\"",
        b"\xef\xbb\xbf",
        b"-----BEGIN",
        &[0; 5000],
    ] {
        assert_eq!(summary(input), "byte 0 nothing recognised", "{:?}", String::from_utf8_lossy(input));
    }
}

#[test]
fn utf_16_is_refused_by_name() {
    let text = certificate_pem("a");
    let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    for input in [[&[0xff, 0xfe], little.as_slice()].concat(), [&[0xfe, 0xff], big.as_slice()].concat(), little, big] {
        assert!(summary(input).starts_with("byte 0 refused: text in UTF-16"));
    }
}

/// A reader that makes noise without holding it, and hands it out in odd pieces.
struct Noise {
    left: usize,
    state: u64,
    letters: bool,
}

impl Read for Noise {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = buffer.len().min(self.left).min(10_007);
        for octet in &mut buffer[..count] {
            self.state = self.state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            *octet = (self.state >> 56) as u8;
            if self.letters {
                *octet = b' ' + *octet % 95;
            }
        }
        self.left -= count;
        Ok(count)
    }
}

#[test]
fn noise_of_any_kind_is_nothing_and_ends_soon() {
    for letters in [false, true] {
        let mut found = Vec::new();
        let noise = Noise { left: 20 << 20, state: 7, letters };
        read(noise, "noise", &mut |each| {
            found.push(each.object);
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(found, [Object::Skipped(Skipped::Nothing)]);
    }
}

#[test]
fn reading_stops_when_the_caller_says_so() {
    for input in [
        certificate_pem("a").repeat(5).into_bytes(),
        certificate("a").repeat(5),
        format!("[\n{:?}]", certificate_pem("a").repeat(5)).into_bytes(),
    ] {
        let mut count = 0;
        read(Cursor::new(&input), "in", &mut |_| {
            count += 1;
            if count == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
        assert_eq!(count, 2);
    }
}

/// Hands over some bytes, then fails.
struct Broken(Cursor<Vec<u8>>);

impl Read for Broken {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::Error::other("the disk is gone")),
            count => Ok(count),
        }
    }
}

#[test]
fn an_error_of_the_input_is_handed_on_in_every_form() {
    let long = certificate_pem("a").repeat(1000);
    for input in [long.clone().into_bytes(), certificate("a").repeat(2000), format!("[\n{long:?}").into_bytes()] {
        let error = read(Broken(Cursor::new(input)), "in", &mut |_| ControlFlow::Continue(())).unwrap_err();
        assert_eq!(error.to_string(), "the disk is gone");
    }
}

#[test]
fn damaged_input_of_every_form_is_read_without_a_panic() {
    let (a, text) = (certificate("a"), certificate_pem("a"));
    let named = Fixture::new().names(&[(0x82, b"a.example"), (0x87, &[1, 2, 3, 4]), (0xa4, &name("x"))]).der();
    let seeds = [
        a.clone(),
        named,
        revocation_list(),
        pkcs_7(&a, &revocation_list(), true),
        text.clone().into_bytes(),
        format!("[\n{{\"a\": {text:?}, \"b\": {:?}}}]", STANDARD.encode(&a)).into_bytes(),
        format!("{{\"a\": {text:?}}}\n").repeat(2).into_bytes(),
        b"R\t330101000000Z\t240102030405Z,keyTime,20231231235959Z\t0A\tunknown\t/CN=a\n".to_vec(),
    ];
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut random = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % bound.max(1) as u64) as usize
    };
    let rounds = std::env::var("TRUST_LEDGER_FUZZ_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(500);
    for seed in &seeds {
        for _ in 0..rounds {
            let mut input = seed.clone();
            for _ in 0..=random(3) {
                let position = random(input.len());
                match random(4) {
                    0 => input.truncate(position),
                    1 if position < input.len() => input[position] = [0, 1, 0x7f, 0x80, 0xff, b'\n', b'"'][random(7)],
                    2 => input.insert(position.min(input.len()), random(256) as u8),
                    _ if position < input.len() => input[position] ^= 1 << random(8),
                    _ => {}
                }
            }
            read_everything(&input);
        }
    }
}

/// Reads the input as whatever it says it is, and as a certificate and a CRL besides.
fn read_everything(input: &[u8]) {
    let look = |der: &[u8]| {
        if let Ok(certificate) = Certificate::from_der(der) {
            certificate.details();
            certificate.display_name();
            certificate.weaknesses();
            certificate.is_self_signed();
        }
        if let Ok(list) = RevocationList::from_der(der) {
            assert!(list.entries().count() <= der.len());
        }
    };
    look(input);
    let mut count = 0;
    read(Cursor::new(input), "in", &mut |found| {
        count += 1;
        assert!(!found.position.to_string().contains(char::is_control));
        if let Object::Certificate(der) | Object::RevocationList(der) = &found.object {
            look(der);
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    assert!(count > 0);
}

#[test]
fn a_folder_is_listed_in_order_with_lists_and_index_last() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["b.pem", "a/z.pem", "a/index.txt", "a/a.crl", "a/b.PEM", "index.txt", "zz.crl", "c"] {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    let listed: Vec<String> = files(folder.path())
        .map(|file| file.unwrap().path.strip_prefix(folder.path()).unwrap().display().to_string())
        .collect();
    assert_eq!(listed, ["a/b.PEM", "a/z.pem", "a/a.crl", "a/index.txt", "b.pem", "c", "zz.crl", "index.txt"]);
}

#[cfg(unix)]
#[test]
fn links_are_followed_to_files_once_and_loops_end() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("sub")).unwrap();
    fs::write(path("sub/real.pem"), "x").unwrap();
    symlink(path("sub/real.pem"), path("link.pem")).unwrap();
    fs::hard_link(path("sub/real.pem"), path("sub/same.pem")).unwrap();
    symlink(folder.path(), path("sub/loop")).unwrap();
    symlink(path("gone"), path("dangling")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
    let listed: Vec<Result<FoundFile, FileError>> = files(folder.path()).collect();
    let found: Vec<&FoundFile> = listed.iter().filter_map(|file| file.as_ref().ok()).collect();
    assert_eq!(found, [&FoundFile { path: path("link.pem"), size: 1 }]);
    let failed: Vec<String> = listed.iter().filter_map(|file| file.as_ref().err()).map(ToString::to_string).collect();
    assert_eq!(failed, [format!("cannot read {}", path("dangling").display())]);
}

#[test]
fn a_single_file_and_a_missing_one_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.pem");
    assert_eq!(files(&path).next().unwrap().unwrap_err().source.kind(), io::ErrorKind::NotFound);
    fs::write(&path, "abc").unwrap();
    assert_eq!(files(&path).map(Result::unwrap).collect::<Vec<_>>(), [FoundFile { path, size: 3 }]);
}
