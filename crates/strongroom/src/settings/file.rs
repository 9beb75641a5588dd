//! A settings file.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use super::layer::{KEYS, Layer, Origin, SECTIONS};
use super::nearest::nearest;
use super::place::Place;
use super::value::{Entry, Value};
use super::{NO_KEY_HERE, is_secret, shown, toml, yaml};
use crate::error::{Error, Result};

/// Largest file that is read, in bytes.
const MAX_LEN: u64 = 1024 * 1024;

/// What a parser does not understand, and where, in bytes.
pub(super) struct Fault {
    pub(super) at: usize,
    /// The key's name, if the fault is a key's.
    pub(super) name: Option<String>,
    pub(super) reason: String,
}

/// Takes down what section `db` of a file says.
pub(super) fn read(layer: &mut Layer, path: &Path, turn: usize) -> Result<()> {
    let bytes = content(path).map_err(|error| unusable(path, &format!("cannot be read ({})", error.kind())))?;
    take(layer, path, &bytes, turn)
}

/// [`read`], with the file's content given.
pub(super) fn take(layer: &mut Layer, path: &Path, bytes: &[u8], turn: usize) -> Result<()> {
    let section = match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => toml::section,
        Some("yaml" | "yml") => yaml::section,
        _ => return Err(unusable(path, "expected a name that ends in .toml, .yaml or .yml")),
    };
    if bytes.len() as u64 > MAX_LEN {
        return Err(unusable(path, "it is larger than 1 MiB, which no settings file is"));
    }
    let absolute = std::path::absolute(path)
        .map_err(|error| unusable(path, &format!("cannot be made absolute ({})", error.kind())))?;
    let path: Arc<Path> = path.into();
    let text = std::str::from_utf8(bytes).map_err(|error| {
        // Up to there it is valid.
        let text = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        Error::config("db", format!("{}: the file is not UTF-8", Place::in_file(&path, &text, text.len())))
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let folder = absolute.parent().unwrap_or(&absolute);
    let mut reader = Reader { layer, path, text, folder, turn, seen: HashSet::new() };
    match section(text) {
        Ok(None) => Ok(()),
        Ok(Some(entry)) => reader.section("", entry),
        Err(fault) => {
            let setting = fault.name.map_or_else(|| "db".to_owned(), |name| shown(&name));
            Err(reader.error(&setting, fault.at, &fault.reason))
        }
    }
}

fn unusable(path: &Path, reason: &str) -> Error {
    Error::config("db", format!("settings file {}: {reason}", path.display()))
}

fn content(path: &Path) -> std::io::Result<Vec<u8>> {
    // Opening a pipe would wait for whoever writes into it.
    if std::fs::metadata(path)?.is_file() {
        let mut bytes = Vec::new();
        File::open(path)?.take(MAX_LEN + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    } else {
        Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "no regular file"))
    }
}

struct Reader<'r> {
    layer: &'r mut Layer,
    path: Arc<Path>,
    text: &'r str,
    folder: &'r Path,
    turn: usize,
    seen: HashSet<String>,
}

impl Reader<'_> {
    /// A section below `db`, or with an empty path `db` itself.
    fn section(&mut self, path: &str, section: Entry) -> Result<()> {
        let entries = match section.value {
            Value::Section(entries) => entries,
            // In YAML, a section whose every line is a comment.
            Value::Nothing => return Ok(()),
            other => {
                let reason = other.instead_of("a section");
                return Err(self.error(&full(path), section.value_at, &reason));
            }
        };
        for entry in entries {
            let path = if path.is_empty() { entry.name.clone() } else { format!("{path}.{}", entry.name) };
            let key = KEYS.iter().find(|key| key.path == path);
            if key.is_none() && !SECTIONS.contains(&path.as_str()) {
                return Err(self.unknown(&path, &entry));
            }
            // TOML's parser sees to this itself, YAML's does not.
            if !self.seen.insert(path.clone()) {
                return Err(self.error(&full(&path), entry.name_at, "it is given twice"));
            }
            let Some(key) = key else {
                self.section(&path, entry)?;
                continue;
            };
            let place = Place::in_file(&self.path, self.text, entry.value_at);
            let origin = Origin { place, folder: self.folder, turn: self.turn };
            (key.take)(self.layer, &entry.value, &origin)
                .map_err(|reason| self.error(&full(&path), entry.value_at, &reason))?;
        }
        Ok(())
    }

    fn unknown(&self, path: &str, entry: &Entry) -> Error {
        let known = KEYS.iter().map(|key| key.path).chain(SECTIONS);
        let reason = match nearest(path, known) {
            _ if is_secret(&entry.name) => NO_KEY_HERE.to_owned(),
            Some(nearest) => format!("there is no such setting; did you mean db.{nearest}?"),
            None => "there is no such setting".to_owned(),
        };
        self.error(&full(&shown(path)), entry.name_at, &reason)
    }

    fn error(&self, setting: &str, at: usize, reason: &str) -> Error {
        let place = Place::in_file(&self.path, self.text, at);
        Error::config(setting, format!("{place}: {reason}"))
    }
}

fn full(path: &str) -> String {
    if path.is_empty() { "db".to_owned() } else { format!("db.{path}") }
}
