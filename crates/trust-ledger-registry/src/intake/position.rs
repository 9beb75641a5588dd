//! Where something was found.

use std::fmt::{self, Write as _};
use std::sync::Arc;

/// Where in which input something was found. Displays as one line without control characters: `ca.pem: line 12`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The file as it was named to the reader; `-` for standard input.
    pub file: Arc<str>,
    /// Where in it.
    pub place: Place,
}

/// A place within an input.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Place {
    /// A line of a text, the first being 1.
    Line(u64),
    /// A byte, the first being 0.
    Byte(u64),
    /// A string of a JSON document.
    Json {
        /// Its path, such as `items[3].data["tls.crt"]`; empty for a document that is itself a string.
        path: String,
        /// The line on which the document begins, where it is not the first of its input.
        line: Option<u64>,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Line(line) => write!(f, "line {line}"),
            Place::Byte(byte) => write!(f, "byte {byte}"),
            Place::Json { path, line } => {
                if let Some(line) = line {
                    write!(f, "line {line}")?;
                }
                match (path.is_empty(), line) {
                    (true, Some(_)) => Ok(()),
                    (true, None) => f.write_str("the whole document"),
                    (false, Some(_)) => write!(f, ", {}", escape_for_terminal(path)),
                    (false, None) => f.write_str(&escape_for_terminal(path)),
                }
            }
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", escape_for_terminal(&self.file), self.place)
    }
}

/// The text with every character escaped that could move the cursor, end the line or turn the reading direction
/// around: control characters, line and paragraph separators, bidirectional marks and zero-width characters become
/// `\u{202e}`.
pub fn escape_for_terminal(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        let is_harmful = character.is_control()
            || matches!(
                character,
                '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
            );
        if is_harmful {
            let _ = write!(escaped, "\\u{{{:x}}}", u32::from(character));
        } else {
            escaped.push(character);
        }
    }
    escaped
}

/// The input that is being read; makes positions that share its name.
#[derive(Clone, Debug)]
pub(super) struct Origin(Arc<str>);

impl Origin {
    pub(super) fn new(file: &str) -> Self {
        Origin(Arc::from(file))
    }

    pub(super) fn at(&self, place: Place) -> Position {
        Position { file: Arc::clone(&self.0), place }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_one_harmless_line() {
        let position = |file: &str, place| Origin::new(file).at(place).to_string();
        assert_eq!(position("ca.pem", Place::Line(12)), "ca.pem: line 12");
        assert_eq!(position("-", Place::Byte(0)), "-: byte 0");
        let path = String::from("items[3].data[\"tls.crt\"]");
        assert_eq!(position("s.json", Place::Json { path: path.clone(), line: None }), format!("s.json: {path}"));
        assert_eq!(
            position("s.json", Place::Json { path: path.clone(), line: Some(7) }),
            format!("s.json: line 7, {path}")
        );
        assert_eq!(position("evil\x1b[2J\u{202e}gpj.\n", Place::Line(1)), "evil\\u{1b}[2J\\u{202e}gpj.\\u{a}: line 1");
    }
}
