//! A secret in a file.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::secret::{BoxFuture, MAX_SECRET_LEN, Secret, SecretProvider, off_the_runtime};

#[derive(Clone)]
pub(super) struct File(pub(super) PathBuf);

impl SecretProvider for File {
    fn secret(&self) -> BoxFuture<'_, Result<Secret>> {
        let file = self.clone();
        Box::pin(off_the_runtime(move || file.read(&file.0)))
    }
}

impl File {
    fn read(&self, path: &Path) -> Result<Secret> {
        let failed = |what: &str, error: std::io::Error| {
            Error::credential(self, format!("{what} ({})", error.kind())).caused_by(error)
        };
        // Opening a pipe would wait for whoever writes into it.
        let metadata = std::fs::metadata(path).map_err(|error| failed("cannot be opened", error))?;
        if !metadata.is_file() {
            return Err(Error::credential(self, "is not a regular file"));
        }
        let file = std::fs::File::open(path).map_err(|error| failed("cannot be opened", error))?;
        let metadata = file.metadata().map_err(|error| failed("cannot be examined", error))?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = metadata.permissions().mode() & 0o777;
            if mode & 0o077 != 0 {
                let reason = format!("has mode {mode:04o}, others could read it; expected 0600 (chmod 600)");
                return Err(Error::credential(self, reason));
            }
        }
        // Reserved at full size, so that no reallocation leaves a copy of the secret behind.
        let mut secret = Zeroizing::new(Vec::with_capacity(MAX_SECRET_LEN + 3));
        let read = file.take(MAX_SECRET_LEN as u64 + 3).read_to_end(&mut secret);
        read.map_err(|error| failed("cannot be read", error))?;
        strip_newline(&mut secret);
        Ok(secret.into())
    }
}

/// Takes one final newline off.
pub(super) fn strip_newline(text: &mut Vec<u8>) {
    if text.ends_with(b"\n") {
        text.pop();
        if text.ends_with(b"\r") {
            text.pop();
        }
    }
}

impl fmt::Display for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key file {}", self.0.display())
    }
}
