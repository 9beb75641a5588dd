//! Section `db` of a TOML file.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::file::Fault;
use super::value::{Entry, Value};

/// Section `db`, if there is one.
pub(super) fn section(text: &str) -> Result<Option<Entry>, Fault> {
    // At most 80 levels deep, which the parser sees to.
    let document = DeTable::parse(text).map_err(|error| {
        let span = error.span().unwrap_or_default();
        // The parser's own words hold nothing of the text. What is repeated is a key's name, and may be shown.
        let name = text.get(span.clone()).filter(|_| error.message().starts_with("duplicate key"));
        Fault {
            at: span.start,
            name: name.map(str::to_owned),
            reason: error.message().lines().collect::<Vec<_>>().join("; "),
        }
    })?;
    Ok(entries(document.into_inner(), |name| name == "db").pop())
}

/// The entries whose names are wanted, in the file's order.
fn entries(table: DeTable<'_>, wanted: impl Fn(&str) -> bool) -> Vec<Entry> {
    let table = table.into_iter().filter(|(name, _)| wanted(name.get_ref()));
    let mut entries: Vec<Entry> = table
        .map(|(name, value)| Entry {
            name_at: name.span().start,
            name: name.into_inner().into_owned(),
            value_at: value.span().start,
            value: value_of(value),
        })
        .collect();
    entries.sort_by_key(|entry| entry.name_at);
    entries
}

fn value_of(value: Spanned<DeValue<'_>>) -> Value {
    match value.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Boolean(flag) => Value::Flag(flag),
        DeValue::Integer(number) => match number.as_str().strip_prefix('-') {
            Some(digits) => Value::Number(-digits.parse().unwrap_or(f64::INFINITY)),
            None => Value::whole(number.as_str(), number.radix()),
        },
        DeValue::Float(number) => Value::Number(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Array(_) => Value::Other("a list"),
        DeValue::Table(table) => Value::Section(entries(table, |_| true)),
    }
}
