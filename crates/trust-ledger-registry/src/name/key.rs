//! The forms under which names are indexed and looked up.

use sha2::{Digest, Sha256};

use super::parse_ip;
use crate::der::oid::push_hex;
use crate::distinguished_name::escape_nul;

/// Longest key, in bytes of UTF-8. (PostgreSQL refuses index rows over 2,704 bytes; names can be of any length.)
pub const MAX_KEY_BYTES: usize = 255;

/// What a longer key keeps of its text: 190 bytes, then `~` and the SHA-256 of all of it in hex. A prefix search
/// is exact up to this length.
pub const MAX_PREFIX_BYTES: usize = MAX_KEY_BYTES - 65;

/// The form under which a common name or alternative name is indexed, and a query looked up: two texts that a person
/// takes for the same name have the same key.
///
/// An IP address becomes canonical (RFC 5952), also from `[2001:DB8::1]`. Other text is lower-cased and trimmed
/// and loses one final dot; when it looks like a host name (it has a dot and no blank, `@`, `/` or `:`), or for the
/// domain of an e-mail address, U-labels become A-labels. NUL reads `\00`.
///
/// At most [`MAX_KEY_BYTES`]: longer text is cut at [`MAX_PREFIX_BYTES`] (or a character boundary before it) and
/// followed by `~` and its SHA-256 in hex, so that keys stay unique. Applying it to a key yields that key.
pub fn search_key(text: &str) -> String {
    cut(normalise(text))
}

/// The key of a text with its labels turned around, so that `*.example.com` is the range of keys that begin with
/// `com.example.`: `www.example.com` becomes `com.example.www`.
///
/// Takes the text itself rather than its [`search_key`], which may have been cut. What precedes the last `@` is kept
/// whole and put last: `joe@mail.example.com` becomes `com.example.mail@joe`, which is in the range of
/// `*.example.com` too, and in that of `*@mail.example.com`. Addresses, URIs and names with blanks are turned
/// around at their dots like any other text: a key ends with `.x` exactly when its reversed key begins with the
/// reversed `x.`, whatever it names. Same length limit as [`search_key`].
pub fn reversed_key(text: &str) -> String {
    cut(reverse(&normalise(text)))
}

/// [`search_key`] before it is cut.
pub(super) fn normalise(text: &str) -> String {
    let text = text.trim();
    if let Some(address) = parse_ip(text) {
        return address.to_string();
    }
    let text = text.strip_suffix('.').unwrap_or(text);
    if text.is_ascii() {
        return escape_nul(&text.to_ascii_lowercase());
    }
    let lower = escape_nul(&text.to_lowercase());
    let (local, domain) = match lower.rsplit_once('@') {
        Some((local, domain)) => (Some(local), domain),
        None => (None, lower.as_str()),
    };
    let is_host = domain.contains('.') && !domain.contains(|c: char| c.is_whitespace() || "/:\\".contains(c));
    if !is_host || domain.is_ascii() {
        return lower;
    }
    match (idna::domain_to_ascii(domain), local) {
        (Ok(domain), Some(local)) => format!("{local}@{domain}"),
        (Ok(domain), None) => domain,
        (Err(_), _) => lower,
    }
}

/// Labels turned around; what precedes the last `@` moves to the end.
pub(super) fn reverse(text: &str) -> String {
    let (local, domain) = match text.rsplit_once('@') {
        Some((local, domain)) => (Some(local), domain),
        None => (None, text),
    };
    let mut reversed = String::with_capacity(text.len());
    for (position, label) in domain.rsplit('.').enumerate() {
        if position > 0 {
            reversed.push('.');
        }
        reversed.push_str(label);
    }
    if let Some(local) = local {
        reversed.push('@');
        reversed.push_str(local);
    }
    reversed
}

fn cut(key: String) -> String {
    if key.len() <= MAX_KEY_BYTES {
        return key;
    }
    let mut end = MAX_PREFIX_BYTES;
    while !key.is_char_boundary(end) {
        end -= 1;
    }
    let mut short = format!("{}~", &key[..end]);
    push_hex(&mut short, &Sha256::digest(key.as_bytes()));
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_spellings_of_a_name_have_one_key() {
        for (texts, key) in [
            (&["www.example.com", " WWW.Example.com. "][..], "www.example.com"),
            (&["Bücher.example", "xn--bcher-kva.example", "BÜCHER.example."], "xn--bcher-kva.example"),
            (&["2001:DB8:0:0::1", "2001:db8::1", "[2001:db8::1]"], "2001:db8::1"),
            (&["Joe@Bücher.example", "joe@xn--bcher-kva.example"], "joe@xn--bcher-kva.example"),
            (&["Müller GmbH", "MÜLLER GMBH "], "müller gmbh"),
            (&["Müller"], "müller"),
            (&["a\0b", "a\\00b"], "a\\00b"),
        ] {
            for text in texts {
                assert_eq!(search_key(text), key, "{text:?}");
                assert_eq!(search_key(key), key);
            }
        }
    }

    #[test]
    fn reversed_keys_make_a_range_of_a_domain() {
        for (text, key) in [
            ("www.example.com", "com.example.www"),
            ("*.Example.com", "com.example.*"),
            ("John.Doe@mail.example.com", "com.example.mail@john.doe"),
            ("https://www.example.com", "com.example.https://www"),
            ("10.0.0.1", "1.0.0.10"),
            ("2001:db8::1", "2001:db8::1"),
            ("Example CA", "example ca"),
        ] {
            assert_eq!(reversed_key(text), key);
        }
    }

    #[test]
    fn long_keys_are_cut_and_stay_unique() {
        for unit in ["a", "ü", "🔐", "a."] {
            let long = unit.repeat(300);
            let longer = unit.repeat(301);
            for key in [search_key, reversed_key] {
                assert!(key(&long).len() <= MAX_KEY_BYTES);
                assert_ne!(key(&long), key(&longer));
            }
        }
        assert_eq!(search_key(&"a".repeat(255)), "a".repeat(255));
        let key = search_key(&"a".repeat(256));
        assert_eq!(&key[..191], format!("{}~", "a".repeat(190)));
        assert_eq!(key.len(), 255);
        assert_eq!(search_key(&key), key);
    }
}
