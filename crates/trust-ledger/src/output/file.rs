//! Files that are replaced as a whole: readers see the old one or the new one, never a part.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::failure::{Failure, Result};
use crate::ledger::sync_folder;

/// A file that is being written under another name, in the same folder. Dropped unfinished, it is gone, and what was
/// there stays.
pub(crate) struct Replacement {
    path: PathBuf,
    target: Target,
}

enum Target {
    File(BufWriter<NamedTempFile>),
    /// A device or a pipe: it cannot be replaced, only written to.
    Device(BufWriter<File>),
}

impl Replacement {
    /// Begins to write what shall be at `path`.
    pub(crate) fn of(path: &Path) -> Result<Replacement> {
        let begin = || {
            if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir()) {
                return Ok(Target::Device(BufWriter::new(File::options().write(true).open(path)?)));
            }
            let mut builder = tempfile::Builder::new();
            builder.prefix(".trust-ledger-");
            // Less what the umask takes off: others, such as a collector of metrics, are to read it.
            #[cfg(unix)]
            builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
            Ok(Target::File(BufWriter::new(builder.tempfile_in(folder_of(path))?)))
        };
        let target = begin().map_err(|error| failed(path, error))?;
        Ok(Replacement { path: path.to_owned(), target })
    }

    /// Syncs what was written and puts it in place.
    pub(crate) fn finish(self) -> Result<()> {
        let path = self.path;
        let finish = || match self.target {
            Target::Device(mut device) => device.flush(),
            Target::File(file) => {
                let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
                file.as_file().sync_all()?;
                file.persist(&path).map_err(|error| error.error)?;
                sync_folder(folder_of(&path))
            }
        };
        finish().map_err(|error| failed(&path, error))
    }
}

impl Write for Replacement {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.target {
            Target::File(file) => file.write(bytes),
            Target::Device(device) => device.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.target {
            Target::File(file) => file.flush(),
            Target::Device(device) => device.flush(),
        }
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn failed(path: &Path, error: io::Error) -> Failure {
    Failure::failed(format!("{} cannot be written", path.display())).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_when_all_is_written_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.prom");
        fs::write(&path, "old").unwrap();
        let mut unfinished = Replacement::of(&path).unwrap();
        unfinished.write_all(b"half").unwrap();
        drop(unfinished);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        let mut file = Replacement::of(&path).unwrap();
        file.write_all(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        file.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left behind");
    }

    #[test]
    fn a_folder_that_is_missing_is_named() {
        let Err(failure) = Replacement::of(Path::new("/nowhere/a.prom")) else { panic!("it was written") };
        assert!(failure.to_string().starts_with("/nowhere/a.prom cannot be written"), "{failure}");
    }
}
