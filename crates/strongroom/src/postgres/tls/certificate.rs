//! What a server's certificate says, for messages and facts.

use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::x509::{X509NameRef, X509Ref};
use time::{Duration, OffsetDateTime};

/// The names that a certificate is for: DNS names and addresses, or else its common name.
pub(super) fn names(certificate: &X509Ref) -> Vec<String> {
    let alternatives = certificate.subject_alt_names();
    let named: Vec<String> = alternatives
        .iter()
        .flatten()
        .filter_map(|name| match (name.dnsname(), name.ipaddress()) {
            (Some(name), _) => Some(printable(name)),
            (None, Some(bytes)) => address(bytes),
            _ => None,
        })
        .collect();
    if !named.is_empty() {
        return named;
    }
    let common = certificate.subject_name().entries_by_nid(openssl::nid::Nid::COMMONNAME);
    common.filter_map(|entry| entry.data().to_string().ok()).map(|name| printable(&name)).collect()
}

/// A distinguished name as people read it, such as `O=Example, CN=Example CA`.
pub(super) fn distinguished(name: &X509NameRef) -> String {
    let entries = name.entries().filter_map(|entry| {
        let key = entry.object().nid().short_name().unwrap_or("?");
        Some(format!("{key}={}", printable(&entry.data().to_string().ok()?)))
    });
    entries.collect::<Vec<_>>().join(", ")
}

/// A certificate's time. `None` when it is none.
pub(super) fn time(time: &Asn1TimeRef) -> Option<OffsetDateTime> {
    let since = Asn1Time::from_unix(0).ok()?.diff(time).ok()?;
    OffsetDateTime::UNIX_EPOCH
        .checked_add(Duration::days(since.days.into()))?
        .checked_add(Duration::seconds(since.secs.into()))
}

fn address(bytes: &[u8]) -> Option<String> {
    match bytes.len() {
        4 => Some(std::net::Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).to_string()),
        16 => Some(std::net::Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string()),
        _ => None,
    }
}

/// Whoever made the certificate chose the text: it may hold what changes a terminal, and be endless.
fn printable(text: &str) -> String {
    text.chars().take(200).flat_map(char::escape_debug).collect()
}
