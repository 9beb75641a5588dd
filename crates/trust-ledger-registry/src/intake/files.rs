//! The files of a folder.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

/// A file to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundFile {
    /// Its path, beginning with the one that was asked for.
    pub path: PathBuf,
    /// Its size in bytes at the time of listing; 0 for what has no size (a pipe).
    pub size: u64,
}

/// A file or folder that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}", path.display())]
pub struct FileError {
    /// Its path.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// Lists a file, or every file below a folder.
///
/// Folders are listed by name, what is best read last at the end: CRLs (`*.crl`), then `index.txt`, since what they
/// say concerns certificates. Links to files are followed and links to folders are not; a file that is reached
/// twice, by links of either kind, is listed once. Sockets, pipes and devices within a folder are passed over; one that
/// is asked for itself (`/dev/stdin`, `<(command)`) is listed. A folder or link that cannot be read is an error among the
/// rest. Nothing is opened but folders: a file without permission fails when it is read.
pub fn files(path: impl Into<PathBuf>) -> Files {
    Files { root: Some(path.into()), pending: Vec::new(), seen: HashSet::new() }
}

/// Iterator of [`files`].
#[derive(Debug)]
pub struct Files {
    root: Option<PathBuf>,
    /// What is still to be listed, the next one last.
    pending: Vec<PathBuf>,
    /// Files and folders already met. Bounded by the number of files; 16 bytes each on Unix.
    seen: HashSet<Identity>,
}

impl Iterator for Files {
    type Item = Result<FoundFile, FileError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(root) = self.root.take() {
            match fs::metadata(&root) {
                Ok(metadata) if metadata.is_dir() => {
                    self.seen.insert(identity(&root, &metadata));
                    if let Err(error) = self.list(root) {
                        return Some(Err(error));
                    }
                }
                Ok(metadata) => return Some(Ok(FoundFile { path: root, size: metadata.len() })),
                Err(source) => return Some(Err(FileError { path: root, source })),
            }
        }
        while let Some(path) = self.pending.pop() {
            match self.visit(path) {
                Ok(Some(file)) => return Some(Ok(file)),
                Ok(None) => {}
                Err(error) => return Some(Err(error)),
            }
        }
        None
    }
}

impl Files {
    /// Looks at one entry of a folder: a file is returned, a folder listed.
    fn visit(&mut self, path: PathBuf) -> Result<Option<FoundFile>, FileError> {
        let failed = |path: &Path, source| FileError { path: path.to_owned(), source };
        let metadata = fs::metadata(&path).map_err(|source| failed(&path, source))?;
        if metadata.is_dir() {
            let is_link = fs::symlink_metadata(&path).map_err(|source| failed(&path, source))?.is_symlink();
            if !is_link && self.seen.insert(identity(&path, &metadata)) {
                self.list(path)?;
            }
            return Ok(None);
        }
        let is_new = metadata.is_file() && self.seen.insert(identity(&path, &metadata));
        Ok(is_new.then_some(FoundFile { size: metadata.len(), path }))
    }

    /// Puts the entries of a folder before everything that is pending.
    fn list(&mut self, folder: PathBuf) -> Result<(), FileError> {
        let entries = fs::read_dir(&folder)
            .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>());
        let mut entries = entries.map_err(|source| FileError { path: folder, source })?;
        // Their predecessors say what was true before the last change.
        if entries.iter().any(|path| path.file_name().is_some_and(|name| name == "index.txt")) {
            entries.retain(|path| path.file_name().is_none_or(|name| name != "index.txt.old"));
        }
        entries.sort_by(|a, b| (turn(b), b).cmp(&(turn(a), a)));
        self.pending.append(&mut entries);
        Ok(())
    }
}

/// When within its folder a file's turn is.
fn turn(path: &Path) -> u8 {
    let is_list = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("crl"));
    match path.file_name() {
        Some(name) if name == "index.txt" => 2,
        _ if is_list => 1,
        _ => 0,
    }
}

#[cfg(unix)]
type Identity = (u64, u64);

/// Device and inode.
#[cfg(unix)]
fn identity(_: &Path, metadata: &Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt as _;
    (metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
type Identity = PathBuf;

/// The path without links: all there is elsewhere.
#[cfg(not(unix))]
fn identity(path: &Path, _: &Metadata) -> Identity {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}
