//! Decrypting a file's values, and checking them against its MAC.

use openssl::hash::{Hasher, MessageDigest};
use zeroize::Zeroizing;

use super::document::{Document, Map, Node};
use super::encrypted::{Plain, decrypt, is_encrypted};
use super::metadata::Metadata;

/// What a MAC over encrypted values alone begins with, so that it differs from one over all: SHA-256 of `sops`.
const ONLY_ENCRYPTED: [u8; 32] = [
    0x8a, 0x3f, 0xd2, 0xad, 0x54, 0xce, 0x66, 0x52, 0x7b, 0x10, 0x34, 0xf3, 0xd1, 0x47, 0xbe, 0x0b, 0x0b, 0x97, 0x5b,
    0x3b, 0xf4, 0x4f, 0x72, 0xc6, 0xfd, 0xad, 0xec, 0x81, 0x76, 0xf2, 0x7d, 0x69,
];

/// Decrypts every value, checks the MAC, and answers one of them.
///
/// A value that is not encrypted is given only if the MAC covers it.
pub(super) fn read(
    document: &Document,
    metadata: &Metadata,
    data_key: &[u8],
    wanted: &Node,
) -> Result<Zeroizing<Vec<u8>>, String> {
    let mut walk = Walk { metadata, data_key, wanted, hasher: hasher(metadata)?, path: String::new(), found: None };
    for branch in &document.branches {
        walk.map(branch, false)?;
    }
    let Walk { mut hasher, found, .. } = walk;
    if let Some(mac) = &metadata.mac {
        let expected = decrypt(mac, data_key, &metadata.last_modified)
            .map_err(|_| "has a MAC that cannot be decrypted: sops.mac or sops.lastmodified was changed")?;
        let sum = hasher.finish().map_err(|error| openssl(&error))?;
        let mut digits = Zeroizing::new(Vec::with_capacity(2 * sum.len()));
        let digit = |value: u8| b"0123456789ABCDEF"[usize::from(value)];
        digits.extend(sum.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
        if expected.bytes.len() != digits.len() || !openssl::memcmp::eq(&expected.bytes, &digits) {
            return Err("has a MAC that does not match its values: one was changed, moved, added or taken away after \
                        the file was written; encrypt it anew if that was meant"
                .to_owned());
        }
    }
    match found.ok_or("holds null, expected a value")? {
        Found { plain, is_encrypted: true } => Ok(plain.into_secret()),
        // The MAC covers the values in the clear, but neither their names nor where one ends and the next begins: whoever can
        // write the file could give one of them this name.
        Found { is_encrypted: false, .. } => Err("is not encrypted, so it is no secret; encrypt it".to_owned()),
    }
}

fn hasher(metadata: &Metadata) -> Result<Hasher, String> {
    let mut hasher = Hasher::new(MessageDigest::sha512()).map_err(|error| openssl(&error))?;
    if metadata.mac_only_encrypted {
        hasher.update(&ONLY_ENCRYPTED).map_err(|error| openssl(&error))?;
    }
    Ok(hasher)
}

fn openssl(error: &openssl::error::ErrorStack) -> String {
    format!("cannot be checked: OpenSSL: {error}")
}

struct Found {
    plain: Plain,
    is_encrypted: bool,
}

/// On its way through the values, in document order.
struct Walk<'d> {
    metadata: &'d Metadata,
    data_key: &'d [u8],
    wanted: &'d Node,
    /// OpenSSL's, because it wipes its memory.
    hasher: Hasher,
    /// The keys so far, each with a colon behind it: with this a value is authenticated. Lists do not count.
    path: String,
    found: Option<Found>,
}

impl Walk<'_> {
    /// `matched`: a key above matches the file's rule.
    fn map(&mut self, map: &Map, matched: bool) -> Result<(), String> {
        for (key, node) in map {
            let end = self.path.len();
            self.path.push_str(key);
            self.path.push(':');
            self.node(node, matched || self.metadata.rule.matches(key))?;
            self.path.truncate(end);
        }
        Ok(())
    }

    fn node(&mut self, node: &Node, matched: bool) -> Result<(), String> {
        match node {
            Node::Map(map) => self.map(map, matched),
            Node::List(list) => list.iter().try_for_each(|node| self.node(node, matched)),
            Node::Null => Ok(()),
            value => self.value(value, matched).map_err(|reason| {
                // The path is known to whoever has the file; a terminal must not be driven by it.
                let path = self.path.trim_end_matches(':').replace(':', ".");
                format!("has a value {} that {reason}", path.escape_debug())
            }),
        }
    }

    fn value(&mut self, node: &Node, matched: bool) -> Result<(), String> {
        let encrypts = self.metadata.rule.encrypts(matched);
        let (plain, is_encrypted) = match node {
            // SOPS leaves an empty text as it is.
            Node::Text(text) if text.is_empty() => (Plain::of(node), false),
            Node::Text(text) if encrypts.unwrap_or(is_encrypted(text)) => {
                if !is_encrypted(text) {
                    return Err("is not encrypted, which the section sops says it is".to_owned());
                }
                (Some(decrypt(text, self.data_key, &self.path)?), true)
            }
            _ if encrypts == Some(true) => {
                return Err("is not encrypted, which the section sops says it is".to_owned());
            }
            _ => (Plain::of(node), false),
        };
        // Maps, lists and null do not get here.
        let Some(plain) = plain else { return Ok(()) };
        if is_encrypted || !self.metadata.mac_only_encrypted {
            self.hasher.update(&plain.bytes).map_err(|error| openssl(&error))?;
        }
        if std::ptr::eq(node, self.wanted) {
            self.found = Some(Found { plain, is_encrypted });
        }
        Ok(())
    }
}
