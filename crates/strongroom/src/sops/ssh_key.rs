//! Private SSH keys: OpenSSH's own format, and the PEM formats of older keys.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use openssl::bn::{BigNum, BigNumContext};
use openssl::error::ErrorStack;
use openssl::pkey::{Id, PKey, Private};
use openssl::rsa::Rsa;
use zeroize::Zeroizing;

use super::age::Identity;

const PASSPHRASE: &str = "is protected by a passphrase, which is not supported; remove it (ssh-keygen -p) from a copy";
const UNUSABLE: &str = "is not an SSH private key of type ed25519 or rsa";

/// The identities that a private key is. The error is the end of a sentence about it.
pub(super) fn identities(text: &str) -> Result<Vec<Identity>, &'static str> {
    const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----";
    const END: &str = "-----END OPENSSH PRIVATE KEY-----";
    let text = text.trim();
    if let Some(base64) = text.strip_prefix(BEGIN).and_then(|text| text.strip_suffix(END)) {
        let mut packed = Zeroizing::new(Vec::with_capacity(base64.len()));
        packed.extend(base64.bytes().filter(|byte| !byte.is_ascii_whitespace()));
        let mut key = Zeroizing::new(Vec::with_capacity(base64.len()));
        STANDARD.decode_vec(&*packed, &mut key).map_err(|_| UNUSABLE)?;
        return openssh(&key);
    }
    // OpenSSL would ask for a passphrase on the terminal.
    if text.contains("ENCRYPTED") {
        return Err(PASSPHRASE);
    }
    let key = PKey::private_key_from_pem_passphrase(text.as_bytes(), b"").map_err(|_| UNUSABLE)?;
    match key.id() {
        Id::RSA => of_rsa(key),
        Id::ED25519 => {
            let seed = Zeroizing::new(key.raw_private_key().map_err(|_| UNUSABLE)?);
            of_ed25519(&seed, &key.raw_public_key().map_err(|_| UNUSABLE)?)
        }
        _ => Err(UNUSABLE),
    }
}

/// Format `openssh-key-v1` (OpenSSH's `PROTOCOL.key`).
fn openssh(key: &[u8]) -> Result<Vec<Identity>, &'static str> {
    let mut outer = Fields(key.strip_prefix(b"openssh-key-v1\0").ok_or(UNUSABLE)?);
    let mut fields = || -> Option<_> {
        let (cipher, _kdf, _options) = (outer.next()?, outer.next()?, outer.next()?);
        let keys = outer.number()?;
        let (_public, private) = (outer.next()?, outer.next()?);
        (keys == 1).then_some((cipher, private))
    };
    let (cipher, private) = fields().ok_or(UNUSABLE)?;
    if cipher != b"none" {
        return Err(PASSPHRASE);
    }
    let mut private = Fields(private);
    let mut head = || -> Option<_> { (private.number()? == private.number()?).then(|| private.next())? };
    match head() {
        Some(b"ssh-ed25519") => {
            let (Some(public), Some(secret)) = (private.next(), private.next()) else { return Err(UNUSABLE) };
            of_ed25519(secret.get(..32).ok_or(UNUSABLE)?, public)
        }
        Some(b"ssh-rsa") => {
            let parts: Option<Vec<_>> = (0..6).map(|_| private.next()).collect();
            of_rsa(rsa(&parts.ok_or(UNUSABLE)?).map_err(|_| UNUSABLE)?)
        }
        _ => Err(UNUSABLE),
    }
}

fn of_ed25519(seed: &[u8], public: &[u8]) -> Result<Vec<Identity>, &'static str> {
    let seed = Zeroizing::new(<[u8; 32]>::try_from(seed).map_err(|_| UNUSABLE)?);
    let public = packed(&[b"ssh-ed25519", public]);
    Identity::of_ed25519(&seed, public).map(Vec::from).map_err(|_| UNUSABLE)
}

fn of_rsa(key: PKey<Private>) -> Result<Vec<Identity>, &'static str> {
    let rsa = key.rsa().map_err(|_| UNUSABLE)?;
    let public = packed(&[b"ssh-rsa", &positive(rsa.e().to_vec()), &positive(rsa.n().to_vec())]);
    Ok(vec![Identity::SshRsa { key, public }])
}

/// An RSA key from n, e, d, 1/q mod p, p, q.
fn rsa(parts: &[&[u8]]) -> Result<PKey<Private>, ErrorStack> {
    let number = |index: usize| BigNum::from_slice(parts[index]);
    let (d, p, q) = (number(2)?, number(4)?, number(5)?);
    let one = BigNum::from_u32(1)?;
    let mut context = BigNumContext::new()?;
    let mut exponent = |prime: &BigNum| {
        let (mut less, mut exponent) = (BigNum::new()?, BigNum::new()?);
        less.checked_sub(prime, &one)?;
        exponent.nnmod(&d, &less, &mut context)?;
        // Freeing does not wipe it.
        less.clear();
        Ok::<_, ErrorStack>(exponent)
    };
    let (dp, dq) = (exponent(&p)?, exponent(&q)?);
    PKey::from_rsa(Rsa::from_private_components(number(0)?, number(1)?, d, p, q, dp, dq, number(3)?)?)
}

/// A number as SSH sends it: a leading zero keeps it from being negative.
fn positive(mut number: Vec<u8>) -> Vec<u8> {
    if number.first().is_some_and(|first| first & 0x80 != 0) {
        number.insert(0, 0);
    }
    number
}

/// Fields as SSH sends them, each behind its length.
fn packed(fields: &[&[u8]]) -> Vec<u8> {
    // No field of a key is nearly as long as 4 GiB.
    fields.iter().flat_map(|field| [&(field.len() as u32).to_be_bytes(), *field].concat()).collect()
}

/// Fields that have yet to be read (RFC 4251, section 5).
struct Fields<'k>(&'k [u8]);

impl<'k> Fields<'k> {
    fn number(&mut self) -> Option<u32> {
        let (number, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*number))
    }

    fn next(&mut self) -> Option<&'k [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (field, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ed25519_key_in_pem_is_the_same_as_in_openssh_s_format() {
        let openssh_text = include_str!("../../tests/fixtures/sops/keys/ssh-ed25519");
        let base64: String = openssh_text.lines().filter(|line| !line.starts_with('-')).collect();
        let file = STANDARD.decode(base64).unwrap();
        // The secret is the 64 bytes in front of the comment: seed and public key.
        let comment = file.windows(8).rposition(|window| window == b"\0\0\0\x04test").unwrap();
        let pem = PKey::private_key_from_raw_bytes(&file[comment - 64..comment - 32], Id::ED25519).unwrap();
        let pem = String::from_utf8(pem.private_key_to_pem_pkcs8().unwrap()).unwrap();
        let public = |text: &str| match identities(text).unwrap().as_slice() {
            [Identity::SshEd25519 { public, key }, Identity::X25519(_)] => {
                (public.clone(), key.raw_public_key().unwrap())
            }
            _ => panic!("two identities"),
        };
        assert_eq!(public(&pem), public(openssh_text));
    }

    #[test]
    fn a_protected_or_damaged_key_is_refused_in_its_own_words_and_asks_nobody() {
        let refused = |text: &str| identities(text).err().unwrap();
        assert_eq!(refused(include_str!("../../tests/fixtures/sops/keys/ssh-passphrase")), PASSPHRASE);
        assert_eq!(refused("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n"), PASSPHRASE);
        assert_eq!(refused("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"), PASSPHRASE);
        assert_eq!(refused(""), UNUSABLE);
        let key = include_str!("../../tests/fixtures/sops/keys/ssh-rsa").trim();
        let base64: String = key.lines().filter(|line| !line.starts_with('-')).collect();
        let file = STANDARD.decode(base64).unwrap();
        // Up to the padding and the comment, all of it is needed.
        for length in (0..file.len() - 30).step_by(13) {
            assert_eq!(openssh(&file[..length]).err(), Some(UNUSABLE), "{length}");
        }
    }
}
