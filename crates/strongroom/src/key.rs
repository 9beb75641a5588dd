//! Keys and passwords, and where they come from.
//!
//! Start from [`KeySource`]. A file's key is a passphrase, from which it is derived (PBKDF2, slow on purpose), or a raw key
//! in SQLCipher's form: `x'` + 64 hexadecimal digits + `'`, or 96 digits when the salt is part of it.

mod command;
mod environment;
mod file;
mod literal;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::aws::AwsSecret;
use crate::error::{Error, Result};
use crate::secret::{MAX_SECRET_LEN, Secret, SecretProvider};
use crate::sops::Sops;

pub(crate) use self::command::run as run_command;
pub(crate) use self::literal::Literal;

/// Where a secret comes from: the key of an encrypted file, or a password. Any [`SecretProvider`] becomes one by `into()`.
///
/// A file's key is asked for once, when the database is first opened; a password for each physical connection.
///
/// Neither `Debug` nor any error shows the secret. A source that has nothing is an error: no other one is tried.
#[derive(Clone)]
pub struct KeySource {
    provider: Arc<dyn SecretProvider>,
    /// Of the file that holds nothing else.
    path: Option<Arc<Path>>,
}

impl KeySource {
    /// A secret that the program already holds. It is zeroed in memory when dropped.
    pub fn literal(secret: impl Into<Vec<u8>>) -> Self {
        Literal(Secret::new(secret), "key given by the program").into()
    }

    /// The content of an environment variable, as it is.
    pub fn env(name: impl Into<String>) -> Self {
        environment::Variable(name.into()).into()
    }

    /// The content of a file; one final newline is not part of the secret.
    ///
    /// On Unix the file must be readable by nobody but its owner (mode 0600 or stricter).
    pub fn file(path: impl Into<PathBuf>) -> Self {
        let path: PathBuf = path.into();
        KeySource { path: Some(path.as_path().into()), ..file::File(path).into() }
    }

    /// What a command prints, such as `pass show db`; one final newline is not part of the secret.
    ///
    /// The line is split into words as a shell does, quotes included, and run without a shell (`sh -c '…'` brings one). The
    /// command reads nothing from standard input and may say what it likes on standard error. It is killed after 30 s, or
    /// when nobody waits for it any more; it fails when it prints more than one line, or its exit code is not 0.
    pub fn command(line: impl Into<String>) -> Self {
        command::Command::new(line.into()).into()
    }

    /// A value of a SOPS file, decrypted with an age identity or AWS KMS; a dot in the name walks into a map. Short for
    /// [`Sops`], which says more.
    pub fn sops(path: impl Into<PathBuf>, name: impl Into<String>) -> Self {
        Sops::new(path).name(name).into()
    }

    /// A secret in AWS Secrets Manager, by name or ARN: the whole of it, or one field of its JSON. [`AwsSecret`] has
    /// further settings, and becomes a source by `into()`.
    ///
    /// In a build without the feature `aws` asking it is an error that names the feature.
    pub fn aws_secret(id: impl Into<String>, field: Option<&str>) -> Self {
        let secret = AwsSecret::new(id);
        match field {
            Some(field) => secret.field(field).into(),
            None => secret.into(),
        }
    }

    /// The file that holds the secret as its whole content, if the source is [`file`](Self::file).
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Asks the source.
    ///
    /// # Errors
    ///
    /// [`Credential`](Error::Credential) when the source has nothing, is open to others, or cannot be asked.
    ///
    /// # Cancel safety
    ///
    /// Dropped, nothing stays behind.
    pub async fn secret(&self) -> Result<Secret> {
        let secret = self.provider.secret().await?;
        match secret.expose().len() {
            0..=MAX_SECRET_LEN => Ok(secret),
            _ => Err(Error::credential(self, format!("holds more than {MAX_SECRET_LEN} bytes, which is no key"))),
        }
    }

    /// Asks for the key of a file.
    ///
    /// # Errors
    ///
    /// As [`secret`](Self::secret); and when the key is empty, holds a NUL byte, or begins as a raw key and is not one.
    pub(crate) async fn key(&self) -> Result<Key> {
        Key::parse(&self.secret().await?).map_err(|reason| Error::credential(self, reason))
    }
}

impl<P: SecretProvider> From<P> for KeySource {
    fn from(provider: P) -> Self {
        KeySource { provider: Arc::new(provider), path: None }
    }
}

/// Names the source, such as `key file /etc/app/key`.
impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.provider.fmt(f)
    }
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeySource({self})")
    }
}

/// A key that a source gave.
pub(crate) enum Key {
    /// Text from which the file's key is derived.
    Passphrase(Secret),
    /// The file's key itself, with the file's salt if it came with it.
    Raw { key: Zeroizing<[u8; 32]>, salt: Option<[u8; 16]> },
}

impl Key {
    fn parse(secret: &Secret) -> Result<Self, String> {
        let text = secret.expose();
        if text.is_empty() {
            return Err("holds an empty key; expected a passphrase or a raw key x'<64 hexadecimal digits>'".into());
        }
        if text.len() > MAX_SECRET_LEN {
            return Err(format!("holds more than {MAX_SECRET_LEN} bytes, which is no key"));
        }
        if text.contains(&0) {
            return Err("holds a NUL byte, which no key may".into());
        }
        let raw = match text {
            [b'x' | b'X', b'\'', digits @ .., b'\''] => digits,
            _ => return Ok(Key::Passphrase(secret.clone())),
        };
        if !matches!(raw.len(), 64 | 96) {
            return Err(format!(
                "holds a raw key of {} digits; expected x'<64 hexadecimal digits>', or 96 with the salt",
                raw.len()
            ));
        }
        let mut bytes = Zeroizing::new([0_u8; 48]);
        for (byte, digits) in bytes.iter_mut().zip(raw.chunks(2)) {
            let digit = |digit: u8| char::from(digit).to_digit(16);
            let (Some(high), Some(low)) = (digit(digits[0]), digit(digits[1])) else {
                return Err("holds a raw key with a character that is no hexadecimal digit".into());
            };
            *byte = (high * 16 + low) as u8;
        }
        let mut key = Zeroizing::new([0; 32]);
        key.copy_from_slice(&bytes[..32]);
        let salt = (raw.len() == 96).then(|| {
            let mut salt = [0; 16];
            salt.copy_from_slice(&bytes[32..]);
            salt
        });
        Ok(Key::Raw { key, salt })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn reason(source: &KeySource) -> String {
        match source.key().await {
            Ok(_) => panic!("the key was accepted"),
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test]
    async fn neither_debug_nor_an_error_shows_the_key() {
        let source = KeySource::literal("x'canary'");
        assert!(!format!("{source:?} {}", reason(&source).await).contains("canary"));
    }

    #[tokio::test]
    async fn an_empty_key_a_nul_byte_and_a_raw_key_of_the_wrong_length_are_refused() {
        assert!(reason(&KeySource::literal("")).await.contains("empty key"));
        assert!(reason(&KeySource::literal("a\0b")).await.contains("NUL"));
        let short = format!("x'{}'", "a".repeat(62));
        assert!(reason(&KeySource::literal(short)).await.contains("62 digits"));
        let bad = format!("x'{}'", "g".repeat(64));
        assert!(reason(&KeySource::literal(bad)).await.contains("hexadecimal"));
    }

    #[tokio::test]
    async fn a_raw_key_is_read_with_and_without_its_salt() {
        let Ok(Key::Raw { key, salt: None }) = KeySource::literal(format!("x'{}'", "0aF1".repeat(16))).key().await
        else {
            panic!("no raw key")
        };
        assert_eq!(key[..2], [0x0a, 0xf1]);
        let Ok(Key::Raw { salt: Some(salt), .. }) = KeySource::literal(format!("x'{}'", "07".repeat(48))).key().await
        else {
            panic!("no raw key with salt")
        };
        assert_eq!(salt, [7; 16]);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_key_file_loses_one_final_newline_and_must_belong_to_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "secret\n\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(reason(&KeySource::file(&path)).await.contains("mode 0644"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let Ok(Key::Passphrase(key)) = KeySource::file(&path).key().await else { panic!("no passphrase") };
        assert_eq!(key.expose(), b"secret\n");
    }

    #[tokio::test]
    async fn a_missing_variable_or_file_is_named() {
        assert_eq!(
            reason(&KeySource::env("STRONGROOM_NOT_SET")).await,
            "environment variable STRONGROOM_NOT_SET: is not set"
        );
        assert!(reason(&KeySource::file("/nowhere/key")).await.starts_with("key file /nowhere/key: cannot be opened"));
    }
}
