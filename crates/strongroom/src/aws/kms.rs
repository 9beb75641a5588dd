//! KMS: data keys of SOPS files.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use zeroize::Zeroizing;

use super::json::{Object, quoted};
use super::{Account, Operation};
use crate::error::{Error, Result};

/// How KMS is asked, and what the identity needs.
const DECRYPT: Operation =
    Operation { service: "kms", variable: "KMS", target: "TrentService.Decrypt", permission: "kms:Decrypt" };

/// Decrypts `ciphertext` (what KMS gave, not base64) in `region`, as the identity of `profile` or the default one, which
/// takes on `role` first when there is one. `key` is the KMS key's ARN or id. `context` is the encryption context, which must be the one it was encrypted with.
///
/// # Errors
///
/// [`Credential`](Error::Credential); passing when KMS is out of reach, slow or throttles.
///
/// # Cancel safety
///
/// Dropped, nothing stays behind.
pub(crate) async fn decrypt(
    region: &str,
    key: &str,
    role: Option<&str>,
    profile: Option<&str>,
    context: &BTreeMap<String, String>,
    ciphertext: &[u8],
) -> Result<Zeroizing<Vec<u8>>> {
    let mut account = Account::default().region(region.to_owned());
    if let Some(role) = role {
        account = account.role(role.to_owned());
    }
    if let Some(profile) = profile {
        account = account.profile(profile.to_owned());
    }
    decrypt_as(&account, region, key, context, ciphertext).await
}

pub(super) async fn decrypt_as(
    account: &Account,
    region: &str,
    key: &str,
    context: &BTreeMap<String, String>,
    ciphertext: &[u8],
) -> Result<Zeroizing<Vec<u8>>> {
    let who = Who { region };
    // With the key's name KMS refuses what another key has encrypted.
    let mut body =
        format!("{{\"KeyId\":{},\"CiphertextBlob\":\"{}\"", quoted(key), openssl::base64::encode_block(ciphertext));
    for (at, (name, value)) in context.iter().enumerate() {
        body.push_str(if at == 0 { ",\"EncryptionContext\":{" } else { "," });
        let _ = write!(body, "{}:{}", quoted(name), quoted(value));
    }
    body.push_str(if context.is_empty() { "}" } else { "}}" });
    let answer = account.call(&who, &DECRYPT, body.as_bytes()).await?;
    let answer =
        Object::parse(&answer).map_err(|reason| Error::credential(&who, format!("answered no JSON: {reason}")))?;
    let plaintext = answer.text("Plaintext").and_then(|text| openssl::base64::decode_block(text).ok());
    plaintext.map(Zeroizing::new).ok_or_else(|| Error::credential(&who, "answered without a Plaintext in base64"))
}

/// Names KMS in messages.
struct Who<'a> {
    region: &'a str,
}

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AWS KMS in {}", self.region)
    }
}
