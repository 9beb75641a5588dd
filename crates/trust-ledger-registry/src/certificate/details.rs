//! A certificate spelled out for people.

use std::fmt::Write as _;

use time::format_description::well_known::Rfc3339;

use super::extension::{self, Extension, basic_constraints, extensions, key_identifier, subject_key_id};
use super::{Certificate, EXTENSIONS, NEVER};
use crate::der::oid::{dotted, push_hex};
use crate::der::{Element, Reader, tag};
use crate::distinguished_name::{DistinguishedName, escape_nul};
use crate::name::Name;
use crate::public_key::Signed;

/// One line of what a certificate says.
///
/// The value may hold any character but NUL; escape it before it goes to a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    /// What it is: `version`, or the name of an extension (`keyUsage`), or its dotted OID.
    pub label: String,
    /// The value as short text; of an extension that is not known here, the hex of its DER (cut at 64 octets).
    pub value: String,
    /// Whether it is a critical extension.
    pub critical: bool,
}

pub(super) fn of(certificate: &Certificate) -> Vec<Detail> {
    let plain = |label: &str, value: String| Detail { label: label.to_owned(), value, critical: false };
    let key = match certificate.key_bits {
        Some(bits) => format!("{} ({bits} bits)", certificate.key_algorithm),
        None => certificate.key_algorithm.clone(),
    };
    let mut details = vec![
        plain("version", certificate.version.to_string()),
        plain("serial", certificate.serial.to_hex()),
        plain("signatureAlgorithm", certificate.signature_algorithm.clone()),
        plain("issuer", certificate.issuer.text().to_owned()),
        plain("notBefore", moment(certificate.not_before)),
        plain("notAfter", moment(certificate.not_after)),
        plain("subject", certificate.subject.text().to_owned()),
        plain("publicKey", key),
    ];
    if let Some(list) = extension_list(&certificate.der) {
        details.extend(extensions(&list).map_while(Result::ok).map(|extension| Detail {
            label: label(extension.id),
            value: describe(&extension).unwrap_or_else(|| short_hex(extension.value)),
            critical: extension.critical,
        }));
    }
    details
}

fn moment(moment: time::OffsetDateTime) -> String {
    if moment == NEVER {
        return String::from("never");
    }
    // Years before 0 have no RFC 3339 form.
    moment.format(&Rfc3339).unwrap_or_else(|_| moment.to_string())
}

fn extension_list(der: &[u8]) -> Option<Element<'_>> {
    let mut fields = Signed::read(der, "Certificate").ok()?.content.reader();
    while let Ok(Some(field)) = fields.next() {
        if field.tag == EXTENSIONS {
            return field.reader().expect(tag::SEQUENCE, "Extensions").ok();
        }
    }
    None
}

/// The name RFC 5280 (or the extension's own standard) gives it.
fn label(id: &[u8]) -> String {
    let name = match id {
        [0x55, 0x1d, number] => match number {
            9 => "subjectDirectoryAttributes",
            14 => "subjectKeyIdentifier",
            15 => "keyUsage",
            16 => "privateKeyUsagePeriod",
            17 => "subjectAltName",
            18 => "issuerAltName",
            19 => "basicConstraints",
            30 => "nameConstraints",
            31 => "cRLDistributionPoints",
            32 => "certificatePolicies",
            33 => "policyMappings",
            35 => "authorityKeyIdentifier",
            36 => "policyConstraints",
            37 => "extKeyUsage",
            46 => "freshestCRL",
            54 => "inhibitAnyPolicy",
            _ => return dotted(id),
        },
        [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x01] => "authorityInfoAccess",
        [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x0b] => "subjectInfoAccess",
        [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x03] => "qcStatements",
        [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x18] => "tlsFeature",
        [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x05] => "ocspNoCheck",
        [0x2b, 0x06, 0x01, 0x04, 0x01, 0xd6, 0x79, 0x02, 0x04, 0x02] => "signedCertificateTimestamps",
        [0x2b, 0x06, 0x01, 0x04, 0x01, 0xd6, 0x79, 0x02, 0x04, 0x03] => "precertificatePoison",
        [0x60, 0x86, 0x48, 0x01, 0x86, 0xf8, 0x42, 0x01, 0x01] => "netscapeCertType",
        [0x60, 0x86, 0x48, 0x01, 0x86, 0xf8, 0x42, 0x01, 0x0d] => "netscapeComment",
        _ => return dotted(id),
    };
    name.to_owned()
}

/// `None` for extensions that are unknown here or damaged.
fn describe(extension: &Extension<'_>) -> Option<String> {
    let value = extension.value;
    match extension.id {
        [0x55, 0x1d, 14] => Some(hex(&subject_key_id(value)?)),
        [0x55, 0x1d, 15] => key_usage(value),
        [0x55, 0x1d, 17 | 18] => {
            let list = Reader::new(value).expect(tag::SEQUENCE, "GeneralNames").ok()?;
            joined(list.reader(), |name| Some(general_name(name)))
        }
        [0x55, 0x1d, 19] => Some(match basic_constraints(value)? {
            (true, Some(length)) => format!("CA, path length {length}"),
            (true, None) => String::from("CA"),
            (false, _) => String::from("not a CA"),
        }),
        [0x55, 0x1d, 31 | 46] => distribution_points(value),
        [0x55, 0x1d, 32] => {
            let list = Reader::new(value).expect(tag::SEQUENCE, "certificatePolicies").ok()?;
            joined(list.reader(), |policy| {
                let id = policy.reader().expect(tag::OID, "policy").ok()?;
                Some(if id.content == [0x55, 0x1d, 32, 0] { String::from("anyPolicy") } else { dotted(id.content) })
            })
        }
        [0x55, 0x1d, 35] => Some(hex(&key_identifier(value)?)),
        [0x55, 0x1d, 37] => {
            let list = Reader::new(value).expect(tag::SEQUENCE, "ExtKeyUsageSyntax").ok()?;
            joined(list.reader(), |purpose| Some(purpose_name(purpose.content)))
        }
        [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x01 | 0x0b] => {
            let list = Reader::new(value).expect(tag::SEQUENCE, "AccessDescriptions").ok()?;
            joined(list.reader(), |access| {
                let mut parts = access.reader();
                let method = parts.expect(tag::OID, "accessMethod").ok()?;
                let location = general_name(&parts.next().ok()??);
                Some(format!("{} {location}", access_method(method.content)))
            })
        }
        [0x2b, 0x06, 0x01, 0x04, 0x01, 0xd6, 0x79, 0x02, 0x04, 0x03]
        | [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x05] => Some(String::from("present")),
        [0x60, 0x86, 0x48, 0x01, 0x86, 0xf8, 0x42, 0x01, 0x0d] => {
            let comment = Reader::new(value).next().ok()??;
            Some(escape_nul(&extension::text(comment.content)))
        }
        _ => None,
    }
}

/// The elements of a list as text, `, ` between them. `None` when one cannot be read.
fn joined(mut list: Reader<'_>, text: impl Fn(&Element<'_>) -> Option<String>) -> Option<String> {
    let mut joined = String::new();
    while let Some(element) = list.next().ok()? {
        if !joined.is_empty() {
            joined.push_str(", ");
        }
        joined.push_str(&text(&element)?);
    }
    Some(joined)
}

fn key_usage(value: &[u8]) -> Option<String> {
    const BITS: [&str; 9] = [
        "digitalSignature",
        "nonRepudiation",
        "keyEncipherment",
        "dataEncipherment",
        "keyAgreement",
        "keyCertSign",
        "cRLSign",
        "encipherOnly",
        "decipherOnly",
    ];
    let bits = Reader::new(value).expect(tag::BIT_STRING, "KeyUsage").ok()?.bit_string().ok()?;
    let is_set = |bit: usize| bits.get(bit / 8).is_some_and(|octet| octet & (0x80 >> (bit % 8)) != 0);
    let names: Vec<&str> = (0..BITS.len()).filter(|bit| is_set(*bit)).map(|bit| BITS[bit]).collect();
    Some(names.join(", "))
}

/// The full names of every CRL distribution point (RFC 5280 §4.2.1.13).
fn distribution_points(value: &[u8]) -> Option<String> {
    const POINT_OR_FULL_NAME: u8 = 0xa0;
    let list = Reader::new(value).expect(tag::SEQUENCE, "CRLDistributionPoints").ok()?;
    joined(list.reader(), |point| {
        let Some(name) = point.reader().optional(POINT_OR_FULL_NAME).ok()? else {
            return Some(String::from("(by its issuer only)"));
        };
        match name.reader().optional(POINT_OR_FULL_NAME).ok()? {
            Some(full_name) => joined(full_name.reader(), |name| Some(general_name(name))),
            None => Some(String::from("(relative to its issuer)")),
        }
    })
}

fn general_name(element: &Element<'_>) -> String {
    let content = element.content;
    match element.tag {
        0x81 => format!("email:{}", Name::email(&extension::text(content)).value),
        0x82 => format!("dns:{}", Name::dns(&extension::text(content)).value),
        0x86 => format!("uri:{}", Name::uri(&extension::text(content)).value),
        0x87 => format!("ip:{}", Name::ip(content).value),
        0x88 => format!("registeredID:{}", dotted(content)),
        0xa4 => match DistinguishedName::from_der(content) {
            Ok(name) => format!("directory:{}", name.text()),
            Err(_) => format!("directory:#{}", short_hex(content)),
        },
        0xa0 => other_name(element).unwrap_or_else(|| format!("other:#{}", short_hex(content))),
        tag => format!("0x{tag:02x}:#{}", short_hex(content)),
    }
}

fn other_name(element: &Element<'_>) -> Option<String> {
    let mut parts = element.reader();
    let kind = parts.expect(tag::OID, "type-id").ok()?;
    let value = parts.next().ok()??.reader().next().ok()??;
    let text = match value.tag {
        tag::UTF8_STRING | 0x16 => escape_nul(&extension::text(value.content)),
        _ => format!("#{}", short_hex(value.whole)),
    };
    Some(format!("other:{}:{text}", dotted(kind.content)))
}

fn purpose_name(id: &[u8]) -> String {
    let name = match id {
        [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, number] => match number {
            1 => "serverAuth",
            2 => "clientAuth",
            3 => "codeSigning",
            4 => "emailProtection",
            8 => "timeStamping",
            9 => "OCSPSigning",
            _ => return dotted(id),
        },
        [0x55, 0x1d, 0x25, 0x00] => "anyExtendedKeyUsage",
        [0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x14, 0x02, 0x02] => "smartcardLogon",
        _ => return dotted(id),
    };
    name.to_owned()
}

fn access_method(id: &[u8]) -> String {
    match id {
        [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 1] => String::from("OCSP"),
        [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 2] => String::from("caIssuers"),
        [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 5] => String::from("caRepository"),
        _ => dotted(id),
    }
}

fn hex(octets: &[u8]) -> String {
    let mut text = String::new();
    push_hex(&mut text, octets);
    text
}

fn short_hex(octets: &[u8]) -> String {
    const SHOWN: usize = 64;
    let mut text = hex(&octets[..octets.len().min(SHOWN)]);
    if octets.len() > SHOWN {
        let _ = write!(text, "… ({} bytes)", octets.len());
    }
    text
}
