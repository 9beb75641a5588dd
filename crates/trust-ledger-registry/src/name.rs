//! The names a certificate is issued for: its subject alternative names.

mod key;
mod pattern;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::der::oid::push_hex;
use crate::distinguished_name::escape_nul;
pub use key::{MAX_KEY_BYTES, MAX_PREFIX_BYTES, reversed_key, search_key};
pub use pattern::{NamePattern, NamePatternError};

/// What kind of name a [`Name`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum NameKind {
    /// A DNS name, perhaps with a `*` label: `dns`.
    Dns,
    /// An IPv4 or IPv6 address: `ip`.
    Ip,
    /// An e-mail address (RFC 822 name, or SmtpUTF8Mailbox of RFC 9598): `email`.
    Email,
    /// A URI: `uri`.
    Uri,
    /// A Microsoft user principal name: `upn`.
    Upn,
}

impl NameKind {
    /// The kind as it is stored and shown: `dns`, `ip`, `email`, `uri`, `upn`.
    pub fn as_str(self) -> &'static str {
        match self {
            NameKind::Dns => "dns",
            NameKind::Ip => "ip",
            NameKind::Email => "email",
            NameKind::Uri => "uri",
            NameKind::Upn => "upn",
        }
    }
}

impl fmt::Display for NameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for NameKind {
    type Err = UnknownNameKind;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [NameKind::Dns, NameKind::Ip, NameKind::Email, NameKind::Uri, NameKind::Upn]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| UnknownNameKind { found: text.to_owned() })
    }
}

/// A text that is no [`NameKind`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is no kind of name: dns, ip, email, uri or upn")]
pub struct UnknownNameKind {
    /// The text.
    pub found: String,
}

/// One subject alternative name, in its canonical form.
///
/// DNS names are lower-cased A-labels without the final dot; IP addresses are written by RFC 5952; the domain
/// of an e-mail address or UPN is lower-cased; a NUL reads `\00`. A value that is not what its kind promises (an
/// address of five octets, a DNS name with a blank) does not refuse the certificate: addresses of a wrong length
/// are kept as hex, other values as they are.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Name {
    /// What kind of name it is.
    #[serde(rename = "type")]
    pub kind: NameKind,
    /// The name.
    pub value: String,
}

impl Name {
    /// The canonical form of a DNS name. U-labels become A-labels where IDNA (UTS 46) allows it.
    pub fn dns(text: &str) -> Name {
        let text = text.strip_suffix('.').unwrap_or(text);
        let value = if text.is_ascii() {
            text.to_ascii_lowercase()
        } else {
            idna::domain_to_ascii(text).unwrap_or_else(|_| text.to_lowercase())
        };
        Name { kind: NameKind::Dns, value: escape_nul(&value) }
    }

    /// The canonical form of an address of 4 or 16 octets; of any other length its hex.
    pub fn ip(octets: &[u8]) -> Name {
        let value = if let Ok(octets) = <[u8; 4]>::try_from(octets) {
            Ipv4Addr::from(octets).to_string()
        } else if let Ok(octets) = <[u8; 16]>::try_from(octets) {
            Ipv6Addr::from(octets).to_string()
        } else {
            let mut hex = String::new();
            push_hex(&mut hex, octets);
            hex
        };
        Name { kind: NameKind::Ip, value }
    }

    /// An e-mail address: what follows the last `@` lower-cased, the local part untouched (RFC 5321 §2.4).
    pub fn email(text: &str) -> Name {
        Name { kind: NameKind::Email, value: lower_case_domain(text) }
    }

    /// A URI, untouched but for NUL.
    pub fn uri(text: &str) -> Name {
        Name { kind: NameKind::Uri, value: escape_nul(text) }
    }

    /// A user principal name: what follows the last `@` lower-cased.
    pub fn upn(text: &str) -> Name {
        Name { kind: NameKind::Upn, value: lower_case_domain(text) }
    }

    /// The name for people: the U-label of a DNS name where there is one, else the value.
    ///
    /// May hold any character but NUL; escape it before it goes to a terminal.
    pub fn display(&self) -> String {
        if self.kind == NameKind::Dns
            && self.value.contains("xn--")
            && let (unicode, Ok(())) = idna::domain_to_unicode(&self.value)
        {
            return unicode;
        }
        self.value.clone()
    }
}

fn lower_case_domain(text: &str) -> String {
    let text = escape_nul(text);
    match text.rsplit_once('@') {
        Some((local, domain)) => format!("{local}@{}", Name::dns(domain).value),
        None => text,
    }
}

/// The address a text names, with or without the brackets of a URI.
fn parse_ip(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_names_become_lower_case_a_labels_without_final_dot() {
        assert_eq!(Name::dns("WWW.Example.COM.").value, "www.example.com");
        assert_eq!(Name::dns("*.Example.com").value, "*.example.com");
        assert_eq!(Name::dns("Bücher.example").value, "xn--bcher-kva.example");
        assert_eq!(Name::dns("_dmarc.a_b.example").value, "_dmarc.a_b.example");
        assert_eq!(Name::dns("good.example\0.evil").value, "good.example\\00.evil");
        assert_eq!(Name::dns("").value, "");
    }

    #[test]
    fn dns_names_are_shown_as_u_labels() {
        assert_eq!(Name::dns("xn--bcher-kva.example").display(), "bücher.example");
        assert_eq!(Name::dns("*.xn--bcher-kva.example").display(), "*.bücher.example");
        assert_eq!(Name::dns("xn--\u{202e}.example").display(), Name::dns("xn--\u{202e}.example").value);
        assert_eq!(Name::uri("https://xn--bcher-kva.example").display(), "https://xn--bcher-kva.example");
    }

    #[test]
    fn addresses_are_canonical_and_wrong_lengths_kept_as_hex() {
        assert_eq!(Name::ip(&[192, 0, 2, 1]).value, "192.0.2.1");
        let mut v6 = [0; 16];
        (v6[0], v6[1], v6[2], v6[3], v6[15]) = (0x20, 0x01, 0x0d, 0xb8, 1);
        assert_eq!(Name::ip(&v6).value, "2001:db8::1");
        assert_eq!(Name::ip(&[1, 2, 3, 4, 5]).value, "0102030405");
        assert_eq!(Name::ip(&[]).value, "");
    }

    #[test]
    fn only_the_domain_of_an_address_is_lower_cased() {
        assert_eq!(Name::email("John.Doe@Example.COM").value, "John.Doe@example.com");
        assert_eq!(Name::upn("Admin@CORP.Example").value, "Admin@corp.example");
        assert_eq!(Name::email("no domain\0").value, "no domain\\00");
    }

    #[test]
    fn names_are_written_with_type_and_value() {
        let name = Name::dns("a.example");
        let json = r#"{"type":"dns","value":"a.example"}"#;
        assert_eq!(serde_json::to_string(&name).unwrap(), json);
        assert_eq!(serde_json::from_str::<Name>(json).unwrap(), name);
        assert_eq!("upn".parse(), Ok(NameKind::Upn));
        assert!("DNS".parse::<NameKind>().is_err());
    }
}
