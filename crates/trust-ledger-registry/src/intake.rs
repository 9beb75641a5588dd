//! Intake: finding certificates, CRLs and index entries in whatever people have.
//!
//! [`read`] takes a stream, finds out what it is and hands over one object at a time:
//!
//! | input | what is found |
//! |---|---|
//! | text | PEM blocks anywhere in it, indented or behind a comment sign, with line ends of any kind, also written as `\n`; lines that are JSON |
//! | DER | certificates, CRLs and PKCS#7, one behind the other |
//! | JSON | in every string at any depth: PEM, and base64 of PEM or DER; one document, several, or one per line |
//! | `index.txt` | the entries of `openssl ca` and easy-rsa |
//!
//! Memory is bounded by one object, whatever the length of the input: a block of PEM that no object can be as large as
//! is refused as it grows. Private keys are recognised and skipped; nothing of them gets into an [`Object`]. Objects are *found* here and not read: that bytes are a certificate, says
//! [`Certificate::from_der`](crate::certificate::Certificate::from_der).
//!
//! [`files()`] lists the files of a folder in the order in which they are best read.

mod base64_text;
mod binary;
mod files;
mod index;
mod json;
mod lines;
mod object;
mod pem;
mod position;
mod source;
mod text;

use std::io::{self, Read};
use std::ops::ControlFlow;

pub use files::{FileError, Files, FoundFile, files};
pub use index::{IndexEntry, IndexStatus};
pub use object::{Found, Object, Skipped};
pub use position::{Place, Position, escape_for_terminal};

use position::Origin;
use source::{Form, Source};

/// Largest CRL or PKCS#7 structure that is read, in bytes of DER: 256 MiB.
pub const MAX_OBJECT_BYTES: usize = 256 << 20;

/// Receives what is found; `Break` ends the reading.
type Sink<'a> = dyn FnMut(Found) -> ControlFlow<()> + 'a;

/// Reads a stream to its end and hands everything that is found in it to `sink`, in order.
///
/// `file` is the name for [`Position`]s, `-` for standard input. Input in which nothing at all is recognised, an
/// empty one included, yields exactly one [`Skipped::Nothing`]. What is damaged yields an [`Object::Refused`] with
/// its position and a sentence, and the reading goes on behind it. When `sink` breaks, the rest is not read and the
/// answer is `Ok`.
///
/// # Errors
///
/// Those of `input`. What had been handed over before stays valid. `Interrupted` is retried.
pub fn read(input: impl Read, file: &str, sink: &mut dyn FnMut(Found) -> ControlFlow<()>) -> io::Result<()> {
    let origin = Origin::new(file);
    let mut found_anything = false;
    let mut counting = |found: Found| {
        found_anything = true;
        sink(found)
    };
    let mut source = Source::new(input);
    let flow = match source.form()? {
        Form::Text { json_lines } => text::read(&mut source, &origin, json_lines, &mut counting)?,
        Form::Der => binary::read(&mut source, &origin, &mut counting)?,
        Form::Json => json::read(&mut source, &origin, &mut counting)?,
        Form::Index => index::read(&mut source, &origin, &mut counting)?,
        Form::Utf16 => counting(Found {
            position: origin.at(Place::Byte(0)),
            object: Object::Refused(String::from("text in UTF-16: save it as UTF-8 and import it again")),
        }),
    };
    if !found_anything && flow.is_continue() {
        // The answer does not matter: nothing follows.
        let _ = sink(Found { position: origin.at(Place::Byte(0)), object: Object::Skipped(Skipped::Nothing) });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
