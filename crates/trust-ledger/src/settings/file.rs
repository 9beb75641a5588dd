//! The settings file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Key, Place};
use crate::failure::{Failure, Result};

/// What a settings file says.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) place: Option<Place>,
    pub(super) key: Option<Key>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    db: Db,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Db {
    url: Option<String>,
    #[serde(default)]
    cipher: Cipher,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cipher {
    key_env: Option<String>,
    key_file: Option<PathBuf>,
}

/// Reads a settings file that must be there.
pub(super) fn read(path: &Path) -> Result<Contents> {
    let unreadable = |error: io::Error| {
        Failure::usage(format!("the settings file {} cannot be read", path.display())).caused_by(error)
    };
    parse(path, &fs::read_to_string(path).map_err(unreadable)?)
}

/// Reads a settings file that need not be there.
pub(super) fn read_if_there(path: &Path) -> Result<Contents> {
    match fs::exists(path) {
        Ok(false) => Ok(Contents::default()),
        _ => read(path),
    }
}

fn parse(path: &Path, text: &str) -> Result<Contents> {
    let file: File = toml::from_str(text).map_err(|error| {
        let place = match error.span() {
            Some(span) => {
                let (line, column) = line_and_column(text, span.start);
                format!(", line {line}, column {column}")
            }
            None => String::new(),
        };
        // The message names the key and what was expected; one line of it is enough.
        let message = error.message().lines().collect::<Vec<_>>().join("; ");
        Failure::usage(format!("settings file {}{place}: {message}", path.display()))
    })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let place = file.db.url.as_deref().map(super::place).transpose();
    let place =
        place.map_err(|reason| Failure::usage(format!("settings file {}: db.url: {reason}", path.display())))?;
    let place = place.map(|place| match place {
        Place::File(path) => Place::File(folder.join(path)),
        Place::Memory => Place::Memory,
    });
    let key = match (file.db.cipher.key_env, file.db.cipher.key_file) {
        (Some(name), _) => Some(Key::Variable(name)),
        (None, path) => path.map(|path| Key::File(folder.join(path))),
    };
    Ok(Contents { place, key })
}

/// Both counted from 1, the column in characters.
fn line_and_column(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
