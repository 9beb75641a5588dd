//! JSON: one object, or one array with an element a line.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter};

use super::escape::is_harmful;

/// Writes one object over several lines.
pub(crate) fn write_object(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    value.serialize(&mut Serializer::with_formatter(&mut *out, Harmless(PrettyFormatter::new())))?;
    writeln!(out)
}

/// An array under way: elements are written as they come, so that a list of any length takes no memory.
pub(crate) struct Array {
    is_empty: bool,
}

impl Array {
    /// Begins the array.
    pub(crate) fn begin(out: &mut impl Write) -> io::Result<Array> {
        write!(out, "[")?;
        Ok(Array { is_empty: true })
    }

    /// Writes one element on a line of its own.
    pub(crate) fn element(&mut self, out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
        out.write_all(if self.is_empty { b"\n" } else { b",\n" })?;
        self.is_empty = false;
        Ok(value.serialize(&mut Serializer::with_formatter(out, Harmless(CompactFormatter)))?)
    }

    /// Ends the array.
    pub(crate) fn end(self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{}]", if self.is_empty { "" } else { "\n" })
    }
}

/// Writes control characters beyond ASCII and bidirectional marks as `\uXXXX`, which every reader of JSON turns back; so
/// even JSON may be looked at in a terminal.
struct Harmless<F>(F);

/// Hands every call on.
macro_rules! hand_on {
    ($($name:ident($($argument:ident: $type:ty),*);)*) => {$(
        fn $name<W: ?Sized + Write>(&mut self, writer: &mut W $(, $argument: $type)*) -> io::Result<()> {
            self.0.$name(writer $(, $argument)*)
        }
    )*};
}

impl<F: Formatter> Formatter for Harmless<F> {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(start) = rest.find(is_harmful) {
            writer.write_all(&rest.as_bytes()[..start])?;
            // `find` gives the place of a character.
            let character = rest[start..].chars().next().unwrap_or_default();
            for unit in character.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &rest[start + character.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }

    hand_on! {
        begin_array();
        end_array();
        begin_array_value(first: bool);
        end_array_value();
        begin_object();
        end_object();
        begin_object_key(first: bool);
        end_object_key();
        begin_object_value();
        end_object_value();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(elements: &[&str]) -> String {
        let mut out = Vec::new();
        let mut array = Array::begin(&mut out).unwrap();
        for element in elements {
            array.element(&mut out, element).unwrap();
        }
        array.end(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_array_has_an_element_a_line_and_an_empty_one_is_an_array_too() {
        assert_eq!(array(&["a", "b"]), "[\n\"a\",\n\"b\"\n]\n");
        assert_eq!(array(&[]), "[]\n");
    }

    #[test]
    fn harmful_characters_are_escaped_and_read_back_unchanged() {
        let text = "\x1b[2J\u{202e}\u{9b}\u{e0041}\"\\é例";
        let written = array(&[text]);
        assert_eq!(written, "[\n\"\\u001b[2J\\u202e\\u009b\\udb40\\udc41\\\"\\\\é例\"\n]\n");
        assert_eq!(serde_json::from_str::<Vec<String>>(&written).unwrap(), [text]);
    }
}
