//! Decrypting age messages (<https://age-encryption.org/v1>), as far as data keys need it: armored, of one chunk, for
//! X25519 and SSH recipients.
//!
//! Over the OpenSSL that is linked anyway. The crate `age` would add 157 others, more than the rest of this one takes
//! to compile, among them `rsa` with its timing side channel (RUSTSEC-2023-0071).

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use openssl::derive::Deriver;
use openssl::encrypt::Decrypter;
use openssl::error::ErrorStack;
use openssl::hash::MessageDigest;
use openssl::pkey::{Id, PKey, Private};
use openssl::rsa::Padding;
use openssl::sha::{sha256, sha512};
use openssl::sign::Signer;
use openssl::symm::{Cipher, decrypt_aead};
use zeroize::Zeroizing;

/// A private key that may open a message.
pub(super) enum Identity {
    X25519(PKey<Private>),
    SshEd25519 {
        /// The X25519 key that follows from it.
        key: PKey<Private>,
        /// The public key as SSH sends it.
        public: Vec<u8>,
    },
    SshRsa {
        key: PKey<Private>,
        public: Vec<u8>,
    },
}

impl Identity {
    /// An `AGE-SECRET-KEY-1…`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = bech32::primitives::decode::CheckedHrpstring::new::<bech32::Bech32>(text).ok()?;
        if !text.hrp().as_bytes().eq_ignore_ascii_case(b"age-secret-key-") || text.byte_iter().len() != 32 {
            return None;
        }
        let mut secret = Zeroizing::new([0; 32]);
        secret.iter_mut().zip(text.byte_iter()).for_each(|(to, byte)| *to = byte);
        Identity::x25519(&secret).ok()
    }

    fn x25519(secret: &[u8; 32]) -> Result<Self, ErrorStack> {
        PKey::private_key_from_raw_bytes(secret, Id::X25519).map(Identity::X25519)
    }

    /// The two identities that an Ed25519 SSH key is: for its SSH recipient, and for the age recipient that
    /// `ssh-to-age` makes of it.
    pub(super) fn of_ed25519(seed: &[u8; 32], public: Vec<u8>) -> Result<[Self; 2], ErrorStack> {
        let hash = Zeroizing::new(sha512(seed));
        let mut secret = Zeroizing::new([0; 32]);
        secret.copy_from_slice(&hash[..32]);
        let key = PKey::private_key_from_raw_bytes(&*secret, Id::X25519)?;
        Ok([Identity::SshEd25519 { key, public }, Identity::x25519(&secret)?])
    }
}

/// A message whose header has been read.
pub(super) struct Message {
    stanzas: Vec<Stanza>,
    /// What the header's MAC runs over.
    header: Vec<u8>,
    mac: Vec<u8>,
    payload: Vec<u8>,
}

/// The message's key, encrypted for one recipient.
struct Stanza {
    kind: String,
    arguments: Vec<String>,
    body: Vec<u8>,
}

const BEGIN: &str = "-----BEGIN AGE ENCRYPTED FILE-----";
const END: &str = "-----END AGE ENCRYPTED FILE-----";

impl Message {
    /// Reads an armored message. None when it is damaged.
    pub(super) fn parse(armored: &str) -> Option<Self> {
        let base64 = armored.trim().strip_prefix(BEGIN)?.strip_suffix(END)?;
        let base64: String = base64.split_ascii_whitespace().collect();
        let message = STANDARD.decode(base64).ok()?;
        let mut rest = message.as_slice();
        if next_line(&mut rest)? != "age-encryption.org/v1" {
            return None;
        }
        let mut stanzas = Vec::new();
        loop {
            let header_end = message.len() - rest.len() + 3;
            let line = next_line(&mut rest)?;
            if let Some(mac) = line.strip_prefix("--- ") {
                let mac = STANDARD_NO_PAD.decode(mac).ok()?;
                return Some(Message { stanzas, header: message[..header_end].to_vec(), mac, payload: rest.to_vec() });
            }
            let mut words = line.strip_prefix("-> ")?.split(' ').map(str::to_owned);
            let kind = words.next()?;
            let mut body = String::new();
            loop {
                let line = next_line(&mut rest)?;
                body.push_str(line);
                // The last line is a short one.
                if line.len() < 64 {
                    break;
                }
            }
            stanzas.push(Stanza { kind, arguments: words.collect(), body: STANDARD_NO_PAD.decode(body).ok()? });
        }
    }

    /// The kind of recipient that it is encrypted for, if none of its recipients is of a kind that is supported.
    pub(super) fn foreign(&self) -> Option<&str> {
        let is_known = |stanza: &Stanza| matches!(stanza.kind.as_str(), "X25519" | "ssh-ed25519" | "ssh-rsa");
        match self.stanzas.iter().any(is_known) {
            true => None,
            false => self.stanzas.first().map(|stanza| stanza.kind.as_str()),
        }
    }

    /// Decrypts the message if it is for this identity.
    ///
    /// # Errors
    ///
    /// It is, and the rest is damaged.
    pub(super) fn open(&self, identity: &Identity) -> Option<Result<Zeroizing<Vec<u8>>, &'static str>> {
        let file_key = self.stanzas.iter().find_map(|stanza| stanza.open(identity).ok().flatten())?;
        Some(self.decrypt(&file_key).ok_or("its age message is damaged"))
    }

    fn decrypt(&self, file_key: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let mac_key = hkdf(file_key, &[], b"header").ok()?;
        let mac = hmac(&*mac_key, &[&self.header]).ok()?;
        if mac.len() != self.mac.len() || !openssl::memcmp::eq(&*mac, &self.mac) {
            return None;
        }
        let (nonce, chunk) = self.payload.split_at_checked(16)?;
        let key = hkdf(file_key, nonce, b"payload").ok()?;
        // The first chunk and the last one.
        open_chacha(&key, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], chunk).ok()
    }
}

impl Stanza {
    /// The message's key, if the stanza is for this identity. A damaged one looks like one for somebody else.
    fn open(&self, identity: &Identity) -> Result<Option<Zeroizing<Vec<u8>>>, ErrorStack> {
        const ZERO: [u8; 12] = [0; 12];
        let argument = |index: usize| self.arguments.get(index).and_then(|text| STANDARD_NO_PAD.decode(text).ok());
        let is_for = |public: &[u8]| argument(0).is_some_and(|tag| tag == sha256(public)[..4]);
        match identity {
            Identity::X25519(key) if self.kind == "X25519" => {
                let Some(share) = argument(0) else { return Ok(None) };
                let shared = x25519(key, &share)?;
                let salt = [share, key.raw_public_key()?].concat();
                let wrap = hkdf(&*shared, &salt, b"age-encryption.org/v1/X25519")?;
                open_chacha(&wrap, &ZERO, &self.body).map(Some)
            }
            Identity::SshEd25519 { key, public } if self.kind == "ssh-ed25519" && is_for(public) => {
                let label = b"age-encryption.org/v1/ssh-ed25519";
                let Some(share) = argument(1) else { return Ok(None) };
                let tweak = hkdf(&[], public, label)?;
                let tweak = PKey::private_key_from_raw_bytes(&*tweak, Id::X25519)?;
                let shared = x25519(&tweak, &*x25519(key, &share)?)?;
                let salt = [share, key.raw_public_key()?].concat();
                open_chacha(&*hkdf(&*shared, &salt, label)?, &ZERO, &self.body).map(Some)
            }
            Identity::SshRsa { key, public } if self.kind == "ssh-rsa" && is_for(public) => {
                let mut decrypter = Decrypter::new(key)?;
                decrypter.set_rsa_padding(Padding::PKCS1_OAEP)?;
                decrypter.set_rsa_oaep_md(MessageDigest::sha256())?;
                decrypter.set_rsa_mgf1_md(MessageDigest::sha256())?;
                decrypter.set_rsa_oaep_label(b"age-encryption.org/v1/ssh-rsa")?;
                let mut file_key = Zeroizing::new(vec![0; decrypter.decrypt_len(&self.body)?]);
                let length = decrypter.decrypt(&self.body, &mut file_key)?;
                file_key.truncate(length);
                Ok(Some(file_key))
            }
            _ => Ok(None),
        }
        .map(|file_key| file_key.filter(|file_key| file_key.len() == 16))
    }
}

/// Takes a line of ASCII off.
fn next_line<'t>(rest: &mut &'t [u8]) -> Option<&'t str> {
    let end = rest.iter().position(|&byte| byte == b'\n')?;
    let (line, tail) = (&rest[..end], &rest[end + 1..]);
    *rest = tail;
    std::str::from_utf8(line).ok().filter(|line| line.bytes().all(|byte| (0x20..0x7f).contains(&byte)))
}

/// OpenSSL refuses a result of zero, as RFC 7748, section 6.1 asks.
fn x25519(key: &PKey<Private>, peer: &[u8]) -> Result<Zeroizing<[u8; 32]>, ErrorStack> {
    let peer = PKey::public_key_from_raw_bytes(peer, Id::X25519)?;
    let mut deriver = Deriver::new(key)?;
    deriver.set_peer(&peer)?;
    let mut shared = Zeroizing::new([0; 32]);
    deriver.derive(&mut *shared)?;
    Ok(shared)
}

/// HKDF-SHA-256 of 32 bytes (RFC 5869). By hand, because OpenSSL's takes no empty key.
fn hkdf(key: &[u8], salt: &[u8], info: &[u8]) -> Result<Zeroizing<[u8; 32]>, ErrorStack> {
    let salt = if salt.is_empty() { &[0; 32] } else { salt };
    let extracted = hmac(salt, &[key])?;
    hmac(&*extracted, &[info, &[1]])
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Result<Zeroizing<[u8; 32]>, ErrorStack> {
    let key = PKey::hmac(key)?;
    let mut signer = Signer::new(MessageDigest::sha256(), &key)?;
    parts.iter().try_for_each(|part| signer.update(part))?;
    let mut mac = Zeroizing::new([0; 32]);
    signer.sign(&mut *mac)?;
    Ok(mac)
}

fn open_chacha(key: &[u8; 32], nonce: &[u8; 12], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, ErrorStack> {
    let Some(end) = sealed.len().checked_sub(16) else { return Err(ErrorStack::get()) };
    let (data, tag) = sealed.split_at(end);
    decrypt_aead(Cipher::chacha20_poly1305(), key, Some(nonce), &[], data, tag).map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::super::document::{Document, Format};
    use super::super::metadata::Metadata;
    use super::*;

    fn identity(keys: &str) -> Identity {
        keys.lines().find_map(Identity::parse).unwrap()
    }

    /// The data key's message in a fixture.
    fn armored() -> String {
        let text = include_str!("../../tests/fixtures/sops/types.yaml");
        let document = Document::parse(Format::Yaml, text).unwrap();
        Metadata::read(&document.metadata).unwrap().keys.age.remove(0).enc
    }

    /// Changes a byte of the message and armors it again.
    fn with_byte(at: usize) -> String {
        let text: String = armored().lines().filter(|line| !line.starts_with('-')).collect();
        let mut message = STANDARD.decode(text).unwrap();
        let at = if at == usize::MAX { message.len() - 1 } else { at };
        message[at] ^= 1;
        format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(message))
    }

    #[test]
    fn a_message_opens_with_its_identity_and_with_no_other() {
        let message = Message::parse(&armored()).unwrap();
        let own = identity(include_str!("../../tests/fixtures/sops/keys/age.txt"));
        assert_eq!(message.open(&own).unwrap().unwrap().len(), 32);
        assert!(message.open(&identity(include_str!("../../tests/fixtures/sops/keys/other-age.txt"))).is_none());
        assert_eq!(message.foreign(), None);
    }

    #[test]
    fn a_message_with_any_bit_changed_does_not_open() {
        let own = identity(include_str!("../../tests/fixtures/sops/keys/age.txt"));
        let length =
            STANDARD.decode(armored().lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap().len();
        for at in 0..length {
            let opened = Message::parse(&with_byte(at)).and_then(|message| message.open(&own));
            assert!(!matches!(opened, Some(Ok(_))), "byte {at}");
        }
        let opened = Message::parse(&with_byte(usize::MAX)).unwrap().open(&own);
        assert!(matches!(opened, Some(Err("its age message is damaged"))));
        for end in [0, 40, 100, armored().len() - 60] {
            assert!(Message::parse(&armored()[..end]).is_none());
        }
    }

    /// BIP 173's checksum: a mistyped identity is none.
    #[test]
    fn an_identity_is_read_with_its_checksum_and_in_either_case() {
        let keys = include_str!("../../tests/fixtures/sops/keys/age.txt");
        let text = keys.lines().last().unwrap();
        assert!(Identity::parse(text).is_some() && Identity::parse(&text.to_lowercase()).is_some());
        let last = if text.ends_with('Q') { "P" } else { "Q" };
        for wrong in
            ["", "AGE-SECRET-KEY-1", "age1qqqq", &format!("{}{last}", &text[..text.len() - 1]), &format!("{text}A")]
        {
            assert!(Identity::parse(wrong).is_none(), "{wrong}");
        }
    }
}
