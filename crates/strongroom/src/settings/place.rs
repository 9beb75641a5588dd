//! Where something is said: a line and column of a file, a variable, or an option.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Where a setting is said.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// In a file; line and column are counted from 1, the column in characters.
    File { path: Arc<Path>, line: usize, column: usize },
    /// In an environment variable.
    Variable(String),
    /// In an option that the program names.
    Option(String),
}

/// A value, where it was said, and the how-manieth file or environment that was.
#[derive(Debug)]
pub(super) struct Said<T> {
    pub(super) value: T,
    pub(super) place: Place,
    pub(super) turn: usize,
}

impl Place {
    /// The place of a byte in a file's text.
    pub(super) fn in_file(path: &Arc<Path>, text: &str, byte: usize) -> Self {
        let before = text.get(..byte).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |end| end + 1);
        let line = before.matches('\n').count() + 1;
        let column = before[line_start..].chars().count() + 1;
        Place::File { path: Arc::clone(path), line, column }
    }
}

/// Such as `app.toml, line 3, column 12`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File { path, line, column } => write!(f, "{}, line {line}, column {column}", path.display()),
            Place::Variable(name) => write!(f, "environment variable {name}"),
            Place::Option(name) => f.write_str(name),
        }
    }
}
