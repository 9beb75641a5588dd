//! The settings file: its sections. Section `db` is read by [`strongroom::Settings`].

use std::fs;
use std::io;
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::failure::{Failure, Result};

/// The sections that there are, so that others are refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sections {
    #[serde(default, rename = "db")]
    _db: Option<IgnoredAny>,
}

/// Reads a settings file that must be there.
pub(super) fn read(path: &Path) -> Result<strongroom::Settings> {
    let unreadable = |error: io::Error| {
        Failure::usage(format!("the settings file {} cannot be read", path.display())).caused_by(error)
    };
    let text = fs::read_to_string(path).map_err(unreadable)?;
    toml::from_str::<Sections>(&text).map_err(|error| {
        let place = match error.span() {
            Some(span) => {
                let (line, column) = line_and_column(&text, span.start);
                format!(", line {line}, column {column}")
            }
            None => String::new(),
        };
        // The message names the key and what was expected; one line of it is enough.
        let message = error.message().lines().collect::<Vec<_>>().join("; ");
        Failure::usage(format!("settings file {}{place}: {message}", path.display()))
    })?;
    strongroom::Settings::new().file(path).map_err(|error| Failure::usage(error.to_string()))
}

/// Reads a settings file that need not be there.
pub(super) fn read_if_there(path: &Path) -> Result<strongroom::Settings> {
    match fs::exists(path) {
        Ok(false) => Ok(strongroom::Settings::new()),
        _ => read(path),
    }
}

/// Both counted from 1, the column in characters.
fn line_and_column(text: &str, byte: usize) -> (usize, usize) {
    let before = text.get(..byte).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |end| end + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
