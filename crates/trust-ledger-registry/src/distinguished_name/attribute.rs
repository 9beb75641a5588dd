//! Attributes of a distinguished name: their short names, their values, and how RFC 4514 writes them.

use std::borrow::Cow;

use crate::der::oid::{dotted, push_hex};
use crate::der::{Element, tag};

/// id-at-commonName, 2.5.4.3.
pub(super) const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// PKCS #9 emailAddress, 1.2.840.113549.1.9.1.
pub(super) const EMAIL_ADDRESS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x01];

/// An attribute's value.
pub(super) enum Value<'a> {
    /// A character string of any of ASN.1's types.
    Text(Cow<'a, str>),
    /// Anything else: shown as the hex of its BER.
    Binary,
}

impl<'a> Value<'a> {
    /// Decodes by the value's own type. Bytes that their type does not allow are read as Latin-1, like OpenSSL does.
    pub(super) fn decode(element: &Element<'a>) -> Value<'a> {
        const UTF8: u8 = tag::UTF8_STRING;
        const NUMERIC: u8 = 0x12;
        const PRINTABLE: u8 = 0x13;
        const TELETEX: u8 = 0x14;
        const IA5: u8 = 0x16;
        const VISIBLE: u8 = 0x1a;
        const UNIVERSAL: u8 = 0x1c;
        const BMP: u8 = 0x1e;
        let content = element.content;
        let text = match element.tag {
            UTF8 => match std::str::from_utf8(content) {
                Ok(text) => Cow::Borrowed(text),
                Err(_) => latin_1(content),
            },
            NUMERIC | PRINTABLE | TELETEX | IA5 | VISIBLE | tag::UTC_TIME | tag::GENERALIZED_TIME => latin_1(content),
            BMP if content.len().is_multiple_of(2) => {
                let units = content.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
                char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
            }
            UNIVERSAL if content.len().is_multiple_of(4) => content
                .chunks_exact(4)
                .map(|four| u32::from_be_bytes([four[0], four[1], four[2], four[3]]))
                .map(|point| char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER))
                .collect(),
            _ => return Value::Binary,
        };
        Value::Text(text)
    }
}

fn latin_1(content: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(content) {
        Ok(text) if text.is_ascii() => Cow::Borrowed(text),
        _ => content.iter().copied().map(char::from).collect(),
    }
}

/// Appends `type=value`.
pub(super) fn push(text: &mut String, kind: &[u8], value: &Value<'_>, element: &Element<'_>) {
    let name = short_name(kind);
    match name {
        Some(name) => text.push_str(name),
        None => text.push_str(&dotted(kind)),
    }
    text.push('=');
    match value {
        Value::Text(value) if name.is_some() => push_escaped(text, value),
        _ => {
            text.push('#');
            // RFC 4514 §2.4 leaves the case of the digits open; OpenSSL writes capitals.
            let start = text.len();
            push_hex(text, element.whole);
            text[start..].make_ascii_uppercase();
        }
    }
}

/// RFC 4514 §2.4, and every ASCII control character as `\` and two hex digits.
fn push_escaped(text: &mut String, value: &str) {
    let last = value.len().wrapping_sub(1);
    for (position, character) in value.char_indices() {
        match character {
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => {
                text.push('\\');
                text.push(character);
            }
            ' ' if position == 0 || position == last => text.push_str("\\ "),
            '#' if position == 0 => text.push_str("\\#"),
            '\0'..='\x1f' | '\x7f' => {
                text.push('\\');
                let start = text.len();
                push_hex(text, &[character as u8]);
                text[start..].make_ascii_uppercase();
            }
            _ => text.push(character),
        }
    }
}

/// OpenSSL's short name of an attribute type.
fn short_name(kind: &[u8]) -> Option<&'static str> {
    match kind {
        [0x55, 0x04, number] => Some(match number {
            3 => "CN",
            4 => "SN",
            5 => "serialNumber",
            6 => "C",
            7 => "L",
            8 => "ST",
            9 => "street",
            10 => "O",
            11 => "OU",
            12 => "title",
            13 => "description",
            14 => "searchGuide",
            15 => "businessCategory",
            16 => "postalAddress",
            17 => "postalCode",
            18 => "postOfficeBox",
            19 => "physicalDeliveryOfficeName",
            20 => "telephoneNumber",
            31 => "member",
            32 => "owner",
            33 => "roleOccupant",
            41 => "name",
            42 => "GN",
            43 => "initials",
            44 => "generationQualifier",
            45 => "x500UniqueIdentifier",
            46 => "dnQualifier",
            49 => "distinguishedName",
            54 => "dmdName",
            65 => "pseudonym",
            72 => "role",
            97 => "organizationIdentifier",
            98 => "c3",
            99 => "n3",
            100 => "dnsName",
            _ => return None,
        }),
        // PKCS #9, 1.2.840.113549.1.9.
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, number] => Some(match number {
            1 => "emailAddress",
            2 => "unstructuredName",
            7 => "challengePassword",
            8 => "unstructuredAddress",
            20 => "friendlyName",
            _ => return None,
        }),
        // RFC 4519 and RFC 4524, 0.9.2342.19200300.100.1.
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 0x01, number] => Some(match number {
            1 => "UID",
            3 => "mail",
            4 => "info",
            6 => "roomNumber",
            9 => "host",
            25 => "DC",
            41 => "mobileTelephoneNumber",
            43 => "friendlyCountryName",
            44 => "uid",
            45 => "organizationalStatus",
            _ => return None,
        }),
        // Microsoft's jurisdiction attributes of EV certificates, 1.3.6.1.4.1.311.60.2.1.
        [0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x3c, 0x02, 0x01, number] => Some(match number {
            1 => "jurisdictionL",
            2 => "jurisdictionST",
            3 => "jurisdictionC",
            _ => return None,
        }),
        // GOST's taxpayer and registration numbers, 1.2.643.
        [0x2a, 0x85, 0x03, 0x03, 0x81, 0x03, 0x01, 0x01] => Some("INN"),
        [0x2a, 0x85, 0x03, 0x64, 0x01] => Some("OGRN"),
        [0x2a, 0x85, 0x03, 0x64, 0x03] => Some("SNILS"),
        _ => None,
    }
}
