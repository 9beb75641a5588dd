//! Environment variables.

use std::ffi::OsString;
use std::path::Path;

use super::layer::{KEYS, Layer, Origin};
use super::nearest::nearest;
use super::place::Place;
use super::value::Value;
use super::{is_secret, shown};
use crate::error::{Error, Result};

/// A variable that belongs to no setting, as far as is known: it may turn out to hold the key.
#[derive(Debug)]
pub(super) struct Unknown {
    pub(super) name: String,
    reason: String,
}

/// Takes down what variables say whose names begin with `{prefix}_DB_`. One that is empty counts as not set.
pub(super) fn read(
    layer: &mut Layer,
    prefix: &str,
    variables: impl Iterator<Item = (OsString, OsString)>,
    turn: usize,
) -> Result<Vec<Unknown>> {
    let is_name = |name: &str| name.bytes().all(|letter| letter.is_ascii_alphanumeric() || letter == b'_');
    if prefix.is_empty() || !is_name(prefix) {
        return Err(Error::config("db", "expected a prefix of letters, digits and _ for environment variables"));
    }
    let start = format!("{prefix}_DB_");
    let names: Vec<String> =
        KEYS.iter().map(|key| format!("{start}{}", key.path.replace('.', "_").to_uppercase())).collect();
    let mut variables: Vec<(String, OsString)> = variables
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value))
        .filter(|(name, _)| name.starts_with(&start))
        .collect();
    // So that of several faults it is always the same one that is reported.
    variables.sort();

    let mut unknown = Vec::new();
    for (name, value) in variables {
        let Some(key) = names.iter().position(|known| *known == name).map(|known| &KEYS[known]) else {
            let reason = match nearest(&name, names.iter().map(String::as_str)) {
                _ if is_secret(&name[start.len()..]) => {
                    "no setting is read from this environment variable; if it holds the key, say so in db.cipher.key_env"
                        .to_owned()
                }
                Some(nearest) => format!("no setting is read from this environment variable; did you mean {nearest}?"),
                None => "no setting is read from this environment variable".to_owned(),
            };
            unknown.push(Unknown { name, reason });
            continue;
        };
        take(layer, key.path, value, Place::Variable(name), turn)?;
    }
    Ok(unknown)
}

/// Takes down one setting, whose value is text that the key decides what to take for.
pub(super) fn take(layer: &mut Layer, path: &str, value: OsString, place: Place, turn: usize) -> Result<()> {
    let setting = format!("db.{path}");
    let Some(key) = KEYS.iter().find(|key| key.path == path) else {
        return Err(Error::config(shown(&setting), format!("{place}: there is no such setting")));
    };
    let Ok(text) = value.into_string() else {
        return Err(Error::config(setting, format!("{place}: its value is not UTF-8")));
    };
    let origin = Origin { place, folder: Path::new(""), turn };
    (key.take)(layer, &Value::Untyped(text), &origin)
        .map_err(|reason| Error::config(setting, format!("{}: {reason}", origin.place)))
}

impl From<Unknown> for Error {
    fn from(unknown: Unknown) -> Self {
        Error::config(shown(&unknown.name), unknown.reason)
    }
}
