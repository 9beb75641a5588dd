//! Every certificate of the machine's trust store, and of NIST's PKITS where it is at hand, is read with the same
//! result as by `openssl x509`.

use std::fs::File;
use std::io::Write as _;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::pkits;
use trust_ledger_registry::certificate::{Certificate, NEVER};
use trust_ledger_registry::intake::{self, Object};
use trust_ledger_registry::name::NameKind;
use trust_ledger_registry::revocation_list::RevocationList;

/// The DER of every certificate and CRL below a folder. Nothing may be refused.
fn objects(folder: &Path) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let (mut certificates, mut lists) = (Vec::new(), Vec::new());
    for file in intake::files(folder) {
        let file = file.unwrap();
        intake::read(File::open(&file.path).unwrap(), &file.path.display().to_string(), &mut |found| {
            match found.object {
                Object::Certificate(der) => certificates.push(der),
                Object::RevocationList(der) => lists.push(der),
                Object::Refused(reason) => panic!("{}: {reason}", found.position),
                _ => {}
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    }
    certificates.sort();
    certificates.dedup();
    (certificates, lists)
}

/// The output of an `openssl` command that reads DER from standard input.
fn openssl(arguments: &[&str], der: &[u8]) -> String {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the openssl command is installed");
    // The command may end without having read everything.
    let _ = child.stdin.take().unwrap().write_all(der);
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

/// The text between a label and the end of its line.
fn after<'a>(output: &'a str, label: &str) -> Option<&'a str> {
    output.lines().find_map(|line| line.trim_start().strip_prefix(label)).map(str::trim_end)
}

/// A serial as OpenSSL prints it, without the zeros that fill up an octet.
fn plain_hex(printed: &str) -> String {
    let printed = printed.to_lowercase();
    let (sign, digits) = printed.strip_prefix('-').map_or(("", printed.as_str()), |digits| ("-", digits));
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() { String::from("0") } else { format!("{sign}{digits}") }
}

/// Compares our reading of a certificate with what `openssl x509` prints for it.
fn compare(der: &[u8]) {
    let certificate = Certificate::from_der(der).unwrap();
    let arguments = "x509 -inform DER -noout -serial -subject -issuer -dates -fingerprint -sha256 -text";
    let mut arguments: Vec<&str> = arguments.split(' ').collect();
    arguments.extend(["-dateopt", "iso_8601", "-nameopt", "RFC2253,-esc_msb"]);
    let output = openssl(&arguments, der);
    let subject = certificate.subject().text();

    assert_eq!(after(&output, "subject="), Some(subject));
    assert_eq!(after(&output, "issuer="), Some(certificate.issuer().text()), "{subject}");

    let serial = plain_hex(after(&output, "serial=").unwrap());
    assert_eq!(certificate.serial().to_hex(), serial, "{subject}");

    for (label, moment) in [("notBefore=", certificate.not_before()), ("notAfter=", certificate.not_after())] {
        let (hour, minute, second) = moment.to_hms();
        let text = format!("{} {hour:02}:{minute:02}:{second:02}Z", moment.date());
        assert_eq!(after(&output, label), Some(text.as_str()), "{subject}");
    }

    let fingerprint = after(&output, "sha256 Fingerprint=").unwrap().replace(':', "").to_lowercase();
    let own: String = certificate.fingerprint().iter().map(|octet| format!("{octet:02x}")).collect();
    assert_eq!(own, fingerprint, "{subject}");

    assert_eq!(after(&output, "Signature Algorithm: "), Some(certificate.signature_algorithm()), "{subject}");
    let key = after(&output, "Public Key Algorithm: ").unwrap();
    let expected_key = match certificate.key_algorithm() {
        "RSA" => "rsaEncryption",
        "DSA" => "dsaEncryption",
        name if name.starts_with("EC ") => "id-ecPublicKey",
        name => panic!("{name} in {subject}"),
    };
    assert_eq!(key, expected_key, "{subject}");
    // A DSA key that inherits its parameters has no size that OpenSSL could print.
    if let Some(bits) = after(&output, "Public-Key: (").and_then(|text| text.strip_suffix(" bit)")) {
        assert_eq!(certificate.key_bits().unwrap().to_string(), bits, "{subject}");
    }
    if let Some(curve) = after(&output, "NIST CURVE: ") {
        assert_eq!(certificate.key_algorithm(), format!("EC {curve}"), "{subject}");
    }
    assert_eq!(certificate.is_ca(), output.contains("CA:TRUE"), "{subject}");
    assert_eq!(
        after(&output, "Version: ").and_then(|text| text.split(' ').next()),
        Some(&*certificate.version().to_string())
    );

    let mut lines = output.lines().skip_while(|line| !line.contains("X509v3 Subject Alternative Name"));
    let names = lines.nth(1).unwrap_or_default();
    let count = |label: &str| names.matches(label).count();
    let own = |kind| certificate.names().iter().filter(|name| name.kind == kind).count();
    assert_eq!(own(NameKind::Dns), count("DNS:"), "{subject}");
    assert_eq!(own(NameKind::Email), count("email:"), "{subject}");
    assert_eq!(own(NameKind::Uri), count("URI:"), "{subject}");
    assert_eq!(own(NameKind::Ip), count("IP Address:"), "{subject}");
}

#[test]
fn the_trust_store_reads_as_openssl_prints_it() {
    let (certificates, _) = objects(Path::new("/etc/ssl/certs"));
    assert!(certificates.len() > 100, "only {} certificates in the trust store", certificates.len());
    for der in &certificates {
        compare(der);
        let certificate = Certificate::from_der(der).unwrap();
        assert!(certificate.not_after() < NEVER);
    }
}

#[test]
fn pkits_reads_as_openssl_prints_it() {
    let Some(folder) = pkits() else { return };
    let (certificates, _) = objects(&folder.join("certs"));
    assert_eq!(certificates.len(), 405);
    certificates.iter().for_each(|der| compare(der));

    let (_, lists) = objects(&folder.join("crls"));
    assert_eq!(lists.len(), 173);
    for der in &lists {
        let list = RevocationList::from_der(der).unwrap();
        let output =
            openssl(&["crl", "-inform", "DER", "-noout", "-issuer", "-text", "-nameopt", "RFC2253,-esc_msb"], der);
        assert_eq!(after(&output, "issuer="), Some(list.issuer().text()));
        let entries: Vec<_> = list.entries().map(Result::unwrap).collect();
        let serials: Vec<String> = output
            .lines()
            .filter_map(|line| line.trim_start().strip_prefix("Serial Number: "))
            .map(plain_hex)
            .collect();
        assert_eq!(entries.iter().map(|entry| entry.serial.to_hex()).collect::<Vec<_>>(), serials);
        assert_eq!(list.is_delta(), output.contains("X509v3 Delta CRL Indicator"));
    }
}
