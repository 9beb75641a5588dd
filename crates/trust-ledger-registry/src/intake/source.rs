//! The stream being read: its buffer, and what form its content has.

use std::io::{self, Read};

use super::{binary, index, json};

/// How much is read at once, and how much of the beginning decides the form.
const CHUNK: usize = 128 << 10;

/// What the content is, judged by its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Anything in which PEM may stand. `json_lines`: it begins with JSON, one document per line.
    Text { json_lines: bool },
    /// DER from the first byte on.
    Der,
    /// One or several JSON documents over more than one line.
    Json,
    /// The database of `openssl ca`.
    Index,
    /// Text that would have to be converted.
    Utf16,
}

/// A stream with a window on its next bytes. Counts bytes and lines.
pub(super) struct Source<R> {
    input: R,
    buffer: Vec<u8>,
    start: usize,
    at_end: bool,
    /// Bytes before the window.
    offset: u64,
}

impl<R: Read> Source<R> {
    pub(super) fn new(input: R) -> Self {
        Source { input, buffer: Vec::new(), start: 0, at_end: false, offset: 0 }
    }

    /// Finds out what the content is. A byte order mark of UTF-8 is read over.
    pub(super) fn form(&mut self) -> io::Result<Form> {
        while !self.at_end && self.window().len() < CHUNK {
            self.fill()?;
        }
        if self.window().starts_with(b"\xef\xbb\xbf") {
            self.consume(3);
        }
        let (head, is_all) = (self.window(), self.at_end);
        if is_utf_16(head) {
            return Ok(Form::Utf16);
        }
        if binary::looks_like_der(head, is_all) {
            return Ok(Form::Der);
        }
        if index::looks_like_index(head) {
            return Ok(Form::Index);
        }
        Ok(json::form(head, is_all).unwrap_or(Form::Text { json_lines: false }))
    }

    /// What has been read and not consumed.
    pub(super) fn window(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Position of the window's first byte in the input.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether nothing follows the window.
    pub(super) fn at_end(&self) -> bool {
        self.at_end
    }

    /// Gives up the first bytes of the window.
    pub(super) fn consume(&mut self, count: usize) {
        self.start += count;
        self.offset += count as u64;
    }

    /// Reads on until the window holds so many bytes or the input ends. The buffer grows with what is there, not
    /// with what was asked for.
    pub(super) fn require(&mut self, count: usize) -> io::Result<()> {
        while self.window().len() < count && !self.at_end {
            self.fill()?;
        }
        Ok(())
    }

    /// Reads one more chunk into the window.
    pub(super) fn fill(&mut self) -> io::Result<()> {
        if self.start > 0 && self.start >= self.buffer.len() / 2 {
            self.buffer.copy_within(self.start.., 0);
            self.buffer.truncate(self.buffer.len() - self.start);
            self.start = 0;
            // What one large object needed is given back.
            self.buffer.shrink_to(4 * CHUNK);
        }
        let length = self.buffer.len();
        self.buffer.resize(length + CHUNK, 0);
        let read = loop {
            match self.input.read(&mut self.buffer[length..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(length + *read.as_ref().unwrap_or(&0));
        if read? == 0 {
            self.at_end = true;
        }
        Ok(())
    }
}

/// A byte order mark of UTF-16, or ASCII in every other byte.
fn is_utf_16(head: &[u8]) -> bool {
    let is_text = |octet: u8| octet.is_ascii_graphic() || octet.is_ascii_whitespace();
    match head {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => head.len().is_multiple_of(2) || head.len() > 1024,
        [a, 0, b, 0, c, 0, d, 0, ..] | [0, a, 0, b, 0, c, 0, d, ..] => [*a, *b, *c, *d].into_iter().all(is_text),
        _ => false,
    }
}
