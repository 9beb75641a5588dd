//! Section `db` of a YAML file.
//!
//! The parser's events are read as they come: an alias is never followed, so that no file grows when it is read.

use granit_parser::{Event, Parser, ScalarStyle, StrInput};

use super::file::Fault;
use super::value::{Entry, Value};

/// Section `db`, if there is one.
pub(super) fn section(text: &str) -> Result<Option<Entry>, Fault> {
    // Another crate in the same build may have switched comments on.
    let options = granit_parser::options! { emit_comments: false };
    let mut reader = Reader { events: Parser::new_from_str_with_options(text, options), end: text.len() };
    let mut section = None;
    let mut documents = 0;
    loop {
        let (event, at) = reader.next()?;
        match event {
            Event::StreamEnd => return Ok(section),
            Event::DocumentStart(..) if documents > 0 => {
                return Err(Fault { at, name: None, reason: "expected one document, found a second one".to_owned() });
            }
            Event::DocumentStart(..) => documents += 1,
            Event::MappingStart(..) => section = reader.top()?,
            Event::StreamStart | Event::DocumentEnd => {}
            // A file of nothing but comments.
            Event::Scalar(text, ScalarStyle::Plain, ..) if matches!(Value::plain(&text), Value::Nothing) => {}
            _ => return Err(Fault { at, name: None, reason: "expected sections, such as db:".to_owned() }),
        }
    }
}

struct Reader<'t> {
    events: Parser<'t, StrInput<'t>>,
    end: usize,
}

impl<'t> Reader<'t> {
    /// The next event and the byte where it begins.
    fn next(&mut self) -> Result<(Event<'t>, usize), Fault> {
        match self.events.next() {
            Some(Ok((event, span))) => Ok((event, span.start.byte_offset().unwrap_or(self.end))),
            Some(Err(error)) => Err(Fault {
                at: error.marker().byte_offset().unwrap_or(self.end),
                name: None,
                reason: error.kind().to_string(),
            }),
            None => Ok((Event::StreamEnd, self.end)),
        }
    }

    /// The rest of the file's mapping, of which section `db` is kept.
    fn top(&mut self) -> Result<Option<Entry>, Fault> {
        let mut section: Option<Entry> = None;
        loop {
            let (event, name_at) = self.next()?;
            match event {
                Event::MappingEnd => return Ok(section),
                Event::Scalar(name, ..) if name == "db" => {
                    if section.is_some() {
                        let reason = "it is given twice".to_owned();
                        return Err(Fault { at: name_at, name: None, reason });
                    }
                    section = Some(self.entry(name.into_owned(), name_at)?);
                }
                // Silence would let it pass for the program's own.
                Event::Scalar(name, ..) if name.starts_with("db.") => {
                    let reason = "a name with dots is one name in YAML; expected section db with the rest inside";
                    return Err(Fault { at: name_at, name: Some(name.into_owned()), reason: reason.to_owned() });
                }
                key => {
                    self.skip(&key)?;
                    let (value, _) = self.next()?;
                    self.skip(&value)?;
                }
            }
        }
    }

    /// The value that follows a key.
    fn entry(&mut self, name: String, name_at: usize) -> Result<Entry, Fault> {
        let (event, value_at) = self.next()?;
        let value = match event {
            event if event.tag().is_some() => {
                self.skip(&event)?;
                Value::Other("a value with a tag (!)")
            }
            Event::Scalar(text, ScalarStyle::Plain, ..) => Value::plain(&text),
            Event::Scalar(text, ..) => Value::Text(text.into_owned()),
            Event::Alias(_) => Value::Other("an alias (*), which is not followed here; write the value itself"),
            // As deep as the file is nested, which the parser allows 510 levels of.
            Event::MappingStart(..) => Value::Section(self.entries()?),
            event => {
                self.skip(&event)?;
                Value::Other("a list")
            }
        };
        Ok(Entry { name, name_at, value, value_at })
    }

    fn entries(&mut self) -> Result<Vec<Entry>, Fault> {
        let mut entries = Vec::new();
        loop {
            let (event, at) = self.next()?;
            match event {
                Event::MappingEnd => return Ok(entries),
                Event::Scalar(name, ..) => entries.push(self.entry(name.into_owned(), at)?),
                _ => return Err(Fault { at, name: None, reason: "expected the name of a setting".to_owned() }),
            }
        }
    }

    /// Leaves out the rest of the node that begins with this event.
    fn skip(&mut self, first: &Event<'_>) -> Result<(), Fault> {
        let depth = |event: &Event<'_>| match event {
            Event::MappingStart(..) | Event::SequenceStart(..) => 1,
            Event::MappingEnd | Event::SequenceEnd => -1,
            _ => 0,
        };
        let mut open = depth(first);
        while open > 0 {
            let (event, _) = self.next()?;
            // Cannot be while a node is open; a parser that is wrong about it must not be waited for.
            if matches!(event, Event::StreamEnd) {
                break;
            }
            open += depth(&event);
        }
        Ok(())
    }
}
