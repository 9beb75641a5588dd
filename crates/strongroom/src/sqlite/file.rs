//! The database file before SQLite sees it: is it there, is it encrypted, has it been moved?
//!
//! SQLite replays and truncates logs when it opens a file, so whatever can be known without it is settled here, and a
//! file that does not fit its key stays as it was, byte for byte.

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{EncryptionProblem, Error, Result};
use crate::sqlite::cipher::{PAGE_SIZE, SALT_LEN};

/// What a plain SQLite file begins with.
const PLAIN_HEADER: &[u8; SALT_LEN] = b"SQLite format 3\0";

/// What lies at the database's path.
pub(crate) enum Found {
    /// An empty file, just created or left over from a creation that did not get far.
    Empty,
    /// A plain SQLite database.
    Plain,
    /// An encrypted database, or something else; its first 16 bytes are the salt.
    Encrypted { salt: [u8; SALT_LEN] },
}

/// Looks at the file, creating it (mode 0600) when it is missing and `create` says so.
pub(crate) fn examine(path: &Path, create: bool, keyed: bool) -> Result<Found> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true);
    let mut file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound && create => {
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            match options.write(true).create_new(true).open(path) {
                Ok(file) => file,
                // Another process was faster; its file is as good.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    std::fs::File::open(path).map_err(|error| unreachable_file(path, "cannot be opened", error))?
                }
                Err(error) => return Err(unreachable_file(path, "cannot be created", error)),
            }
        }
        Err(error) => return Err(unreachable_file(path, "cannot be opened", error)),
    };
    let failed = |error| unreachable_file(path, "cannot be read", error);
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(Error::Connection {
            database: path.display().to_string(),
            reason: "is not a regular file".into(),
            source: None,
        });
    }
    if metadata.len() == 0 {
        return Ok(Found::Empty);
    }
    let problem = |problem| Err(Error::Encryption { database: path.to_owned(), problem });
    if metadata.len() < PAGE_SIZE && keyed {
        return problem(EncryptionProblem::BadLength(metadata.len()));
    }
    let mut header = [0; SALT_LEN];
    match file.read_exact(&mut header) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return problem(EncryptionProblem::KeyMissing),
        Err(error) => return Err(failed(error)),
    }
    match (&header == PLAIN_HEADER, keyed) {
        (true, true) => problem(EncryptionProblem::NotEncrypted),
        (true, false) => Ok(Found::Plain),
        (false, false) => problem(EncryptionProblem::KeyMissing),
        (false, true) if metadata.len() % PAGE_SIZE != 0 => problem(EncryptionProblem::BadLength(metadata.len())),
        (false, true) => Ok(Found::Encrypted { salt: header }),
    }
}

fn unreachable_file(path: &Path, what: &str, error: std::io::Error) -> Error {
    let hint = match error.kind() {
        ErrorKind::NotFound if what == "cannot be created" => "; its folder does not exist",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => "; this user needs the right to it",
        _ => "",
    };
    Error::Connection {
        database: path.display().to_string(),
        reason: format!("{what} ({}){hint}", error.kind()),
        source: Some(Arc::new(error)),
    }
}

/// Notices when the open file is no longer the one at its path: what is written to it then would be lost.
///
/// SQLite does not look in WAL mode (the log keeps its old name and no longer belongs to the moved file).
pub(crate) struct Watch {
    path: PathBuf,
    #[cfg(unix)]
    identity: (u64, u64),
}

impl Watch {
    pub(crate) fn new(path: &Path) -> Result<Self> {
        #[cfg(unix)]
        let identity = identity(path).map_err(|error| unreachable_file(path, "cannot be examined", error))?;
        Ok(Watch {
            path: path.to_owned(),
            #[cfg(unix)]
            identity,
        })
    }

    /// One `stat`, about a microsecond.
    #[cfg(unix)]
    pub(crate) fn check(&self) -> Result<()> {
        let (reason, source) = match identity(&self.path) {
            Ok(identity) if identity == self.identity => return Ok(()),
            Ok(_) => ("was replaced by another file while it was open; nothing more is written, open it anew", None),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                ("was moved or deleted while it was open; nothing more is written, put it back or open it anew", None)
            }
            Err(error) => ("cannot be examined any more", Some(Arc::new(error) as _)),
        };
        Err(Error::Connection { database: self.path.display().to_string(), reason: reason.into(), source })
    }

    #[cfg(not(unix))]
    pub(crate) fn check(&self) -> Result<()> {
        // An open file cannot be moved or deleted there.
        Ok(())
    }
}

#[cfg(unix)]
fn identity(path: &Path) -> std::io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}
