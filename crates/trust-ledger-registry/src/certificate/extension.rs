//! The extensions that decide how a certificate is recorded.
//!
//! An extension whose value is damaged says nothing; it never refuses the certificate.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::der::{DerError, Element, Reader, tag};
use crate::distinguished_name::DistinguishedName;
use crate::name::Name;

/// What the extensions say.
#[derive(Default)]
pub(super) struct Extensions {
    pub(super) names: Vec<Name>,
    pub(super) is_ca: bool,
    pub(super) is_for_servers: bool,
    pub(super) is_precertificate: bool,
    pub(super) signs_lists: bool,
    pub(super) list_delegate: Option<[u8; 32]>,
    pub(super) subject_key_id: Option<Vec<u8>>,
    pub(super) authority_key_id: Option<Vec<u8>>,
}

/// One extension of a certificate, a CRL or a CRL entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extension<'a> {
    /// Content octets of its identifier.
    pub(crate) id: &'a [u8],
    /// Whether who does not know it must refuse the object.
    pub(crate) critical: bool,
    /// The DER within its OCTET STRING.
    pub(crate) value: &'a [u8],
}

/// The extensions within `Extensions ::= SEQUENCE OF Extension`, one after another.
pub(crate) fn extensions<'a>(list: &Element<'a>) -> impl Iterator<Item = Result<Extension<'a>, DerError>> + use<'a> {
    let mut reader = list.reader();
    let mut failed = false;
    std::iter::from_fn(move || {
        if failed || reader.is_empty() {
            return None;
        }
        let extension = read_one(&mut reader);
        failed = extension.is_err();
        Some(extension)
    })
}

fn read_one<'a>(reader: &mut Reader<'a>) -> Result<Extension<'a>, DerError> {
    let mut parts = reader.expect(tag::SEQUENCE, "Extension")?.reader();
    let id = parts.expect(tag::OID, "extension identifier")?;
    let critical = parts.optional(tag::BOOLEAN)?;
    let value = parts.expect(tag::OCTET_STRING, "extension value")?;
    parts.finish()?;
    Ok(Extension {
        id: id.content,
        critical: critical.is_some_and(|flag| flag.content.iter().any(|octet| *octet != 0)),
        value: value.content,
    })
}

/// The keyIdentifier within the value of an authority key identifier (RFC 5280 §4.2.1.1).
pub(crate) fn key_identifier(value: &[u8]) -> Option<Vec<u8>> {
    const KEY_IDENTIFIER: u8 = 0x80;
    let mut parts = Reader::new(value).expect(tag::SEQUENCE, "AuthorityKeyIdentifier").ok()?.reader();
    Some(parts.optional(KEY_IDENTIFIER).ok()??.content.to_vec())
}

/// Reads what stands behind the certificate's `[3]`.
pub(super) fn read(wrapped: &Element<'_>) -> Result<Extensions, DerError> {
    let mut found = Extensions::default();
    let list = wrapped.reader().expect(tag::SEQUENCE, "Extensions")?;
    for extension in extensions(&list) {
        let extension = extension?;
        let value = extension.value;
        match extension.id {
            [0x55, 0x1d, 14] => found.subject_key_id = subject_key_id(value).or(found.subject_key_id),
            [0x55, 0x1d, 15] => found.signs_lists |= allows_list_signing(value),
            [0x55, 0x1d, 17] => push_names(&mut found.names, value),
            [0x55, 0x1d, 19] => found.is_ca |= basic_constraints(value).is_some_and(|(is_ca, _)| is_ca),
            [0x55, 0x1d, 31] => found.list_delegate = list_delegate(value).or(found.list_delegate),
            [0x55, 0x1d, 35] => found.authority_key_id = key_identifier(value).or(found.authority_key_id),
            [0x55, 0x1d, 37] => found.is_for_servers |= names_server_authentication(value),
            // Certificate Transparency's poison, 1.3.6.1.4.1.11129.2.4.3.
            [0x2b, 0x06, 0x01, 0x04, 0x01, 0xd6, 0x79, 0x02, 0x04, 0x03] => found.is_precertificate = true,
            _ => {}
        }
    }
    Ok(found)
}

/// cA and pathLenConstraint of a basicConstraints value.
pub(super) fn basic_constraints(value: &[u8]) -> Option<(bool, Option<u32>)> {
    let mut parts = Reader::new(value).expect(tag::SEQUENCE, "BasicConstraints").ok()?.reader();
    let is_ca = parts.optional(tag::BOOLEAN).ok()?;
    let path_length = parts.optional(tag::INTEGER).ok()?;
    Some((
        is_ca.is_some_and(|flag| flag.content.iter().any(|octet| *octet != 0)),
        path_length.and_then(|number| number.small_unsigned()),
    ))
}

/// Whether a keyUsage value has cRLSign.
fn allows_list_signing(value: &[u8]) -> bool {
    const CRL_SIGN: u8 = 0x80 >> 6;
    let bits = Reader::new(value).expect(tag::BIT_STRING, "KeyUsage").and_then(|usage| usage.bit_string());
    bits.is_ok_and(|bits| bits.first().is_some_and(|octet| octet & CRL_SIGN != 0))
}

/// The comparison key of the first cRLIssuer in a CRLDistributionPoints value (RFC 5280 §4.2.1.13).
fn list_delegate(value: &[u8]) -> Option<[u8; 32]> {
    const CRL_ISSUER: u8 = 0xa2;
    let mut points = Reader::new(value).expect(tag::SEQUENCE, "CRLDistributionPoints").ok()?.reader();
    while let Some(point) = points.next().ok()? {
        let mut fields = point.reader();
        while let Some(field) = fields.next().ok()? {
            if field.tag == CRL_ISSUER {
                return directory_name(field.reader()).map(|name| *name.comparison_key());
            }
        }
    }
    None
}

/// The first directoryName among GeneralNames that can be read.
pub(crate) fn directory_name(mut names: Reader<'_>) -> Option<DistinguishedName> {
    const DIRECTORY_NAME: u8 = 0xa4;
    while let Some(name) = names.next().ok()? {
        if name.tag == DIRECTORY_NAME {
            return DistinguishedName::from_der(name.content).ok();
        }
    }
    None
}

/// The content of a subjectKeyIdentifier value.
pub(super) fn subject_key_id(value: &[u8]) -> Option<Vec<u8>> {
    Some(Reader::new(value).expect(tag::OCTET_STRING, "SubjectKeyIdentifier").ok()?.content.to_vec())
}

fn names_server_authentication(value: &[u8]) -> bool {
    let Ok(list) = Reader::new(value).expect(tag::SEQUENCE, "ExtKeyUsageSyntax") else { return false };
    let mut purposes = list.reader();
    while let Ok(Some(purpose)) = purposes.next() {
        if purpose.content == [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01] {
            return true;
        }
    }
    false
}

/// Appends the names of a subjectAltName value, up to the first damaged one, each name once.
fn push_names(names: &mut Vec<Name>, value: &[u8]) {
    let Ok(list) = Reader::new(value).expect(tag::SEQUENCE, "GeneralNames") else { return };
    let mut seen: HashSet<Name> = HashSet::new();
    let mut reader = list.reader();
    while let Ok(Some(general_name)) = reader.next() {
        let Some(name) = name(&general_name) else { continue };
        // Most certificates have a handful of names, some a hundred thousand.
        const FEW: usize = 16;
        if names.len() < FEW {
            if !names.contains(&name) {
                names.push(name);
            }
            continue;
        }
        if seen.is_empty() {
            seen.extend(names.iter().cloned());
        }
        if seen.insert(name.clone()) {
            names.push(name);
        }
    }
}

/// The GeneralName's own name, for the forms that are recorded.
fn name(general_name: &Element<'_>) -> Option<Name> {
    let content = general_name.content;
    match general_name.tag {
        0x81 => Some(Name::email(&text(content))),
        0x82 => Some(Name::dns(&text(content))),
        0x86 => Some(Name::uri(&text(content))),
        0x87 => Some(Name::ip(content)),
        0xa0 => other_name(general_name),
        _ => None,
    }
}

/// OtherName ::= SEQUENCE { type-id OBJECT IDENTIFIER, value [0] EXPLICIT ANY }.
fn other_name(general_name: &Element<'_>) -> Option<Name> {
    const VALUE: u8 = 0xa0;
    let mut parts = general_name.reader();
    let kind = parts.expect(tag::OID, "type-id").ok()?;
    let value = parts.expect(VALUE, "value").ok()?.reader().next().ok()??;
    match kind.content {
        // Microsoft's userPrincipalName, 1.3.6.1.4.1.311.20.2.3.
        [0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x14, 0x02, 0x03] => Some(Name::upn(&text(value.content))),
        // id-on-SmtpUTF8Mailbox, RFC 9598 §3.
        [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x08, 0x09] => Some(Name::email(&text(value.content))),
        _ => None,
    }
}

/// IA5String content. Programs that put UTF-8 there mean it; other octets over 127 are read as Latin-1.
pub(super) fn text(content: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(content) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => content.iter().copied().map(char::from).collect(),
    }
}
