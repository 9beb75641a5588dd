//! Text in which PEM blocks stand, and lines of JSON.

use std::io::{self, Read};
use std::ops::ControlFlow;

use super::lines::Lines;
use super::object::{Found, Object};
use super::pem::PemScanner;
use super::position::{Origin, Place};
use super::source::Source;
use super::{Sink, json};

/// Reads text to its end. A line that is a JSON document (an object; with `json_lines` an array too) is read as one;
/// one that is not is refused when the input is known to be JSON lines, which it is with `json_lines` or after the
/// first such line.
pub(super) fn read<R: Read>(
    source: &mut Source<R>,
    origin: &Origin,
    json_lines: bool,
    sink: &mut Sink<'_>,
) -> io::Result<ControlFlow<()>> {
    read_from(source, origin, 0, json_lines, sink)
}

/// The same for a text of which some lines have been read.
pub(super) fn read_from<R: Read>(
    source: &mut Source<R>,
    origin: &Origin,
    lines_before: u64,
    mut json_lines: bool,
    sink: &mut Sink<'_>,
) -> io::Result<ControlFlow<()>> {
    let mut scanner = PemScanner::default();
    let mut lines = Lines::new(source);
    loop {
        let may_be_json = |text: &[u8]| {
            !scanner.is_open()
                && match text.trim_ascii_start() {
                    [b'{', b'"' | b'}', ..] => true,
                    [b'{' | b'[', ..] => json_lines,
                    _ => false,
                }
        };
        let Some(line) = lines.next(may_be_json)? else { break };
        let number = lines_before + line.number;
        if line.is_whole && may_be_json(line.text) {
            match json::document(line.text) {
                Ok(objects) => {
                    json_lines = true;
                    for (path, object) in objects {
                        let place = Place::Json { path, line: (number > 1).then_some(number) };
                        if sink(Found { position: origin.at(place), object }).is_break() {
                            return Ok(ControlFlow::Break(()));
                        }
                    }
                    continue;
                }
                // Only what begins as JSON does is taken for a damaged line of NDJSON: logs have lines in brackets of other
                // kinds, and PEM in any of them.
                Err(reason) if json_lines && begins_json(line.text) && !is_pem(line.text) => {
                    let position = origin.at(Place::Line(number));
                    if sink(Found { position, object: Object::Refused(reason) }).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                    continue;
                }
                Err(_) => {}
            }
        }
        let flow = scanner.line(line.text, number, &mut |line, object| {
            sink(Found { position: origin.at(Place::Line(line)), object })
        });
        if flow.is_break() {
            return Ok(flow);
        }
    }
    Ok(scanner.finish(&mut |line, object| sink(Found { position: origin.at(Place::Line(line)), object })))
}

fn begins_json(line: &[u8]) -> bool {
    matches!(line.trim_ascii(), [b'{' | b'['] | [b'{', b'"', ..] | [b'[', b'{' | b'[' | b'"', ..])
}

fn is_pem(line: &[u8]) -> bool {
    memchr::memmem::find(line, b"-----BEGIN ").is_some()
}

/// Finds the PEM blocks in a text that is in memory.
pub(super) fn blocks(text: &[u8], emit: &mut dyn FnMut(Object) -> ControlFlow<()>) -> ControlFlow<()> {
    let mut scanner = PemScanner::default();
    for line in text.split(|octet| matches!(octet, b'\n' | b'\r')) {
        scanner.line(line, 0, &mut |_, object| emit(object))?;
    }
    scanner.finish(&mut |_, object| emit(object))
}
