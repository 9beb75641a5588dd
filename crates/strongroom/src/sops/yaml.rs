//! YAML, in document order. Comments are left out: they are not part of the MAC.
//!
//! Plain scalars mean what they mean to the Go program's YAML library (go-yaml 3), because they go into the MAC in that
//! form: YAML 1.2's types, and beside them `_` in numbers, octal numbers with a leading 0, and timestamps.

use granit_parser::{Event, Parser, ScalarStyle, StrInput};
use time::format_description::well_known::Rfc3339;
use time::{Date, Month, PrimitiveDateTime, Time, UtcOffset};

use super::document::{MAX_DEPTH, Map, Node, unique};

/// The documents' maps.
pub(super) fn read(text: &str) -> Result<Vec<Map>, String> {
    let options = granit_parser::options! {
        // Another crate in the same build may have switched comments on.
        emit_comments: false,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    let mut reader = Reader { events: Parser::new_from_str_with_options(text, options), line: 1 };
    reader.documents().map_err(|reason| match reason {
        Fault::Yaml(reason) => format!("cannot be read as YAML: line {}: {reason}", reader.line),
        Fault::Other => "is not a SOPS file: expected a map".to_owned(),
    })
}

struct Reader<'t> {
    events: Parser<'t, StrInput<'t>>,
    /// Of the event read last.
    line: usize,
}

enum Fault {
    Yaml(String),
    /// YAML, and no map.
    Other,
}

impl From<String> for Fault {
    fn from(reason: String) -> Self {
        Fault::Yaml(reason)
    }
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Result<Event<'t>, Fault> {
        match self.events.next() {
            Some(Ok((event, span))) => {
                self.line = span.start.line();
                Ok(event)
            }
            Some(Err(error)) => {
                self.line = error.marker().line();
                Err(Fault::Yaml(error.kind().to_string()))
            }
            None => Ok(Event::StreamEnd),
        }
    }

    fn documents(&mut self) -> Result<Vec<Map>, Fault> {
        let mut documents = Vec::new();
        loop {
            match self.next()? {
                Event::StreamEnd => return Ok(documents),
                Event::MappingStart(..) => documents.push(self.map(1)?),
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                // A document of nothing but comments.
                Event::Scalar(text, ScalarStyle::Plain, _, None) if plain(&text) == Node::Null => {
                    documents.push(Map::new());
                }
                _ => return Err(Fault::Other),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Map, Fault> {
        let mut map = Map::new();
        loop {
            let key = match self.next()? {
                Event::MappingEnd => break,
                Event::Scalar(text, ScalarStyle::Plain, _, None) => match plain(&text) {
                    Node::Text(key) => key,
                    _ => return Err("a key is no text; put it in quotes".to_owned().into()),
                },
                Event::Scalar(text, _, _, None) => text.into_owned(),
                _ => return Err("a key is no text".to_owned().into()),
            };
            let value = self.next()?;
            map.push((key, self.node(value, depth)?));
        }
        unique(&map)?;
        Ok(map)
    }

    /// The value that begins with this event. No deeper than the parser allows.
    fn node(&mut self, event: Event<'t>, depth: usize) -> Result<Node, Fault> {
        if depth > MAX_DEPTH {
            return Err(format!("nested more than {MAX_DEPTH} deep").into());
        }
        let is_text = match event.tag() {
            None => false,
            Some(tag) if tag.is_yaml_core_schema_tag("str") => true,
            Some(_) => return Err("a tag (!) is not supported; SOPS writes none".to_owned().into()),
        };
        Ok(match event {
            Event::Scalar(text, ScalarStyle::Plain, ..) if !is_text => plain(&text),
            Event::Scalar(text, ..) => Node::Text(text.into_owned()),
            Event::MappingStart(..) => Node::Map(self.map(depth + 1)?),
            Event::SequenceStart(..) => {
                let mut list = Vec::new();
                loop {
                    match self.next()? {
                        Event::SequenceEnd => break Node::List(list),
                        item => list.push(self.node(item, depth + 1)?),
                    }
                }
            }
            Event::Alias(_) => return Err("an alias (*) is not followed; SOPS writes none".to_owned().into()),
            _ => return Err("expected a value".to_owned().into()),
        })
    }
}

/// What a plain scalar means (go-yaml 3, `resolve.go`).
fn plain(text: &str) -> Node {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Node::Null,
        "true" | "True" | "TRUE" => return Node::Bool(true),
        "false" | "False" | "FALSE" => return Node::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Node::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Node::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Node::Float(f64::NEG_INFINITY),
        _ => {}
    }
    if !text.starts_with(|first: char| matches!(first, '+' | '-' | '.' | '0'..='9')) {
        return Node::Text(text.to_owned());
    }
    if let Some(time) = timestamp(text) {
        return Node::Time(time);
    }
    let digits = text.replace('_', "");
    if let Some(int) = int(&digits) {
        return Node::Int(int);
    }
    match is_float(&digits).then(|| digits.parse()) {
        Some(Ok(float)) => Node::Float(float),
        _ => Node::Text(text.to_owned()),
    }
}

/// As Go's `strconv.ParseInt` with base 0: a prefix says the base, and a leading 0 means octal.
fn int(digits: &str) -> Option<i64> {
    let (sign, digits) = match digits.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, digits.strip_prefix('+').unwrap_or(digits)),
    };
    let (base, digits) = match digits.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &digits[2..]),
        [b'0', b'b' | b'B', ..] => (2, &digits[2..]),
        [b'0', b'o' | b'O', ..] => (8, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits),
    };
    if !digits.starts_with(|first: char| first.is_ascii_alphanumeric()) {
        return None;
    }
    i128::from_str_radix(digits, base).ok().and_then(|int| i64::try_from(sign * int).ok())
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (text, None),
    };
    let digits = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    digits(whole)
        && digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent.is_none_or(|exponent| !exponent.is_empty() && digits(exponent))
}

/// A date, or a date and a time, as go-yaml takes them, in the form that Go writes.
fn timestamp(text: &str) -> Option<String> {
    let number = |text: &str, lengths: std::ops::RangeInclusive<usize>| -> Option<u32> {
        (lengths.contains(&text.len()) && text.bytes().all(|digit| digit.is_ascii_digit()))
            .then(|| text.parse().ok())?
    };
    let (date, clock) = match text.find(['T', 't', ' ']) {
        Some(at) => (&text[..at], Some((&text[at + 1..], text.as_bytes()[at] == b' '))),
        None => (text, None),
    };
    let mut parts = date.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let month = Month::try_from(u8::try_from(number(month, 1..=2)?).ok()?).ok()?;
    let day = u8::try_from(number(day, 1..=2)?).ok()?;
    let date = Date::from_calendar_date(i32::try_from(number(year, 4..=4)?).ok()?, month, day).ok()?;
    let Some((clock, after_space)) = clock else { return rfc3339(date, Time::MIDNIGHT, UtcOffset::UTC) };
    let (clock, offset) = match clock.find(['Z', '+', '-']) {
        // Only the forms with T carry an offset, and they must.
        Some(at) if !after_space => {
            let offset = match &clock[at..] {
                "Z" => UtcOffset::UTC,
                text => {
                    let (hours, minutes) = text[1..].split_once(':')?;
                    let sign = if text.starts_with('-') { -1 } else { 1 };
                    let part = |text| Some(sign * i8::try_from(number(text, 2..=2)?).ok()?);
                    UtcOffset::from_hms(part(hours)?, part(minutes)?, 0).ok()?
                }
            };
            (&clock[..at], offset)
        }
        None if after_space => (clock, UtcOffset::UTC),
        _ => return None,
    };
    let (clock, nanos) = match clock.split_once('.') {
        Some((clock, fraction)) => {
            number(fraction, 1..=9)?;
            (clock, format!("{fraction:0<9}").parse().ok()?)
        }
        None => (clock, 0),
    };
    let mut parts = clock.split(':').map(|part| u8::try_from(number(part, 1..=2)?).ok());
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() {
        return None;
    }
    rfc3339(date, Time::from_hms_nano(hour, minute, second, nanos).ok()?, offset)
}

fn rfc3339(date: Date, time: Time, offset: UtcOffset) -> Option<String> {
    PrimitiveDateTime::new(date, time).assume_offset(offset).format(&Rfc3339).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_mean_what_they_mean_to_go_yaml() {
        let text = |text: &str| Node::Text(text.to_owned());
        let time = |text: &str| Node::Time(text.to_owned());
        for (plain_text, node) in [
            ("", Node::Null),
            ("~", Node::Null),
            ("True", Node::Bool(true)),
            ("yes", text("yes")),
            ("on", text("on")),
            ("42", Node::Int(42)),
            ("-1_000", Node::Int(-1000)),
            ("0x1F", Node::Int(31)),
            ("0o17", Node::Int(15)),
            ("017", Node::Int(15)),
            ("-0b11", Node::Int(-3)),
            ("-9223372036854775808", Node::Int(i64::MIN)),
            ("089", Node::Float(89.0)),
            ("1e3", Node::Float(1000.0)),
            (".5", Node::Float(0.5)),
            ("1.", Node::Float(1.0)),
            ("-.inf", Node::Float(f64::NEG_INFINITY)),
            ("1.2.3", text("1.2.3")),
            ("+-1", text("+-1")),
            (".", text(".")),
            ("-", text("-")),
            ("0x", text("0x")),
            ("2001-12-14", time("2001-12-14T00:00:00Z")),
            ("2001-12-14T21:59:43.10-05:00", time("2001-12-14T21:59:43.1-05:00")),
            ("2001-12-14 21:59:43", time("2001-12-14T21:59:43Z")),
            ("2001-12-14 21:59:43Z", text("2001-12-14 21:59:43Z")),
            ("2001-13-14", text("2001-13-14")),
            ("2001-12", text("2001-12")),
        ] {
            assert_eq!(plain(plain_text), node, "{plain_text}");
        }
    }

    #[test]
    fn documents_maps_lists_quotes_and_blocks_are_read_in_order() {
        let read = read("b: 'x'\na: [1, {c: |\n  y\n  }]\n---\n# nothing\n---\nd: \"1\"\n# end\n");
        assert!(read.is_err(), "a block scalar within flow style");
        let read = super::read("b: 'x'\na:\n  - 1\n  - c: |\n      y\n---\n# nothing\n---\nd: \"1\"\n# end\n").unwrap();
        let text = |text: &str| Node::Text(text.to_owned());
        let inner = Node::Map(vec![("c".to_owned(), text("y\n"))]);
        assert_eq!(read[0], [("b".to_owned(), text("x")), ("a".to_owned(), Node::List(vec![Node::Int(1), inner]))]);
        assert_eq!(read[1], []);
        assert_eq!(read[2], [("d".to_owned(), text("1"))]);
    }

    #[test]
    fn what_is_no_map_of_values_is_refused_with_its_line_and_without_content() {
        let deep = format!("a: {}canary{}", "[".repeat(300), "]".repeat(300));
        let blocks: String = (0..300).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
        for (text, expected) in [
            ("a: 1\nb: 2\na: canary", "key a is given twice"),
            ("a: &x canary\nb: *x", "line 2: an alias (*) is not followed"),
            ("a: !custom canary", "line 1: a tag (!) is not supported"),
            ("1: canary", "a key is no text"),
            ("? [a]\n: canary", "a key is no text"),
            ("a: canary\n b: c", "line 2"),
            ("a: 'canary", "line 1"),
            ("- canary", "expected a map"),
            ("canary", "expected a map"),
            (&deep, "line 1"),
            (&blocks, "line"),
        ] {
            let reason = read(text).unwrap_err();
            assert!(reason.contains(expected) && !reason.contains("canary"), "{text:.40}: {reason}");
        }
    }
}
