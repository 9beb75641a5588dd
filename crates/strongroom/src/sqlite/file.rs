//! The database file before SQLite's first read of it: is it there, is it encrypted, has it been moved?
//!
//! SQLite replays and truncates logs when it opens a file, so whatever can be known before that is settled here, and a
//! file that does not fit its key stays as it was, byte for byte.
//!
//! An existing database file is never opened and closed outside SQLite: closing any descriptor of a file drops all POSIX
//! locks that the process holds on it, and other processes would then delete a log that is in use
//! (<https://www.sqlite.org/howtocorrupt.html>, section 2.2).

use std::fs::Metadata;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::error::{EncryptionProblem, Error, QueryErrorKind, Result};
use crate::sqlite::cipher::{FileKey, PAGE_SIZE, SALT_LEN, initialize, set_key};
use crate::sqlite::failure::translate;

/// What a plain SQLite file begins with.
const PLAIN_HEADER: &[u8; SALT_LEN] = b"SQLite format 3\0";

/// What lies at the database's path.
#[derive(Clone, Copy, PartialEq, Eq)]
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
    let metadata = match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound && create => {
            create_empty(path)?;
            std::fs::metadata(path)
        }
        outcome => outcome,
    };
    let metadata = metadata.map_err(|error| unreachable_file(path, "cannot be opened", error))?;
    let unusable = |reason: &str| Err(Error::connection(shown(path), reason));
    if !metadata.is_file() {
        return unusable("is not a regular file");
    }
    let length = metadata.len();
    let problem = |problem| Err(Error::Encryption { database: path.to_owned(), problem });
    match length {
        0 if create => return Ok(Found::Empty),
        0 => return unusable("is an empty file, and creating a database is switched off"),
        1..SALT_LEN_U64 if !keyed => return problem(EncryptionProblem::KeyMissing),
        1..PAGE_SIZE if keyed => return problem(EncryptionProblem::BadLength(length)),
        _ => {}
    }
    let salt = first_bytes(path)?;
    match (&salt == PLAIN_HEADER, keyed) {
        (true, true) => problem(EncryptionProblem::NotEncrypted),
        (true, false) => Ok(Found::Plain),
        (false, false) => problem(EncryptionProblem::KeyMissing),
        (false, true) if !length.is_multiple_of(PAGE_SIZE) && !has_log(path) => {
            problem(EncryptionProblem::BadLength(length))
        }
        (false, true) => Ok(Found::Encrypted { salt }),
    }
}

/// Whether a write-ahead log with content lies beside the file. A power cut or a full disk in a checkpoint may then have
/// left the file's last page in part; it is whole in the log.
fn has_log(path: &Path) -> bool {
    length_beside(path, "-wal") > 0
}

/// Length, in bytes, of the file that SQLite keeps beside the database under its name and this suffix; 0 when there is none.
pub(crate) fn length_beside(path: &Path, suffix: &str) -> u64 {
    let mut beside = path.as_os_str().to_owned();
    beside.push(suffix);
    std::fs::metadata(beside).map_or(0, |metadata| metadata.len())
}

/// How long one look at the file serves the reads that follow.
const LATELY_MICROS: u64 = 5_000;

const SALT_LEN_U64: u64 = SALT_LEN as u64;

fn create_empty(path: &Path) -> Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        // Another process was faster; its file is as good.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(unreachable_file(path, "cannot be created", error)),
    }
}

/// Reads the file's first 16 bytes through SQLCipher, which takes them for the salt and reads no page yet.
fn first_bytes(path: &Path) -> Result<[u8; SALT_LEN]> {
    let db = open_existing(path)?;
    set_key(&db, b"only the salt is asked for")?;
    let salt: String = db.query_row("PRAGMA cipher_salt", [], |row| row.get(0)).map_err(translate)?;
    let unreadable = || Error::connection(shown(path), "its first 16 bytes cannot be read");
    let mut bytes = [0; SALT_LEN];
    decode_hex(&salt, &mut bytes).ok_or_else(unreadable)?;
    Ok(bytes)
}

fn decode_hex(text: &str, bytes: &mut [u8]) -> Option<()> {
    if text.len() != bytes.len() * 2 {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(())
}

/// Opens a file that is there, without reading from it yet.
pub(crate) fn open_existing(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    initialize();
    let db = Connection::open_with_flags(path, flags).map_err(|error| opening(path, error))?;
    // Until the key has proven right, closing must not copy a log that is there into the file.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(translate)?;
    // Otherwise a wrong key is also printed to standard error.
    db.pragma_update(None, "cipher_log_level", "NONE").map_err(translate)?;
    Ok(db)
}

/// Proves the key where a rollback journal lies beside the file: SQLite would play it back at the first read, whether
/// the key is right or not. Nothing is written here, whatever is found.
pub(crate) fn prove_key_beside_journal(path: &Path, key: &FileKey) -> Result<()> {
    if length_beside(path, "-journal") == 0 {
        return Ok(());
    }
    let Some(uri) = immutable_uri(path) else { return Ok(()) };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    initialize();
    let db = Connection::open_with_flags(uri, flags).map_err(|error| opening(path, error))?;
    db.pragma_update(None, "cipher_log_level", "NONE").map_err(translate)?;
    set_key(&db, key.as_bytes())?;
    let proven = db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()));
    proven.map_err(|error| first_read(path, true, error))
}

/// The way to a database file, kept shared while a connection is opened, and alone while another file is put there.
///
/// A connection that opens the old file just before it is replaced would use the new one's log, which goes by name
/// (<https://www.sqlite.org/howtocorrupt.html>, section 2.4). SQLite's own locks are on the old file and do not prevent it.
/// It is a lock (flock) on the folder: the file itself must not be opened and closed outside SQLite.
pub(crate) struct Entrance {
    /// Unlocked when it is closed. None where folders cannot be locked; there it is left to luck.
    _folder: Option<std::fs::File>,
}

impl Entrance {
    pub(crate) fn shared(path: &Path) -> Self {
        Entrance { _folder: folder(path).filter(|folder| folder.lock_shared().is_ok()) }
    }

    pub(crate) fn alone(path: &Path) -> Self {
        Entrance { _folder: folder(path).filter(|folder| folder.lock().is_ok()) }
    }
}

/// The folder in which the file itself lies, symbolic links followed.
fn folder(path: &Path) -> Option<std::fs::File> {
    let file = path.canonicalize().ok()?;
    std::fs::File::open(file.parent()?).ok()
}

/// Whether a file could not be opened because somebody else has it locked.
pub(crate) fn is_locked(error: &Error) -> bool {
    match error {
        Error::Connection { source: Some(cause), .. } => {
            let code = cause.downcast_ref().and_then(rusqlite::Error::sqlite_error_code);
            matches!(code, Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked))
        }
        other => other.query_kind() == Some(QueryErrorKind::Busy),
    }
}

/// The file as SQLite's URI: taken as it is, without locks, journal or log.
fn immutable_uri(path: &Path) -> Option<String> {
    let mut uri = String::from("file:");
    for byte in path.to_str()?.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => uri.push(char::from(byte)),
            byte => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    Some(uri + "?immutable=1")
}

/// The error of the first read: it is there that a key shows to be wrong.
pub(crate) fn first_read(path: &Path, keyed: bool, error: rusqlite::Error) -> Error {
    if error.sqlite_error_code() != Some(rusqlite::ErrorCode::NotADatabase) {
        return opening(path, error);
    }
    let problem = if keyed { EncryptionProblem::WrongKeyOrDamaged } else { EncryptionProblem::KeyMissing };
    Error::Encryption { database: path.to_owned(), problem }
}

/// An error while the connection is set up.
pub(crate) fn opening(path: &Path, error: rusqlite::Error) -> Error {
    let reason = match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::CannotOpen | rusqlite::ErrorCode::ReadOnly) => {
            "cannot be opened for writing; the file and its folder (for the -wal and -shm files) must be writable by this user"
        }
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
            "is locked by another process; wait for it, or stop it"
        }
        Some(rusqlite::ErrorCode::DiskFull) => "cannot be opened, the disk is full",
        Some(rusqlite::ErrorCode::DatabaseCorrupt) => "is damaged; restore it from a backup",
        _ => "cannot be opened",
    };
    Error::connection(shown(path), reason).caused_by(error)
}

fn unreachable_file(path: &Path, what: &str, error: std::io::Error) -> Error {
    let hint = match error.kind() {
        ErrorKind::NotFound if what == "cannot be created" => "; its folder does not exist",
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => "; this user needs the right to it",
        _ => "",
    };
    Error::connection(shown(path), format!("{what} ({}){hint}", error.kind())).caused_by(error)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Notices when the open file is no longer the one at its path: what is written to it then would be lost.
///
/// SQLite does not look in WAL mode (the log keeps its old name and no longer belongs to the moved file).
pub(crate) struct Watch {
    path: PathBuf,
    began: Instant,
    /// When it was last found in its place, in microseconds since `began`.
    seen: AtomicU64,
    #[cfg(unix)]
    identity: (u64, u64),
}

impl Watch {
    /// Watches the file that is there now.
    pub(crate) fn new(path: &Path) -> Result<Self> {
        let metadata = std::fs::metadata(path).map_err(|error| unreachable_file(path, "cannot be examined", error))?;
        Ok(Watch {
            path: path.to_owned(),
            began: Instant::now(),
            seen: AtomicU64::new(0),
            #[cfg(unix)]
            identity: identity(&metadata),
        })
    }

    /// [`check`](Self::check), unless that was done just now.
    pub(crate) fn check_lately(&self, now: Instant) -> Result<()> {
        let now = u64::try_from(now.saturating_duration_since(self.began).as_micros()).unwrap_or(u64::MAX);
        // Only whether the time has passed is read from it, nothing else is ordered by it.
        if now.saturating_sub(self.seen.load(Ordering::Relaxed)) < LATELY_MICROS {
            return Ok(());
        }
        self.check()?;
        self.seen.store(now, Ordering::Relaxed);
        Ok(())
    }

    /// One `stat`, about a microsecond.
    pub(crate) fn check(&self) -> Result<()> {
        let (reason, source) = match std::fs::metadata(&self.path) {
            Ok(metadata) if self.is(&metadata) => return Ok(()),
            Ok(_) => ("was replaced by another file while it was open; nothing more is written, open it anew", None),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                ("was moved or deleted while it was open; nothing more is written, put it back or open it anew", None)
            }
            Err(error) => ("cannot be examined any more", Some(Arc::new(error) as _)),
        };
        Err(Error::Connection { database: shown(&self.path), reason: reason.into(), passing: false, source })
    }

    #[cfg(unix)]
    fn is(&self, metadata: &Metadata) -> bool {
        identity(metadata) == self.identity
    }

    #[cfg(not(unix))]
    fn is(&self, _: &Metadata) -> bool {
        // An open file cannot be moved or deleted there.
        true
    }
}

#[cfg(unix)]
fn identity(metadata: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (metadata.dev(), metadata.ino())
}
