//! Certificates in tables and CSV.

use std::io;

use csv::{Terminator, Writer, WriterBuilder};
use serde::Serialize;
use time::OffsetDateTime;

use trust_ledger_registry::{Record, Status};

use super::escape::for_terminal;
use super::table::{Cell, Column, Table, Tone};
use super::time::{date, distance, rfc3339};

/// The table of `list`.
pub(crate) fn list_table(records: &[Record], now: OffsetDateTime) -> Table {
    let mut table = Table::new([
        Column::new("NAME").cut_to(16, 1),
        Column::new("SERIAL").cut_to(10, 0).optional(1),
        Column::new("ISSUER").cut_to(14, 1).optional(2),
        Column::new("EXPIRES"),
        Column::new(""),
        Column::new("STATUS"),
        Column::new("CATEGORY").optional(0),
    ]);
    for record in records {
        table.row([
            Cell::from(record.display_name()),
            Cell::from(&record.serial),
            Cell::from(common_name_of(&record.issuer)),
            Cell::from(date(record.not_after)),
            Cell::from(near(record.not_after, now)),
            Cell::toned(record.status.as_str(), tone(record.status)),
            Cell::from(record.category.as_str()),
        ]);
    }
    table
}

/// How far away a moment is when that is worth the room: within a hundred days. Beyond, the date says enough.
fn near(moment: OffsetDateTime, now: OffsetDateTime) -> String {
    let is_near = (moment - now).whole_days().unsigned_abs() < 100;
    if is_near { distance(moment, now) } else { String::new() }
}

/// The certificates with what tells them apart, for messages that ask which is meant.
pub(crate) fn certificates_table(records: &[&Record]) -> String {
    let mut table = Table::new([
        Column::new("ID"),
        Column::new("SERIAL"),
        Column::new("NAME"),
        Column::new("ISSUER"),
        Column::new("EXPIRES"),
        Column::new("STATUS"),
    ]);
    for record in records {
        table.row([
            Cell::from(record.id.to_string()),
            Cell::from(&record.serial),
            Cell::from(record.display_name()),
            Cell::from(common_name_of(&record.issuer)),
            Cell::from(date(record.not_after)),
            Cell::from(record.status.as_str()),
        ]);
    }
    table.render(None, false)
}

/// The colour of a status.
pub(crate) fn tone(status: Status) -> Tone {
    match status {
        Status::Valid => Tone::Good,
        Status::OnHold | Status::NotYetValid => Tone::Warning,
        Status::Revoked => Tone::Bad,
        Status::Expired | Status::Unknown => Tone::Faint,
    }
}

/// The common name within a distinguished name (RFC 4514), without its escapes; else its first attribute's value; else
/// all of it.
pub(crate) fn common_name_of(name: &str) -> String {
    let attributes = attributes_of(name);
    let value =
        |(kind, value): &(String, String)| (!value.trim().is_empty() && !kind.is_empty()).then(|| value.clone());
    let common_name = attributes.iter().find(|(kind, _)| kind == "CN").and_then(value);
    common_name.or_else(|| attributes.first().and_then(value)).unwrap_or_else(|| name.to_owned())
}

/// The attributes of a distinguished name, in its order.
fn attributes_of(name: &str) -> Vec<(String, String)> {
    let mut attributes = Vec::new();
    let mut kind: Option<String> = None;
    // Bytes, since `\C3\A9` is one character.
    let mut current: Vec<u8> = Vec::new();
    let mut bytes = name.bytes().peekable();
    let text = |bytes: &mut Vec<u8>| String::from_utf8_lossy(&std::mem::take(bytes)).into_owned();
    while let Some(byte) = bytes.next() {
        match (byte, &kind) {
            (b'\\', _) => {
                let Some(first) = bytes.next() else { break };
                let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                match (digit(first), bytes.peek().copied().and_then(digit)) {
                    (Some(high), Some(low)) => {
                        bytes.next();
                        current.push(high * 16 + low);
                    }
                    _ => current.push(first),
                }
            }
            (b'=', None) => kind = Some(text(&mut current)),
            (b',' | b'+', Some(_)) => attributes.push((kind.take().unwrap_or_default(), text(&mut current))),
            _ => current.push(byte),
        }
    }
    if let Some(kind) = kind {
        attributes.push((kind, text(&mut current)));
    }
    attributes
}

/// CSV with a title line, RFC 4180; harmful characters are escaped as in a terminal.
pub(crate) fn csv_writer<W: io::Write>(out: W, titles: &[&str]) -> io::Result<Writer<W>> {
    let mut writer = WriterBuilder::new().terminator(Terminator::Any(b'\n')).from_writer(out);
    writer.write_record(titles).map_err(csv_failed)?;
    Ok(writer)
}

/// The I/O error within, so that a closed pipe is seen as one.
pub(crate) fn csv_failed(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        // Every row has as many fields as the titles, which is all that can be wrong beside.
        other => io::Error::other(format!("{other:?}")),
    }
}

/// The titles of certificates in CSV: the names of the JSON fields.
pub(crate) const CSV_TITLES: [&str; 26] = [
    "id",
    "serial",
    "serial_decimal",
    "common_name",
    "subject",
    "issuer",
    "issuer_id",
    "names",
    "not_before",
    "not_after",
    "status",
    "category",
    "key_algorithm",
    "key_bits",
    "signature_algorithm",
    "is_ca",
    "fingerprint_sha256",
    "revoked_at",
    "revocation_reason",
    "source",
    "owner",
    "tags",
    "note",
    "replaced_by",
    "findings",
    "revocation_checked",
];

/// Text from anywhere as a CSV field: escaped as for a terminal, and with an apostrophe before what a spreadsheet would
/// run as a formula. Tabs and carriage returns, which could hide one, are escaped. Not for serials, whose minus is one.
pub(crate) fn csv_text(text: &str) -> String {
    let text = for_terminal(text);
    if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text.into_owned() }
}

/// The fields of a certificate in CSV. Several values in one field stand with a blank between them.
pub(crate) fn csv_fields(record: &Record) -> Vec<String> {
    let or_empty = |text: &Option<String>| csv_text(text.as_deref().unwrap_or_default());
    let joined = |values: Vec<String>| csv_text(&values.join(" "));
    vec![
        record.id.to_string(),
        record.serial.clone(),
        record.serial_decimal.clone(),
        or_empty(&record.common_name),
        csv_text(&record.subject),
        csv_text(&record.issuer),
        record.issuer_id.to_string(),
        joined(record.names.iter().map(|name| name.value.clone()).collect()),
        rfc3339(record.not_before),
        rfc3339(record.not_after),
        record.status.to_string(),
        record.category.to_string(),
        csv_text(&record.key_algorithm),
        record.key_bits.map(|bits| bits.to_string()).unwrap_or_default(),
        csv_text(&record.signature_algorithm),
        record.is_ca.to_string(),
        record.fingerprint_sha256.clone(),
        record.revoked_at.map(rfc3339).unwrap_or_default(),
        record.revocation_reason.map(|reason| reason.to_string()).unwrap_or_default(),
        or_empty(&record.source),
        or_empty(&record.owner),
        joined(record.tags.clone()),
        or_empty(&record.note),
        record.replaced_by.map(|id| id.to_string()).unwrap_or_default(),
        joined(record.findings.iter().map(ToString::to_string).collect()),
        record.revocation_checked.map(|checked| checked.to_string()).unwrap_or_default(),
    ]
}

/// A certificate's record in JSON, with what a command adds to it.
#[derive(Serialize)]
pub(crate) struct WithMore<'a, T: Serialize> {
    #[serde(flatten)]
    pub(crate) record: &'a Record,
    #[serde(flatten)]
    pub(crate) more: T,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_spreadsheet_would_run_is_only_text() {
        for (text, expected) in [
            ("=HYPERLINK(\"x\")", "'=HYPERLINK(\"x\")"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\t=1", "\\u{9}=1"),
            ("\r=1", "\\u{d}=1"),
            ("a=1", "a=1"),
            ("", ""),
        ] {
            assert_eq!(csv_text(text), expected);
        }
    }

    #[test]
    fn an_issuer_is_shown_by_its_common_name_without_escapes() {
        for (name, expected) in [
            ("CN=Example CA,O=Example,C=DE", "Example CA"),
            ("O=Example\\, Inc.,C=DE", "Example, Inc."),
            ("C=DE,CN=a\\+b\\=c", "a+b=c"),
            ("CN=Andr\\C3\\A9", "André"),
            ("CN=\\ x,OU=y", " x"),
            ("OU=y+CN=z", "z"),
            ("CN=,O=Example", ""),
            ("", ""),
            ("odd", "odd"),
        ] {
            let expected = if name == "CN=,O=Example" { name } else { expected };
            assert_eq!(common_name_of(name), expected, "{name}");
        }
    }
}
