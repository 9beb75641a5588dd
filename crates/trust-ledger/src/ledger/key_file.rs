//! Key files: made once, whole or not at all, for nobody but their owner.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use zeroize::Zeroizing;

use crate::failure::{Failure, Result};

/// A random raw key in SQLCipher's form, `x'` + 64 hexadecimal digits + `'`: no derivation slows its use, and no
/// dictionary holds it.
pub(crate) fn random_key() -> Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut())
        .map_err(|error| Failure::failed("the system gives no random numbers").caused_by(error))?;
    let mut key = Zeroizing::new(Vec::with_capacity(67));
    key.extend_from_slice(b"x'");
    for byte in bytes.iter() {
        let digit = |digit: u8| b"0123456789abcdef"[usize::from(digit)];
        key.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    key.extend_from_slice(b"'");
    Ok(key)
}

/// Puts a key into a file that must not exist yet, mode 0600, and syncs file and folder. `false` when there is a file of
/// that name: it is not touched.
///
/// The key is written under another name first (created exclusively, O_EXCL) and then named without replacing anything,
/// so that neither a crash nor another process ever sees half a key.
pub(crate) fn write_key(path: &Path, key: &[u8]) -> Result<bool> {
    let failed = |error: io::Error| {
        Failure::failed(format!("the key file {} cannot be written", path.display())).caused_by(error)
    };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut file = tempfile::Builder::new().prefix(".trust-ledger-key-").tempfile_in(folder).map_err(failed)?;
    // One final newline is not part of the key.
    file.write_all(key).and_then(|()| file.write_all(b"\n")).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    match file.persist_noclobber(path) {
        Ok(_) => {}
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(failed(error.error)),
    }
    sync_folder(folder).map_err(failed)?;
    Ok(true)
}

/// Makes a folder, and those above it, for the user alone; and makes their names durable.
pub(super) fn make_folder(folder: &Path) -> Result<()> {
    let failed =
        |error: io::Error| Failure::failed(format!("the folder {} cannot be made", folder.display())).caused_by(error);
    if fs::exists(folder).map_err(failed)? {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        make_folder(parent)?;
    }
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(folder) {
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(error)),
        Ok(()) => folder.parent().map_or(Ok(()), sync_folder).map_err(failed),
    }
}

/// Makes the names in a folder durable.
#[cfg(unix)]
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    fs::File::open(folder)?.sync_all()
}

/// Folders cannot be synced there.
#[cfg(not(unix))]
pub(crate) fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_key_is_raw_and_never_the_same() {
        let (a, b) = (random_key().unwrap(), random_key().unwrap());
        assert_ne!(a, b);
        assert_eq!(a.len(), 67);
        assert!(a.starts_with(b"x'") && a.ends_with(b"'"));
        assert!(a[2..66].iter().all(u8::is_ascii_hexdigit));
    }

    #[cfg(unix)]
    #[test]
    fn a_key_file_is_for_its_owner_alone_and_never_replaced() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        assert!(write_key(&path, b"first").unwrap());
        assert!(!write_key(&path, b"second").unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"first\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left behind");
    }

    #[cfg(unix)]
    #[test]
    fn folders_are_made_for_the_user_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let made = folder.path().join("a/b");
        make_folder(&made).unwrap();
        make_folder(&made).unwrap();
        assert_eq!(fs::metadata(folder.path().join("a")).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
