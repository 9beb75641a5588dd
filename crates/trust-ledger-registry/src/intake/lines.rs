//! The lines of a text, with bounded memory.

use std::io::{self, Read};

use super::source::Source;

/// Longest piece of a line that is handed out at once.
const PIECE: usize = 64 << 10;
/// Longest line that is handed out whole when the caller asks for it.
const WHOLE: usize = 64 << 20;
/// How much of a line `wants_whole` is shown.
const START: usize = 64;
/// Longest PEM marker that is kept in one piece.
const MARKER: usize = 80;

/// A line, or a piece of one that is very long. Its end is not part of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line<'a> {
    /// The text.
    pub(super) text: &'a [u8],
    /// Its number, the first being 1.
    pub(super) number: u64,
    /// Whether it is a line from its start to its end.
    pub(super) is_whole: bool,
}

/// Reads lines from a source. LF, CRLF and single CR end a line. Of several empty lines in a row
/// some are left out, and counted.
pub(super) struct Lines<'s, R> {
    source: &'s mut Source<R>,
    number: u64,
    /// To be given up before the next line is read.
    used: usize,
    /// Whether the piece before ended its line.
    at_line_start: bool,
}

impl<'s, R: Read> Lines<'s, R> {
    pub(super) fn new(source: &'s mut Source<R>) -> Self {
        Lines { source, number: 0, used: 0, at_line_start: true }
    }

    /// The next line. `wants_whole` is asked with its first bytes whether it may be up to 64 MiB long; other lines
    /// come in pieces of at most 64 KiB, which never cut a PEM marker or an escape in two.
    pub(super) fn next(&mut self, wants_whole: impl Fn(&[u8]) -> bool) -> io::Result<Option<Line<'_>>> {
        self.source.consume(std::mem::take(&mut self.used));
        let begins_line = self.at_line_start;
        if begins_line {
            self.pass_over_empty_lines();
        }
        let mut searched = 0;
        let mut limit = None;
        let (length, end) = loop {
            let window = self.source.window();
            let limit = match limit {
                Some(limit) => limit,
                None if window.len() < 16 && !self.source.at_end() => PIECE,
                None => {
                    let start = &window[..window.len().min(START)];
                    *limit.insert(if begins_line && wants_whole(start) { WHOLE } else { PIECE })
                }
            };
            let area = &window[..window.len().min(limit)];
            if let Some(position) = memchr::memchr2(b'\n', b'\r', &area[searched..]) {
                let position = searched + position;
                let is_crlf = area[position] == b'\r' && window.get(position + 1) == Some(&b'\n');
                // A CR at the end of the window may be half of a CRLF.
                if area[position] == b'\r' && position + 1 == window.len() && !self.source.at_end() {
                    searched = position;
                    self.source.fill()?;
                    continue;
                }
                break (position, 1 + usize::from(is_crlf));
            }
            searched = area.len();
            if area.len() == limit {
                break (piece_length(area), 0);
            }
            if self.source.at_end() {
                break (area.len(), 0);
            }
            self.source.fill()?;
        };
        if length + end == 0 {
            return Ok(None);
        }
        if begins_line {
            self.number += 1;
        }
        self.used = length + end;
        self.at_line_start = end > 0;
        let is_last = end == 0 && self.source.at_end() && self.source.window().len() == length;
        Ok(Some(Line {
            text: &self.source.window()[..length],
            number: self.number,
            is_whole: begins_line && (end > 0 || is_last),
        }))
    }
}

impl<R: Read> Lines<'_, R> {
    /// A run of empty lines becomes one of them: nobody wants them singly, and a file can be full of them.
    fn pass_over_empty_lines(&mut self) {
        let run = self.source.window().iter().take_while(|octet| **octet == b'\n').count();
        if run > 1 {
            self.source.consume(run - 1);
            self.number += run as u64 - 1;
        }
    }
}

/// Where a piece of a long line ends: before a PEM marker that is not complete yet, and not behind a backslash.
fn piece_length(area: &[u8]) -> usize {
    const STARTS: [&[u8]; 2] = [b"-----BEGIN ", b"-----END "];
    let mut from = area.len().saturating_sub(MARKER);
    let last_start = |start: &&[u8]| Some((memchr::memmem::rfind(&area[from..], start)?, start.len()));
    if let Some((position, length)) = STARTS.iter().filter_map(last_start).max() {
        let label = from + position + length;
        match memchr::memmem::find(&area[label..], b"-----") {
            None => return from + position,
            // These dashes end the marker and begin no other.
            Some(dashes) => from = label + dashes + 5,
        }
    }
    let begun = |start: &&[u8]| (1..start.len()).rev().find(|length| area[from..].ends_with(&start[..*length]));
    match STARTS.iter().filter_map(begun).max() {
        Some(length) => area.len() - length,
        None if area.last() == Some(&b'\\') => area.len() - 1,
        None => area.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8]) -> Vec<(String, u64, bool)> {
        let mut source = Source::new(text);
        let mut lines = Lines::new(&mut source);
        let mut found = Vec::new();
        while let Some(line) = lines.next(|_| false).unwrap() {
            found.push((String::from_utf8_lossy(line.text).into_owned(), line.number, line.is_whole));
        }
        found
    }

    #[test]
    fn every_kind_of_line_end_ends_a_line() {
        let whole = |text: &str, number| (text.to_owned(), number, true);
        assert_eq!(
            lines(b"a\nb\r\n\r\nc\rd"),
            [whole("a", 1), whole("b", 2), whole("", 3), whole("c", 4), whole("d", 5)]
        );
        assert_eq!(lines(b""), []);
        assert_eq!(lines(b"\r"), [whole("", 1)]);
    }

    #[test]
    fn empty_lines_that_are_passed_over_are_counted() {
        let found = lines(b"a\n\n\n\n\nb\n");
        assert_eq!(found.first().unwrap(), &(String::from("a"), 1, true));
        assert_eq!(found.last().unwrap(), &(String::from("b"), 6, true));
        assert!(found.len() < 6);
    }

    #[test]
    fn a_long_line_comes_in_pieces_that_cut_no_marker() {
        for shift in 0..120 {
            let text = format!("{}-----BEGIN CERTIFICATE-----{}", "x".repeat(PIECE - shift), "y".repeat(PIECE));
            let pieces = lines(text.as_bytes());
            assert!(pieces.len() > 1);
            assert!(pieces.iter().all(|(_, number, is_whole)| *number == 1 && !is_whole));
            assert_eq!(pieces.iter().filter(|(piece, ..)| piece.contains("-----BEGIN CERTIFICATE-----")).count(), 1);
            assert_eq!(pieces.iter().map(|(piece, ..)| piece.as_str()).collect::<String>(), text);
        }
    }

    #[test]
    fn a_line_of_dashes_or_of_backslashes_ends() {
        for unit in ["-", "\\"] {
            let text = unit.repeat(3 * PIECE + 7);
            assert_eq!(lines(text.as_bytes()).iter().map(|(piece, ..)| piece.len()).sum::<usize>(), text.len());
        }
    }

    #[test]
    fn a_line_is_whole_when_it_is_asked_for() {
        let text = format!("{{{}\nrest", "x".repeat(5 * PIECE));
        let mut source = Source::new(text.as_bytes());
        let mut lines = Lines::new(&mut source);
        let line = lines.next(|start| start.starts_with(b"{")).unwrap().unwrap();
        assert!(line.is_whole && line.text.len() == 5 * PIECE + 1);
        assert_eq!(lines.next(|_| false).unwrap().unwrap().number, 2);
    }
}
