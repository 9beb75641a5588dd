//! JSON: the strings in it that hold certificates.
//!
//! A document is walked, never built: strings are looked at as they come, and memory holds one of them.

use std::cell::Cell;
use std::fmt::Write as _;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::rc::Rc;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::object::{Found, Object};
use super::position::{Origin, Place};
use super::source::{Form, Source};
use super::{MAX_OBJECT_BYTES, Sink, base64_text, binary, text};

/// Longest string that is read, in bytes: base64 of base64 of the largest object.
const MAX_STRING: usize = MAX_OBJECT_BYTES * 2;
/// Shorter strings hold no certificate.
const LEAST_STRING: usize = 64;

/// The form of an input that begins like JSON; `None` when it is rather other text that begins with a bracket.
pub(super) fn form(head: &[u8], is_all: bool) -> Option<Form> {
    let start = head.trim_ascii_start();
    let mut lines = start.split(|octet| matches!(octet, b'\n' | b'\r')).map(<[u8]>::trim_ascii);
    let is_document = |text: &[u8]| serde_json::from_slice::<IgnoredAny>(text).is_ok();
    let is_open = !is_all && memchr::memchr2(b'\n', b'\r', start).is_none();
    let (first, after) = match start {
        [first @ (b'{' | b'[' | b'"'), after @ ..] => (*first, after.trim_ascii_start().first().copied()),
        _ => return None,
    };
    // A lone string is a document; lines in quotes are the source of some program.
    if first != b'"' && !is_open && lines.next().is_some_and(is_document) {
        return Some(Form::Text { json_lines: true });
    }
    let mut values = serde_json::Deserializer::from_slice(start).into_iter::<IgnoredAny>();
    match values.next() {
        Some(Ok(IgnoredAny)) => {
            let behind = start[values.byte_offset()..].trim_ascii_start().first();
            let goes_on = first != b'"' && matches!(behind, Some(b'{' | b'[' | b'"'));
            (behind.is_none() || goes_on).then_some(Form::Json)
        }
        Some(Err(error)) if error.is_eof() && !is_all => Some(Form::Json),
        _ => {
            // Damaged. One document per line, of which the first is damaged, or a document over several lines?
            if first == b'{' && lines.filter(|line| line.starts_with(b"{")).take(3).any(is_document) {
                return Some(Form::Text { json_lines: true });
            }
            let is_json = match first {
                b'{' => matches!(after, Some(b'"' | b'}')),
                b'[' => matches!(after, Some(b'{' | b'[' | b'"' | b']')),
                _ => false,
            };
            is_json.then_some(Form::Json)
        }
    }
}

/// Reads a stream of JSON documents. After a fault, which is refused, the rest is searched as text.
pub(super) fn read<R: Read>(
    source: &mut Source<R>,
    origin: &Origin,
    sink: &mut Sink<'_>,
) -> io::Result<ControlFlow<()>> {
    let line = Rc::new(Cell::new(1));
    let fault = {
        let input = Bytes { source, line: Rc::clone(&line), since_quote: 0 };
        let mut deserializer = serde_json::Deserializer::from_reader(input);
        loop {
            if deserializer.end().is_ok() {
                return Ok(ControlFlow::Continue(()));
            }
            let begins_at = line.get();
            let mut stopped = false;
            let mut walk = Walk {
                path: String::new(),
                emit: &mut |path, object| {
                    let place = Place::Json { path: path.to_owned(), line: (begins_at > 1).then_some(begins_at) };
                    let flow = sink(Found { position: origin.at(place), object });
                    stopped |= flow.is_break();
                    flow
                },
            };
            let result = (&mut walk).deserialize(&mut deserializer);
            match result {
                Ok(()) => {}
                Err(_) if stopped => return Ok(ControlFlow::Break(())),
                Err(error) if error.is_io() => {
                    let error = io::Error::from(error);
                    if error.kind() != io::ErrorKind::FileTooLarge {
                        return Err(error);
                    }
                    break String::from("JSON with a string that is longer than any object");
                }
                Err(error) => break reason(&error),
            }
        }
    };
    let position = origin.at(Place::Line(line.get()));
    if sink(Found { position, object: Object::Refused(fault) }).is_break() {
        return Ok(ControlFlow::Break(()));
    }
    text::read_from(source, origin, line.get() - 1, false, sink)
}

/// The objects of one document that is in memory, each with its path; or why the text is no document. Nothing of
/// a damaged document is handed over.
pub(super) fn document(text: &[u8]) -> Result<Vec<(String, Object)>, String> {
    let mut objects = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let mut walk = Walk {
        path: String::new(),
        emit: &mut |path, object| {
            objects.push((path.to_owned(), object));
            ControlFlow::Continue(())
        },
    };
    (&mut walk).deserialize(&mut deserializer).and_then(|()| deserializer.end()).map_err(|error| reason(&error))?;
    Ok(objects)
}

/// What is wrong with a document. serde_json's own text for a syntax error holds nothing of the input, but its
/// position, which the caller says better.
fn reason(error: &serde_json::Error) -> String {
    if error.is_eof() {
        return String::from("JSON that ends in mid-document");
    }
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or_default();
    match what {
        "recursion limit exceeded" => String::from("JSON that is nested deeper than 128 levels"),
        _ => format!("malformed JSON: {what}"),
    }
}

/// A source byte by byte, which is how serde_json reads.
struct Bytes<'s, R> {
    source: &'s mut Source<R>,
    line: Rc<Cell<u64>>,
    since_quote: usize,
}

impl<R: Read> Read for Bytes<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.source.window().is_empty() {
            if self.source.at_end() {
                return Ok(0);
            }
            self.source.fill()?;
        }
        let Some((octet, slot)) = self.source.window().first().copied().zip(buffer.first_mut()) else {
            return Ok(0);
        };
        *slot = octet;
        self.source.consume(1);
        self.since_quote += 1;
        match octet {
            b'\n' => self.line.set(self.line.get() + 1),
            b'"' => self.since_quote = 0,
            _ if self.since_quote > MAX_STRING => return Err(io::ErrorKind::FileTooLarge.into()),
            _ => {}
        }
        Ok(1)
    }
}

/// Walks a document and keeps the path of where it is.
struct Walk<'e> {
    path: String,
    emit: &'e mut dyn FnMut(&str, Object) -> ControlFlow<()>,
}

impl Walk<'_> {
    fn push_key(&mut self, key: &str) {
        let is_plain = key.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'_')
            && key.bytes().next().is_some_and(|first| !first.is_ascii_digit());
        if is_plain {
            if !self.path.is_empty() {
                self.path.push('.');
            }
            self.path.push_str(key);
        } else {
            let _ = write!(self.path, "[{}]", serde_json::Value::from(key));
        }
    }

    /// Hands over what a string holds. Strings that hold none of our objects are nothing, not even a fault.
    fn string(&mut self, string: &str) -> ControlFlow<()> {
        if string.len() < LEAST_STRING {
            return ControlFlow::Continue(());
        }
        let path = self.path.as_str();
        let emit = &mut *self.emit;
        let mut emit = |object: Object| emit(path, object);
        if holds_pem(string.as_bytes()) {
            return text::blocks(string.as_bytes(), &mut emit);
        }
        let is_base64 =
            |octet: u8| octet.is_ascii_alphanumeric() || octet.is_ascii_whitespace() || b"+/-_=".contains(&octet);
        if !string.bytes().all(is_base64) {
            return ControlFlow::Continue(());
        }
        let mut clean = Vec::with_capacity(string.len());
        base64_text::push_clean(&mut clean, string.as_bytes());
        let Some(bytes) = base64_text::decode(&clean) else {
            // `MII` is how every certificate of more than 127 bytes begins.
            return if clean.starts_with(b"MII") && clean.len() > 400 {
                emit(Object::Refused(String::from("a string that begins like DER in base64 and is not valid base64")))
            } else {
                ControlFlow::Continue(())
            };
        };
        drop(clean);
        if holds_pem(&bytes) {
            return text::blocks(&bytes, &mut emit);
        }
        binary::objects_if_any(&bytes, &mut emit).map_continue(|_| ())
    }
}

fn holds_pem(text: &[u8]) -> bool {
    memchr::memmem::find(text, b"-----BEGIN ").is_some()
}

impl<'de> DeserializeSeed<'de> for &mut Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_str<E: serde::de::Error>(self, string: &str) -> Result<(), E> {
        match self.string(string) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(E::custom("stopped by the caller")),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let length = self.path.len();
        for index in 0u64.. {
            let _ = write!(self.path, "[{index}]");
            let element = elements.next_element_seed(&mut *self);
            self.path.truncate(length);
            if element?.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let length = self.path.len();
        while entries.next_key_seed(Key(self))?.is_some() {
            let entry = entries.next_value_seed(&mut *self);
            self.path.truncate(length);
            entry?;
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// A key of an object, which is appended to the path.
struct Key<'w, 'e>(&'w mut Walk<'e>);

impl<'de> DeserializeSeed<'de> for Key<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<(), E> {
        // A path is for people; one that nobody could read is a fault.
        const LONGEST_PATH: usize = 1 << 20;
        self.0.push_key(key);
        if self.0.path.len() > LONGEST_PATH {
            return Err(E::custom("keys of more than 1 MiB"));
        }
        Ok(())
    }
}
