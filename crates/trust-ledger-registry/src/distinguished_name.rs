//! Distinguished names: of a subject, of an issuer.

mod attribute;

use sha2::{Digest, Sha256};

use crate::der::{DerError, Element, Reader, tag};
use attribute::Value;

/// An X.501 name as it stands in certificates and CRLs: readable, and comparable.
///
/// The text is RFC 4514: the last RDN first, `,` between RDNs, `+` within one. It equals what `openssl x509
/// -nameopt RFC2253,-esc_msb` prints, except that
///
/// - BMPString is read as UTF-16 (OpenSSL stops at surrogate pairs) and UTF8String with bytes that are not UTF-8
///   is read as Latin-1 (OpenSSL prints nothing of such a name),
/// - an attribute type that OpenSSL has a short name for and this crate has not is written as dotted OID with the
///   value's BER in hex, the form RFC 4514 §2.4 gives for types without a name.
///
/// Short names are OpenSSL's (`emailAddress`, `organizationIdentifier`, …), since that is what people search for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DistinguishedName {
    text: String,
    comparison_key: [u8; 32],
    common_name: Option<String>,
    email_addresses: Vec<String>,
}

impl DistinguishedName {
    /// Reads the DER of a Name, which must be all of `der`. The empty name is a name.
    pub fn from_der(der: &[u8]) -> Result<DistinguishedName, DerError> {
        let mut reader = Reader::new(der);
        let name = reader.expect(tag::SEQUENCE, "Name")?;
        reader.finish()?;
        DistinguishedName::from_element(&name)
    }

    /// Reads a Name that has been found in something larger.
    pub(crate) fn from_element(name: &Element<'_>) -> Result<DistinguishedName, DerError> {
        let mut relative_names = Vec::with_capacity(8);
        let mut reader = name.reader();
        while !reader.is_empty() {
            relative_names.push(reader.expect(tag::SET, "RelativeDistinguishedName")?);
        }

        let mut text = String::with_capacity(96);
        let mut common_name = None;
        let mut email_addresses = Vec::new();
        let mut normal = Vec::with_capacity(128);
        let mut attributes = Vec::new();
        for relative_name in relative_names.iter().rev() {
            attributes.clear();
            let mut reader = relative_name.reader();
            while !reader.is_empty() {
                let attribute = reader.expect(tag::SEQUENCE, "AttributeTypeAndValue")?;
                let mut parts = attribute.reader();
                let kind = parts.expect(tag::OID, "attribute type")?;
                let value =
                    parts.next()?.ok_or(DerError::Missing { offset: parts.offset(), expected: "attribute value" })?;
                parts.finish()?;
                attributes.push((kind.content, Value::decode(&value), value));
            }
            // OpenSSL turns the attributes of one RDN around as well; RFC 4514 leaves their order open.
            for (position, (kind, value, element)) in attributes.iter().rev().enumerate() {
                if !text.is_empty() {
                    text.push(if position == 0 { ',' } else { '+' });
                }
                attribute::push(&mut text, kind, value, element);
                if let Value::Text(value) = value {
                    if *kind == attribute::COMMON_NAME && common_name.is_none() {
                        common_name = Some(escape_nul(value));
                    } else if *kind == attribute::EMAIL_ADDRESS {
                        email_addresses.push(escape_nul(value));
                    }
                }
            }
            push_normal_form(&mut normal, &attributes);
        }
        Ok(DistinguishedName { text, comparison_key: Sha256::digest(&normal).into(), common_name, email_addresses })
    }

    /// The name as RFC 4514 text, for example `CN=www.example.com,O=Example,C=SE`. Empty for the empty name. Holds
    /// no control characters of ASCII (they are written `\0A`), but any other character, bidirectional marks
    /// included.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Equal for names that RFC 5280 §7.1 calls equal: SHA-256 of the name with case folded, outer white space
    /// removed, inner white space collapsed, string types ignored and the attributes within an RDN sorted.
    pub fn comparison_key(&self) -> &[u8; 32] {
        &self.comparison_key
    }

    /// The most specific (last) common name, unescaped but for NUL, which reads `\00`.
    pub fn common_name(&self) -> Option<&str> {
        self.common_name.as_deref()
    }

    /// Every emailAddress attribute (PKCS #9), the most specific first, NUL as `\00`.
    pub fn email_addresses(&self) -> &[String] {
        &self.email_addresses
    }

    /// Whether the name has no RDN at all.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

impl std::fmt::Display for DistinguishedName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.text)
    }
}

/// Text as it is stored: NUL, which PostgreSQL takes in no string, becomes `\00`.
pub(crate) fn escape_nul(text: &str) -> String {
    if text.contains('\0') { text.replace('\0', "\\00") } else { text.to_owned() }
}

/// Appends one RDN to what is hashed. Lengths go in front, so that no two names run together.
fn push_normal_form(normal: &mut Vec<u8>, attributes: &[(&[u8], Value<'_>, Element<'_>)]) {
    let mut push = |octets: &[u8]| {
        normal.extend_from_slice(&(octets.len() as u64).to_be_bytes());
        normal.extend_from_slice(octets);
    };
    let normal_value = |value: &Value<'_>, element: &Element<'_>| match value {
        Value::Text(text) => normalise(text).into_bytes(),
        // A leading NUL keeps binary values apart from texts, which have theirs removed or not in front.
        Value::Binary => [b"\0", element.whole].concat(),
    };
    if let [(kind, value, element)] = attributes {
        push(&[]);
        push(kind);
        push(&normal_value(value, element));
        return;
    }
    let mut sorted: Vec<(&[u8], Vec<u8>)> =
        attributes.iter().map(|(kind, value, element)| (*kind, normal_value(value, element))).collect();
    sorted.sort();
    push(&[]);
    for (kind, value) in sorted {
        push(kind);
        push(&value);
    }
}

fn normalise(text: &str) -> String {
    let mut normal = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !normal.is_empty() {
            normal.push(' ');
        }
        if word.is_ascii() {
            normal.extend(word.bytes().map(|octet| char::from(octet.to_ascii_lowercase())));
        } else {
            normal.extend(word.chars().flat_map(char::to_lowercase));
        }
    }
    normal
}

#[cfg(test)]
mod tests;
