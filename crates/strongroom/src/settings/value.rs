//! A value as a file or a variable gives it, and what a key makes of it.
//!
//! A reason names the kind of what was found, never its content: it may be a key or a password in the wrong place.

use std::num::FpCategory;
use std::time::Duration;

/// A value of a file or an environment variable.
#[derive(Debug)]
pub(super) enum Value {
    /// Text that a file marks as such.
    Text(String),
    /// A variable's text, which the key decides what to take for.
    Untyped(String),
    /// True or false.
    Flag(bool),
    /// A whole number. `u64::MAX` stands for every larger one as well: it is outside of every range.
    Whole(u64),
    /// A number with a fraction, a negative one, infinity or NaN.
    Number(f64),
    /// YAML's null: a key with nothing behind it.
    Nothing,
    /// Keys and their values, in the file's order.
    Section(Vec<Entry>),
    /// Something that no setting is, such as `a list`.
    Other(&'static str),
}

/// A key of a file with its value, and where both begin, in bytes.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) name_at: usize,
    pub(super) value: Value,
    pub(super) value_at: usize,
}

impl Value {
    /// Takes a text without quotes for what YAML's core schema says it is (YAML 1.2.2, section 10.3.2).
    pub(super) fn plain(text: &str) -> Self {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return Value::Nothing,
            "true" | "True" | "TRUE" => return Value::Flag(true),
            "false" | "False" | "FALSE" => return Value::Flag(false),
            ".nan" | ".NaN" | ".NAN" => return Value::Number(f64::NAN),
            _ => {}
        }
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
            return Value::Number(if text.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY });
        }
        for (prefix, radix) in [("0o", 8), ("0x", 16)] {
            if let Some(digits) = text.strip_prefix(prefix)
                && !digits.is_empty()
                && digits.chars().all(|digit| digit.is_digit(radix))
            {
                return Value::whole(digits, radix);
            }
        }
        // Rust reads YAML's decimal numbers, and beside them only words such as "infinity".
        if unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.')
            && let Ok(number) = text.parse()
        {
            let is_whole = unsigned.bytes().all(|digit| digit.is_ascii_digit()) && !text.starts_with('-');
            return if is_whole { Value::whole(unsigned, 10) } else { Value::Number(number) };
        }
        Value::Text(text.to_owned())
    }

    /// A whole number of nothing but digits.
    pub(super) fn whole(digits: &str, radix: u32) -> Self {
        Value::Whole(u64::from_str_radix(digits, radix).unwrap_or(u64::MAX))
    }

    /// Text that is not empty.
    pub(super) fn text(&self) -> Result<&str, String> {
        match self {
            Value::Text(text) | Value::Untyped(text) if text.is_empty() => Err("it is empty".to_owned()),
            Value::Text(text) | Value::Untyped(text) => Ok(text),
            other => Err(other.instead_of("a text")),
        }
    }

    /// True or false.
    pub(super) fn flag(&self) -> Result<bool, String> {
        match self {
            Value::Flag(flag) => Ok(*flag),
            Value::Untyped(text) => Value::plain(text).flag(),
            other => Err(other.instead_of("true or false")),
        }
    }

    /// A count; what is larger than `T` holds becomes `most`.
    pub(super) fn count<T: TryFrom<u64>>(&self, most: T) -> Result<T, String> {
        match self {
            Value::Whole(number) => Ok(T::try_from(*number).unwrap_or(most)),
            Value::Untyped(text) => Value::plain(text).count(most),
            other => Err(other.instead_of("a whole number")),
        }
    }

    /// Seconds, possibly with a fraction.
    pub(super) fn seconds(&self) -> Result<Duration, String> {
        match self {
            Value::Whole(seconds) => Ok(Duration::from_secs(*seconds)),
            Value::Number(seconds) if seconds.is_finite() && *seconds >= 0.0 => {
                Ok(Duration::try_from_secs_f64(*seconds).unwrap_or(Duration::MAX))
            }
            Value::Untyped(text) => Value::plain(text).seconds(),
            other => Err(other.instead_of("a number of seconds")),
        }
    }

    /// Seconds, or false for never.
    pub(super) fn seconds_or_never(&self) -> Result<Option<Duration>, String> {
        match self {
            Value::Flag(false) => Ok(None),
            Value::Untyped(text) => Value::plain(text).seconds_or_never(),
            Value::Whole(_) | Value::Number(_) => self.seconds().map(Some),
            other => Err(other.instead_of("a number of seconds, or false")),
        }
    }

    /// Says that something else was expected.
    pub(super) fn instead_of(&self, expected: &str) -> String {
        let found = match self {
            Value::Text(_) | Value::Untyped(_) => "a text",
            Value::Flag(true) => "true",
            Value::Flag(false) => "false",
            Value::Whole(_) => "a whole number",
            Value::Number(number) => match number.classify() {
                FpCategory::Nan => "no number (NaN)",
                FpCategory::Infinite => "infinity",
                _ if *number < 0.0 => "a negative number",
                _ => "a number with a fraction",
            },
            Value::Nothing => "nothing",
            Value::Section(_) => "a section",
            Value::Other(kind) => kind,
        };
        format!("expected {expected}, found {found}")
    }
}
