//! The file's key: derived once per database, then handed to each connection ready-made.
//!
//! SQLCipher derives a passphrase's key anew in every connection, 256,000 rounds and some 150 ms each time. Done here
//! once, a further connection opens in 0.1 ms.

use std::fmt::Write as _;
use std::sync::Once;

use openssl::hash::MessageDigest;
use rusqlite::ffi;
use zeroize::Zeroizing;

use crate::error::Result;
use crate::key::Key;
use crate::sqlite::failure::translate;

/// The rounds of SQLCipher 4's default key derivation, PBKDF2 with HMAC-SHA512.
const ROUNDS: usize = 256_000;

/// The page size of SQLCipher 4, in bytes.
pub(crate) const PAGE_SIZE: u64 = 4096;

/// The length of the salt that an encrypted file begins with, in bytes.
pub(crate) const SALT_LEN: usize = 16;

/// The text that `sqlite3_key_v2` takes: `x'` + key + salt in hexadecimal + `'`.
#[derive(Clone)]
pub(crate) struct FileKey(Zeroizing<String>);

impl FileKey {
    /// Makes the file's key out of what the source gave and the salt that the file has, or will be created with.
    pub(crate) fn derive(
        key: &Key,
        file_salt: [u8; SALT_LEN],
    ) -> std::result::Result<Self, openssl::error::ErrorStack> {
        Ok(match key {
            Key::Raw { key, salt } => Self::assemble(key, salt.as_ref().unwrap_or(&file_salt)),
            Key::Passphrase(passphrase) => {
                let mut key = Zeroizing::new([0; 32]);
                openssl::pkcs5::pbkdf2_hmac(
                    passphrase.expose(),
                    &file_salt,
                    ROUNDS,
                    MessageDigest::sha512(),
                    key.as_mut_slice(),
                )?;
                Self::assemble(&key, &file_salt)
            }
        })
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn assemble(key: &[u8; 32], salt: &[u8; SALT_LEN]) -> Self {
        // Reserved at full length, so that no reallocation leaves a copy of the key behind.
        let mut text = Zeroizing::new(String::with_capacity(3 + 2 * (key.len() + salt.len())));
        text.push_str("x'");
        for byte in key.iter().chain(salt) {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text.push('\'');
        FileKey(text)
    }
}

/// Must be called before a connection is opened. SQLite calls itself initialised before SQLCipher is, so that a second
/// thread's first connection could be keyed in between, and would fail.
pub(crate) fn initialize() {
    static INITIALIZED: Once = Once::new();
    // SAFETY: it takes no arguments and may be called at any time, also when SQLite is initialised already. What fails in it
    // fails again, and is answered, when a connection is opened.
    INITIALIZED.call_once(|| unsafe {
        ffi::sqlite3_initialize();
    });
}

/// Hands a key over as bytes, so that it is in no SQL text that a trace, a log or an error could show.
pub(crate) fn set_key(db: &rusqlite::Connection, key: &[u8]) -> Result<()> {
    // SAFETY: the handle is open for as long as `db` is borrowed, the database name is a NUL-terminated literal, and
    // SQLCipher copies the `key.len()` bytes (at most 99, so the cast holds) before it returns.
    let code = unsafe {
        ffi::sqlite3_key_v2(db.handle(), c"main".as_ptr(), key.as_ptr().cast(), key.len() as std::ffi::c_int)
    };
    match code {
        ffi::SQLITE_OK => Ok(()),
        code => Err(translate(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_key_is_passed_on_with_the_salt_it_came_with_or_else_the_files() {
        let raw = |salt| Key::Raw { key: Zeroizing::new([0xab; 32]), salt };
        let with_file_salt = FileKey::derive(&raw(None), [1; 16]).unwrap();
        assert_eq!(with_file_salt.as_bytes(), format!("x'{}{}'", "ab".repeat(32), "01".repeat(16)).as_bytes());
        let with_own_salt = FileKey::derive(&raw(Some([2; 16])), [1; 16]).unwrap();
        assert_eq!(with_own_salt.as_bytes(), format!("x'{}{}'", "ab".repeat(32), "02".repeat(16)).as_bytes());
    }
}
