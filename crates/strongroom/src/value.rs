//! Values: what goes into a statement's parameters and comes out of a row's columns.
//!
//! Start from [`Value`]; [`params!`](crate::params) builds [`Params`], [`FromValue`] reads a column back.

use std::borrow::Cow;
use std::fmt;

use time::OffsetDateTime;
use uuid::Uuid;

/// One value of a statement's parameter or of a row's column.
///
/// SQLite knows fewer types than this: it stores [`Bool`](Value::Bool) as 0 or 1, [`Uuid`](Value::Uuid) as a blob of 16
/// bytes and [`Timestamp`](Value::Timestamp) as an integer of microseconds since 1970-01-01T00:00:00Z, and hands them
/// back as [`Int`](Value::Int) and [`Bytes`](Value::Bytes). Read columns through [`FromValue`] (that is, `row.get`),
/// which accepts both forms.
///
/// PostgreSQL is told each parameter in the type that it expects there, and a number that does not fit that is refused:
///
/// | value | for a parameter, or from a column, of type |
/// |---|---|
/// | `Bool` | `boolean` |
/// | `Int` | `smallint`, `integer`, `bigint`, `oid`; as a parameter also `numeric`, `real`, `double precision` |
/// | `Float` | `real`, `double precision`; as a parameter also `numeric` |
/// | `Text` | `text`, `varchar`, `char`, `name`, `citext`, `json`, `jsonb`, `xml`, enumerations; `numeric`, exactly as the server writes it; as a parameter anything else that the server reads from text, such as `inet` or `interval` |
/// | `Bytes` | `bytea` |
/// | `Uuid` | `uuid`; as a parameter also `bytea` |
/// | `Timestamp` | `timestamptz`; `timestamp` and `date` as of UTC |
/// | `Array` | arrays of these, of one dimension |
///
/// A column of another type is a [`Decode`](crate::Error::Decode) error that says to cast it to text.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// SQL NULL.
    Null,
    /// A truth value.
    Bool(bool),
    /// A signed 64-bit integer.
    Int(i64),
    /// An IEEE 754 double. SQLite stores NaN as NULL.
    Float(f64),
    /// UTF-8 text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// A UUID of any version.
    Uuid(Uuid),
    /// A moment, to the microsecond; finer parts are cut off. Any offset is converted to UTC.
    Timestamp(OffsetDateTime),
    /// Several values of one type. PostgreSQL only: SQLite refuses it.
    Array(Vec<Value>),
}

impl Value {
    /// The type's name as errors show it, such as `integer`.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::Null => "NULL",
            Value::Bool(_) => "boolean",
            Value::Int(_) => "integer",
            Value::Float(_) => "float",
            Value::Text(_) => "text",
            Value::Bytes(_) => "bytes",
            Value::Uuid(_) => "UUID",
            Value::Timestamp(_) => "timestamp",
            Value::Array(_) => "array",
        }
    }

    /// Whether this is SQL NULL.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// Bytes this value holds on the heap, for bounds on buffered rows.
    pub(crate) fn heap_size(&self) -> usize {
        match self {
            Value::Text(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            Value::Array(values) => values.iter().map(|value| size_of::<Value>() + value.heap_size()).sum(),
            _ => 0,
        }
    }
}

/// Shows type and size, never the content: parameters carry passwords and personal data, and `Debug` ends up in logs.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("NULL"),
            Value::Text(text) => write!(f, "text of {} bytes", text.len()),
            Value::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            Value::Array(values) => write!(f, "array of {} values", values.len()),
            other => f.write_str(other.type_name()),
        }
    }
}

/// The parameters of one statement: the first is `$1`.
///
/// Built by [`params!`](crate::params), or from a `Vec<Value>`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Params(pub(crate) Vec<Value>);

impl Params {
    /// How many parameters there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Vec<Value>> for Params {
    fn from(values: Vec<Value>) -> Self {
        Params(values)
    }
}

/// Builds [`Params`] from anything that converts into [`Value`].
///
/// ```
/// let params = strongroom::params![1, "alice", Option::<i64>::None];
/// assert_eq!(params.len(), 3);
/// ```
#[macro_export]
macro_rules! params {
    () => { $crate::Params::default() };
    ($($value:expr),+ $(,)?) => { $crate::Params::from(vec![$($crate::Value::from($value)),+]) };
}

macro_rules! into_value {
    ($($from:ty => $variant:ident, |$value:ident| $convert:expr;)+) => {$(
        impl From<$from> for Value {
            fn from($value: $from) -> Self {
                Value::$variant($convert)
            }
        }
    )+};
}

into_value! {
    bool => Bool, |value| value;
    i8 => Int, |value| value.into();
    i16 => Int, |value| value.into();
    i32 => Int, |value| value.into();
    i64 => Int, |value| value;
    u8 => Int, |value| value.into();
    u16 => Int, |value| value.into();
    u32 => Int, |value| value.into();
    f32 => Float, |value| value.into();
    f64 => Float, |value| value;
    String => Text, |value| value;
    &String => Text, |value| value.clone();
    &str => Text, |value| value.to_owned();
    Cow<'_, str> => Text, |value| value.into_owned();
    Vec<u8> => Bytes, |value| value;
    &Vec<u8> => Bytes, |value| value.clone();
    &[u8] => Bytes, |value| value.to_vec();
    Uuid => Uuid, |value| value;
    OffsetDateTime => Timestamp, |value| value;
}

impl<const N: usize> From<[u8; N]> for Value {
    fn from(bytes: [u8; N]) -> Self {
        Value::Bytes(bytes.to_vec())
    }
}

impl<const N: usize> From<&[u8; N]> for Value {
    fn from(bytes: &[u8; N]) -> Self {
        Value::Bytes(bytes.to_vec())
    }
}

macro_rules! array_into_value {
    ($($item:ty),+ $(,)?) => {$(
        impl From<Vec<$item>> for Value {
            fn from(items: Vec<$item>) -> Self {
                Value::Array(items.into_iter().map(Value::from).collect())
            }
        }
    )+};
}

// Not of u8: those are bytes.
array_into_value!(bool, i16, i32, i64, f64, String, &str, Vec<u8>, &[u8], Uuid, OffsetDateTime);

impl<T: Into<Value>> From<Vec<Option<T>>> for Value {
    fn from(items: Vec<Option<T>>) -> Self {
        Value::Array(items.into_iter().map(Value::from).collect())
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

/// A type that a column can be read as.
///
/// Conversions never lose anything: an integer that does not fit, or a text that is asked for as a number, is a
/// [`Decode`](crate::Error::Decode) error. NULL is readable as `Option<T>` only.
pub trait FromValue: Sized {
    /// What this type reads, as errors show it, such as `64-bit integer`.
    const EXPECTED: &'static str;

    /// Reads the value, or gives it back when it is of another type or out of range.
    fn from_value(value: Value) -> Result<Self, Value>;
}

impl FromValue for Value {
    const EXPECTED: &'static str = "any value";

    fn from_value(value: Value) -> Result<Self, Value> {
        Ok(value)
    }
}

impl<T: FromValue> FromValue for Option<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn from_value(value: Value) -> Result<Self, Value> {
        if value.is_null() { Ok(None) } else { T::from_value(value).map(Some) }
    }
}

impl FromValue for bool {
    const EXPECTED: &'static str = "boolean (0 or 1)";

    fn from_value(value: Value) -> Result<Self, Value> {
        match value {
            Value::Bool(value) => Ok(value),
            Value::Int(0) => Ok(false),
            Value::Int(1) => Ok(true),
            other => Err(other),
        }
    }
}

macro_rules! integer_from_value {
    ($($type:ty => $expected:literal),+ $(,)?) => {$(
        impl FromValue for $type {
            const EXPECTED: &'static str = $expected;

            fn from_value(value: Value) -> Result<Self, Value> {
                match value {
                    Value::Int(int) => <$type>::try_from(int).map_err(|_| Value::Int(int)),
                    other => Err(other),
                }
            }
        }
    )+};
}

integer_from_value! {
    i16 => "16-bit integer", i32 => "32-bit integer", i64 => "64-bit integer",
    u8 => "unsigned 8-bit integer", u16 => "unsigned 16-bit integer", u32 => "unsigned 32-bit integer",
    u64 => "integer not below zero",
}

impl FromValue for f64 {
    const EXPECTED: &'static str = "float";

    fn from_value(value: Value) -> Result<Self, Value> {
        match value {
            Value::Float(value) => Ok(value),
            // SQLite stores a whole float in a column without REAL affinity as an integer.
            Value::Int(int) if int.unsigned_abs() <= 1 << 53 => Ok(int as f64),
            other => Err(other),
        }
    }
}

impl FromValue for String {
    const EXPECTED: &'static str = "text";

    fn from_value(value: Value) -> Result<Self, Value> {
        match value {
            Value::Text(text) => Ok(text),
            other => Err(other),
        }
    }
}

impl FromValue for Vec<u8> {
    const EXPECTED: &'static str = "bytes";

    fn from_value(value: Value) -> Result<Self, Value> {
        match value {
            Value::Bytes(bytes) => Ok(bytes),
            other => Err(other),
        }
    }
}

impl<const N: usize> FromValue for [u8; N] {
    const EXPECTED: &'static str = "bytes of a fixed length";

    fn from_value(value: Value) -> Result<Self, Value> {
        match value {
            Value::Bytes(bytes) => bytes.try_into().map_err(Value::Bytes),
            other => Err(other),
        }
    }
}

impl FromValue for Uuid {
    const EXPECTED: &'static str = "UUID (16 bytes)";

    fn from_value(value: Value) -> Result<Self, Value> {
        match value {
            Value::Uuid(uuid) => Ok(uuid),
            Value::Bytes(bytes) => Uuid::from_slice(&bytes).map_err(|_| Value::Bytes(bytes)),
            other => Err(other),
        }
    }
}

impl FromValue for OffsetDateTime {
    const EXPECTED: &'static str = "timestamp (microseconds since 1970)";

    fn from_value(value: Value) -> Result<Self, Value> {
        match value {
            Value::Timestamp(time) => Ok(time),
            Value::Int(micros) => {
                OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000).map_err(|_| Value::Int(micros))
            }
            other => Err(other),
        }
    }
}

macro_rules! array_from_value {
    ($($item:ty),+ $(,)?) => {$(
        impl FromValue for Vec<$item> {
            const EXPECTED: &'static str = "array";

            fn from_value(value: Value) -> Result<Self, Value> {
                match value {
                    Value::Array(values) => read_array(values),
                    other => Err(other),
                }
            }
        }
    )+};
}

array_from_value!(bool, i16, i32, i64, f64, String, Vec<u8>, Uuid, OffsetDateTime);

impl<T: FromValue> FromValue for Vec<Option<T>> {
    const EXPECTED: &'static str = "array";

    fn from_value(value: Value) -> Result<Self, Value> {
        match value {
            Value::Array(values) => read_array(values),
            other => Err(other),
        }
    }
}

/// Gives back the first item that is of another type, or out of range.
fn read_array<T: FromValue>(values: Vec<Value>) -> Result<Vec<T>, Value> {
    values.into_iter().map(T::from_value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_of_a_value_never_shows_its_content() {
        let shown = format!("{:?}", crate::params!["canary", b"canary".as_slice(), 7_i64]);
        assert!(!shown.contains("canary") && !shown.contains('7'), "{shown}");
    }

    #[test]
    fn an_integer_out_of_range_is_given_back_and_not_wrapped() {
        assert_eq!(u8::from_value(Value::Int(256)), Err(Value::Int(256)));
        assert_eq!(u64::from_value(Value::Int(-1)), Err(Value::Int(-1)));
        assert_eq!(i32::from_value(Value::Int(-5)), Ok(-5));
    }

    #[test]
    fn null_reads_as_an_option_only() {
        assert_eq!(Option::<i64>::from_value(Value::Null), Ok(None));
        assert_eq!(i64::from_value(Value::Null), Err(Value::Null));
    }

    #[test]
    fn what_sqlite_stores_reads_back_as_the_type_that_was_written() {
        let id = Uuid::from_u128(7);
        assert_eq!(Uuid::from_value(Value::Bytes(id.as_bytes().to_vec())), Ok(id));
        assert_eq!(bool::from_value(Value::Int(1)), Ok(true));
        assert_eq!(bool::from_value(Value::Int(2)), Err(Value::Int(2)));
        assert_eq!(
            OffsetDateTime::from_value(Value::Int(-1_000_000)),
            Ok(OffsetDateTime::UNIX_EPOCH - time::Duration::SECOND)
        );
    }
}
