//! Keys of encrypted databases and where they come from.
//!
//! Start from [`KeySource`]. A key is a passphrase, from which the file's key is derived (PBKDF2, slow on purpose), or a
//! raw key in SQLCipher's form: `x'` + 64 hexadecimal digits + `'`, or 96 digits when the salt is part of it.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// Largest key that is read from a file or the environment, in bytes. SQLCipher itself sets no limit.
const MAX_KEY_LEN: usize = 64 * 1024;

/// Where an encrypted database's key comes from. It is asked once, when the database is first opened.
///
/// Neither `Debug` nor any error shows the key.
#[derive(Clone)]
pub struct KeySource(Source);

#[derive(Clone)]
enum Source {
    Literal(Zeroizing<Vec<u8>>),
    Environment(String),
    File(PathBuf),
}

impl KeySource {
    /// A key that the program already holds. It is zeroed in memory when dropped.
    pub fn literal(key: impl Into<Vec<u8>>) -> Self {
        KeySource(Source::Literal(Zeroizing::new(key.into())))
    }

    /// The content of an environment variable, as it is.
    pub fn env(name: impl Into<String>) -> Self {
        KeySource(Source::Environment(name.into()))
    }

    /// The content of a file; one final newline is not part of the key.
    ///
    /// On Unix the file must be readable by nobody but its owner (mode 0600 or stricter).
    pub fn file(path: impl Into<PathBuf>) -> Self {
        KeySource(Source::File(path.into()))
    }

    /// Asks the source.
    ///
    /// # Errors
    ///
    /// [`Credential`](Error::Credential) when the source has nothing, is open to others, or its key is empty, holds a
    /// NUL byte, or begins as a raw key and is not one.
    pub(crate) fn resolve(&self) -> Result<Key> {
        let text = match &self.0 {
            Source::Literal(key) => key.clone(),
            Source::Environment(name) => {
                let value = std::env::var_os(name).ok_or_else(|| self.error("is not set"))?;
                Zeroizing::new(value.into_encoded_bytes())
            }
            Source::File(path) => self.read_file(path)?,
        };
        Key::parse(text).map_err(|reason| self.error(reason))
    }

    fn read_file(&self, path: &Path) -> Result<Zeroizing<Vec<u8>>> {
        let failed = |what: &str, error: std::io::Error| Error::Credential {
            from: self.to_string(),
            reason: format!("{what} ({})", error.kind()),
            source: Some(Arc::new(error)),
        };
        // Opening a pipe would wait for whoever writes into it.
        let metadata = std::fs::metadata(path).map_err(|error| failed("cannot be opened", error))?;
        if !metadata.is_file() {
            return Err(self.error("is not a regular file"));
        }
        let file = std::fs::File::open(path).map_err(|error| failed("cannot be opened", error))?;
        let metadata = file.metadata().map_err(|error| failed("cannot be examined", error))?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = metadata.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                return Err(self.error(format!("has mode {mode:04o}, others could read it; expected 0600 (chmod 600)")));
            }
        }
        // Reserved at full size, so that no reallocation leaves a copy of the key behind.
        let mut key = Zeroizing::new(Vec::with_capacity(MAX_KEY_LEN + 2));
        file.take(MAX_KEY_LEN as u64 + 2).read_to_end(&mut key).map_err(|error| failed("cannot be read", error))?;
        if key.ends_with(b"\n") {
            key.pop();
            if key.ends_with(b"\r") {
                key.pop();
            }
        }
        Ok(key)
    }

    fn error(&self, reason: impl Into<String>) -> Error {
        Error::Credential { from: self.to_string(), reason: reason.into(), source: None }
    }
}

/// Names the source, such as `key file /etc/app/key`.
impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Literal(_) => f.write_str("key given by the program"),
            Source::Environment(name) => write!(f, "environment variable {name}"),
            Source::File(path) => write!(f, "key file {}", path.display()),
        }
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
    Passphrase(Zeroizing<Vec<u8>>),
    /// The file's key itself, with the file's salt if it came with it.
    Raw { key: Zeroizing<[u8; 32]>, salt: Option<[u8; 16]> },
}

impl Key {
    fn parse(text: Zeroizing<Vec<u8>>) -> Result<Self, String> {
        if text.is_empty() {
            return Err("holds an empty key; expected a passphrase or a raw key x'<64 hexadecimal digits>'".into());
        }
        if text.len() > MAX_KEY_LEN {
            return Err(format!("holds more than {MAX_KEY_LEN} bytes, which is no key"));
        }
        if text.contains(&0) {
            return Err("holds a NUL byte, which no key may".into());
        }
        let raw = match text.as_slice() {
            [b'x' | b'X', b'\'', digits @ .., b'\''] => digits,
            _ => return Ok(Key::Passphrase(text)),
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

    fn reason(source: &KeySource) -> String {
        match source.resolve() {
            Ok(_) => panic!("the key was accepted"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn neither_debug_nor_an_error_shows_the_key() {
        let source = KeySource::literal("x'canary'");
        assert!(!format!("{source:?} {}", reason(&source)).contains("canary"));
    }

    #[test]
    fn an_empty_key_a_nul_byte_and_a_raw_key_of_the_wrong_length_are_refused() {
        assert!(reason(&KeySource::literal("")).contains("empty key"));
        assert!(reason(&KeySource::literal("a\0b")).contains("NUL"));
        let short = format!("x'{}'", "a".repeat(62));
        assert!(reason(&KeySource::literal(short)).contains("62 digits"));
        let bad = format!("x'{}'", "g".repeat(64));
        assert!(reason(&KeySource::literal(bad)).contains("hexadecimal"));
    }

    #[test]
    fn a_raw_key_is_read_with_and_without_its_salt() {
        let Ok(Key::Raw { key, salt: None }) = KeySource::literal(format!("x'{}'", "0aF1".repeat(16))).resolve() else {
            panic!("no raw key")
        };
        assert_eq!(key[..2], [0x0a, 0xf1]);
        let Ok(Key::Raw { salt: Some(salt), .. }) = KeySource::literal(format!("x'{}'", "07".repeat(48))).resolve()
        else {
            panic!("no raw key with salt")
        };
        assert_eq!(salt, [7; 16]);
    }

    #[cfg(unix)]
    #[test]
    fn a_key_file_loses_one_final_newline_and_must_belong_to_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "secret\n\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(reason(&KeySource::file(&path)).contains("mode 0644"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let Ok(Key::Passphrase(key)) = KeySource::file(&path).resolve() else { panic!("no passphrase") };
        assert_eq!(key.as_slice(), b"secret\n");
    }

    #[test]
    fn a_missing_variable_or_file_is_named() {
        assert_eq!(
            reason(&KeySource::env("STRONGROOM_NOT_SET")),
            "environment variable STRONGROOM_NOT_SET: is not set"
        );
        assert!(reason(&KeySource::file("/nowhere/key")).starts_with("key file /nowhere/key: cannot be opened"));
    }
}
