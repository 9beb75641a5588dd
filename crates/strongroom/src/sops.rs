//! Secrets in SOPS files, decrypted natively.
//!
//! Start from [`Sops`]. A file is read into a tree in document order (`document`; `yaml`, `json` and `dotenv` for each
//! format), its section `sops` into `metadata`; `data_key` finds somebody who can decrypt the data key (`identities`
//! and `age`, then `kms`); with it `contents` decrypts every value (`encrypted`), as the file's `rule` says, and checks
//! the MAC.

mod age;
mod contents;
mod data_key;
mod document;
mod dotenv;
mod encrypted;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod identities;
mod json;
mod kms;
mod metadata;
mod rule;
mod ssh_key;
mod yaml;

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use self::data_key::Identities;
use self::document::{Document, Format};
use self::identities::Surroundings;
use self::metadata::Metadata;
use crate::error::{Error, Result};
use crate::key::KeySource;
use crate::secret::{BoxFuture, Secret, SecretProvider, off_the_runtime};

/// The largest file that is read, in bytes.
const MAX_LEN: usize = 4 * 1024 * 1024;

/// The key that is looked for when none is named.
const DEFAULT_NAME: &str = "db_key";

/// One value of a SOPS file: yaml, json, dotenv or binary, encrypted for age recipients or AWS KMS keys.
///
/// The file is read anew each time. Its MAC is always verified. The extension says the format (`.yaml`, `.yml`,
/// `.json`, `.env`); where it does not, the content does. At most 4 MiB, nested at most 100 deep.
///
/// A text is given as it is; whole numbers, other numbers and truth values as text (`42`, `0.5`, `true`).
///
/// ```no_run
/// # async fn example() -> strongroom::Result<()> {
/// use strongroom::{Config, KeySource, Sops};
///
/// let key = KeySource::sops("secrets.yaml", "database.key");
/// // The same, with the age identity from one place instead of all that SOPS knows.
/// let key = Sops::new("secrets.yaml").name("database.key").identity(KeySource::file("/etc/app/age.txt"));
/// let db = Config::sqlite("app.db").key(key).connect().await?;
/// # Ok(())
/// # }
/// ```
///
/// Where age identities are looked for, what is not supported, and every error: `docs/sops.md` in the repository.
#[derive(Clone)]
pub struct Sops(Arc<Settings>);

#[derive(Clone)]
struct Settings {
    path: PathBuf,
    name: Option<String>,
    identity: Option<KeySource>,
    accept_missing_mac: bool,
}

impl Sops {
    /// The key `db_key` of a file; the whole content of a binary one.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Sops(Arc::new(Settings { path: path.into(), name: None, identity: None, accept_missing_mac: false }))
    }

    /// The key to give. A dot walks into a map, as in `database.key`; a key that has dots itself is found as well. In a
    /// file of several YAML documents, the first is looked at. The one key of a binary file is `data`.
    pub fn name(self, name: impl Into<String>) -> Self {
        self.with(|settings| settings.name = Some(name.into()))
    }

    /// Where the age identities are: `AGE-SECRET-KEY-1…` or an SSH private key. By default all places are looked at
    /// that the `sops` program looks at; with this, none of them.
    pub fn identity(self, source: impl Into<KeySource>) -> Self {
        self.with(|settings| settings.identity = Some(source.into()))
    }

    /// Accepts a file that has no MAC: whoever can write to it can then take values away, or put older ones of the same
    /// key back. A MAC that is there is verified all the same, and a value that is not encrypted is not given.
    pub fn accept_missing_mac(self) -> Self {
        self.with(|settings| settings.accept_missing_mac = true)
    }

    fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    async fn read(&self, surroundings: Option<Surroundings>) -> Result<Secret> {
        let file = self.clone();
        let (document, metadata) = off_the_runtime(move || {
            let document = file.document()?;
            // Before anybody is asked for a key.
            file.wanted(&document)?;
            let metadata = Metadata::read(&document.metadata).map_err(|reason| file.failed(reason))?;
            match metadata.mac {
                None if !file.0.accept_missing_mac => {
                    Err(file.failed("has no MAC, so that changes could not be seen; encrypt it anew"))
                }
                _ => Ok((document, metadata)),
            }
        })
        .await?;
        let identities = match (&self.0.identity, surroundings) {
            (Some(source), _) => Identities::Only(source.clone()),
            (None, Some(surroundings)) => Identities::From(surroundings),
            (None, None) => Identities::From(Surroundings::of_this_process()),
        };
        let data_key = data_key::obtain(self, &metadata.keys, identities).await?;
        let file = self.clone();
        off_the_runtime(move || {
            let secret = contents::read(&document, &metadata, &data_key, file.wanted(&document)?);
            secret.map(Secret::from).map_err(|reason| file.failed(reason))
        })
        .await
    }

    fn document(&self) -> Result<Document> {
        let failed =
            |what: &str, error: std::io::Error| self.failed(format!("{what} ({})", error.kind())).caused_by(error);
        let too_large = || self.failed(format!("is larger than {} MiB, which is no file of secrets", MAX_LEN >> 20));
        let path = &self.0.path;
        // Opening a pipe would wait for whoever writes into it.
        let metadata = std::fs::metadata(path).map_err(|error| failed("cannot be opened", error))?;
        if !metadata.is_file() {
            return Err(self.failed("is not a regular file"));
        }
        if metadata.len() > MAX_LEN as u64 {
            return Err(too_large());
        }
        let mut content = Vec::new();
        let file = File::open(path).map_err(|error| failed("cannot be opened", error))?;
        let read = file.take(MAX_LEN as u64 + 1).read_to_end(&mut content);
        read.map_err(|error| failed("cannot be read", error))?;
        if content.len() > MAX_LEN {
            return Err(too_large());
        }
        let extension = path.extension().and_then(|extension| extension.to_str());
        Document::read(extension, &content).map_err(|reason| self.failed(reason))
    }

    fn wanted<'d>(&self, document: &'d Document) -> Result<&'d document::Node> {
        let name = match (&self.0.name, document.format) {
            (Some(name), _) => name,
            (None, Format::Binary) => "data",
            (None, _) => DEFAULT_NAME,
        };
        document.find(name).map_err(|reason| self.failed(format!("{} {reason}", name.escape_debug())))
    }

    fn failed(&self, reason: impl Into<String>) -> Error {
        Error::credential(self, reason)
    }
}

impl SecretProvider for Sops {
    fn secret(&self) -> BoxFuture<'_, Result<Secret>> {
        Box::pin(self.read(None))
    }
}

/// Names file and key, such as `SOPS file secrets.yaml, key database.key`.
impl fmt::Display for Sops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SOPS file {}", self.0.path.display())?;
        match &self.0.name {
            Some(name) => write!(f, ", key {}", name.escape_debug()),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Sops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sops({self})")
    }
}

#[cfg(test)]
mod tests;
