//! An encrypted value: `ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openssl::symm::{Cipher, decrypt_aead};
use zeroize::Zeroizing;

use super::document::Node;

/// A value in the clear.
#[derive(Debug, PartialEq)]
pub(super) struct Plain {
    /// In the form that goes into the MAC: a text's bytes, `42`, `0.5`, `True`.
    pub(super) bytes: Zeroizing<Vec<u8>>,
    is_bool: bool,
}

impl Plain {
    /// A value that stands in the file in the clear; None for maps, lists and null.
    pub(super) fn of(node: &Node) -> Option<Self> {
        let bytes = match node {
            Node::Text(text) | Node::Time(text) => text.clone().into_bytes(),
            Node::Int(int) => int.to_string().into_bytes(),
            Node::Float(float) => float_text(*float).into_bytes(),
            Node::Bool(value) => bool_text(*value).into(),
            Node::Map(_) | Node::List(_) | Node::Null => return None,
        };
        Some(Plain { bytes: Zeroizing::new(bytes), is_bool: matches!(node, Node::Bool(_)) })
    }

    /// What a reader of the file is after: as in the MAC, but for `true` and `false`.
    pub(super) fn into_secret(mut self) -> Zeroizing<Vec<u8>> {
        if self.is_bool {
            self.bytes.make_ascii_lowercase();
        }
        self.bytes
    }
}

/// Whether a text has the form of an encrypted value.
pub(super) fn is_encrypted(text: &str) -> bool {
    text.starts_with("ENC[AES256_GCM,data:") && text.ends_with(']')
}

/// Decrypts a value. `place` is authenticated with it: the value's path, or the time of the MAC.
///
/// The errors are the end of a sentence about the value.
pub(super) fn decrypt(text: &str, data_key: &[u8], place: &str) -> Result<Plain, String> {
    let damaged = || "is encrypted and damaged: expected ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]".to_owned();
    let fields =
        text.strip_prefix("ENC[AES256_GCM,data:").and_then(|text| text.strip_suffix(']')).ok_or_else(damaged)?;
    let (data, fields) = fields.split_once(",iv:").ok_or_else(damaged)?;
    let (iv, fields) = fields.split_once(",tag:").ok_or_else(damaged)?;
    let (tag, kind) = fields.split_once(",type:").ok_or_else(damaged)?;
    let decode = |text: &str| STANDARD.decode(text).map_err(|_| damaged());
    let (data, iv, tag) = (decode(data)?, decode(iv)?, decode(tag)?);
    // OpenSSL would compare a shorter tag in its length only.
    if tag.len() != 16 || !(12..=32).contains(&iv.len()) {
        return Err(damaged());
    }
    let bytes = decrypt_aead(Cipher::aes_256_gcm(), data_key, Some(&iv), place.as_bytes(), &data, &tag)
        .map_err(|_| "cannot be decrypted: it was changed, or moved here from elsewhere".to_owned())?;
    typed(Zeroizing::new(bytes), kind).ok_or_else(|| format!("is not of its type, {}", kind.escape_debug()))
}

/// Brings a value into the form in which it goes into the MAC.
fn typed(bytes: Zeroizing<Vec<u8>>, kind: &str) -> Option<Plain> {
    let text = || std::str::from_utf8(&bytes).ok();
    let plain = |bytes: Vec<u8>| Plain { bytes: Zeroizing::new(bytes), is_bool: kind == "bool" };
    match kind {
        "str" | "bytes" | "time" | "comment" => Some(Plain { bytes, is_bool: false }),
        "int" => Some(plain(text()?.parse::<i64>().ok()?.to_string().into_bytes())),
        "float" => Some(plain(float_text(text()?.parse().ok()?).into_bytes())),
        "bool" => match text()? {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(plain(bool_text(true).into())),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(plain(bool_text(false).into())),
            _ => None,
        },
        _ => None,
    }
}

fn bool_text(value: bool) -> &'static str {
    if value { "True" } else { "False" }
}

/// The shortest decimal form without an exponent, as Go's `strconv.FormatFloat(f, 'f', -1, 64)`.
fn float_text(float: f64) -> String {
    match float {
        f64::INFINITY => "+Inf".to_owned(),
        f64::NEG_INFINITY => "-Inf".to_owned(),
        float => float.to_string(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use openssl::symm::encrypt_aead;

    use super::*;

    /// Encrypts a value as SOPS does.
    pub(in crate::sops) fn encrypt(bytes: &[u8], kind: &str, data_key: &[u8], place: &str) -> String {
        let (iv, mut tag) = ([7; 32], [0; 16]);
        let data = encrypt_aead(Cipher::aes_256_gcm(), data_key, Some(&iv), place.as_bytes(), bytes, &mut tag).unwrap();
        let [data, iv, tag] = [&data[..], &iv, &tag].map(|bytes| STANDARD.encode(bytes));
        format!("ENC[AES256_GCM,data:{data},iv:{iv},tag:{tag},type:{kind}]")
    }

    #[test]
    fn values_come_in_the_form_of_the_mac_and_in_that_of_a_secret() {
        let key = [1; 32];
        for (bytes, kind, hashed, secret) in [
            ("p w", "str", "p w", "p w"),
            ("+007", "int", "7", "7"),
            ("1e21", "float", "1000000000000000000000", "1000000000000000000000"),
            ("0.10", "float", "0.1", "0.1"),
            ("true", "bool", "True", "true"),
            ("False", "bool", "False", "false"),
            ("\u{0}x", "bytes", "\u{0}x", "\u{0}x"),
            ("2020-01-01T00:00:00Z", "time", "2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z"),
        ] {
            let plain = decrypt(&encrypt(bytes.as_bytes(), kind, &key, "a:"), &key, "a:").unwrap();
            assert_eq!(&*plain.bytes, hashed.as_bytes());
            assert_eq!(&*plain.into_secret(), secret.as_bytes());
        }
        for (node, hashed) in [
            (Node::Float(-0.5), "-0.5"),
            (Node::Float(f64::INFINITY), "+Inf"),
            (Node::Float(f64::NAN), "NaN"),
            (Node::Bool(true), "True"),
        ] {
            assert_eq!(&*Plain::of(&node).unwrap().bytes, hashed.as_bytes());
        }
    }

    #[test]
    fn a_value_that_is_damaged_or_elsewhere_is_refused() {
        let key = [1; 32];
        let good = encrypt(b"canary", "str", &key, "a:");
        assert!(decrypt(&good, &key, "a:").is_ok());
        assert!(decrypt(&good, &key, "b:").unwrap_err().contains("moved"));
        assert!(decrypt(&good, &[2; 32], "a:").is_err());
        let tag = &good[good.find(",tag:").unwrap() + 5..good.find(",type:").unwrap()];
        for bad in [
            good.replace("ENC[", "ENC("),
            good.replace(",iv:", ",vi:"),
            good.replace(tag, &STANDARD.encode([0; 4])),
            good.replace(tag, ""),
            good.replace(tag, "****"),
            good.replace("type:str", "type:none"),
            encrypt(b"canary", "int", &key, "a:"),
            encrypt(b"canary", "bool", &key, "a:"),
            encrypt(b"\xff", "float", &key, "a:"),
            format!("{good} "),
            String::new(),
        ] {
            let reason = decrypt(&bad, &key, "a:").unwrap_err();
            assert!(!reason.contains("canary"), "{reason}");
        }
    }
}
