//! Values in PostgreSQL's formats: parameters in what the server expects, columns in binary.
//!
//! <https://www.postgresql.org/docs/current/protocol-overview.html#PROTOCOL-FORMAT-CODES>

use std::error::Error as StdError;
use std::fmt::Write as _;

use bytes::{BufMut, BytesMut};
use time::OffsetDateTime;
use tokio_postgres::types::{Format, FromSql, IsNull, Kind, ToSql, Type};
use uuid::Uuid;

use crate::value::Value;

type Outcome<T> = Result<T, Box<dyn StdError + Sync + Send>>;

/// PostgreSQL counts from 2000-01-01T00:00:00Z.
const EPOCH_UNIX_MICROS: i64 = 946_684_800_000_000;

const MICROS_PER_DAY: i64 = 24 * 3_600 * 1_000_000;

/// A parameter with its number, for messages. Its `Debug`, which tokio-postgres logs, shows no content.
#[derive(Debug)]
pub(crate) struct Parameter<'v> {
    pub(crate) number: usize,
    pub(crate) value: &'v Value,
}

/// How a value goes to the server.
enum Encoding {
    Binary,
    /// The server reads it as it reads a literal.
    Text,
}

impl ToSql for Parameter<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Outcome<IsNull> {
        encode(self.value, ty, out).map_err(|reason| format!("parameter ${}: {reason}", self.number).into())
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, ty: &Type) -> Format {
        match encoding(self.value, ty) {
            Encoding::Binary => Format::Binary,
            Encoding::Text => Format::Text,
        }
    }

    fn to_sql_checked(&self, ty: &Type, out: &mut BytesMut) -> Outcome<IsNull> {
        self.to_sql(ty, out)
    }
}

/// A parameter of a binary COPY, which knows no text form.
#[derive(Debug)]
pub(crate) struct Binary<'v>(pub(crate) Parameter<'v>);

impl ToSql for Binary<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Outcome<IsNull> {
        let Parameter { number, value } = self.0;
        encode_item(value, ty, out).map_err(|reason| format!("parameter ${number}: {reason}").into())
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn to_sql_checked(&self, ty: &Type, out: &mut BytesMut) -> Outcome<IsNull> {
        self.to_sql(ty, out)
    }
}

fn base(ty: &Type) -> &Type {
    match ty.kind() {
        Kind::Domain(of) => base(of),
        _ => ty,
    }
}

fn is_binary(ty: &Type) -> bool {
    [
        Type::BOOL,
        Type::INT2,
        Type::INT4,
        Type::INT8,
        Type::OID,
        Type::FLOAT4,
        Type::FLOAT8,
        Type::BYTEA,
        Type::UUID,
        Type::TIMESTAMP,
        Type::TIMESTAMPTZ,
        Type::DATE,
        Type::TEXT,
        Type::VARCHAR,
        Type::BPCHAR,
        Type::NAME,
    ]
    .contains(ty)
}

fn encoding(value: &Value, ty: &Type) -> Encoding {
    let ty = base(ty);
    let binary = match (value, ty.kind()) {
        (Value::Array(_), Kind::Array(of)) => is_binary(base(of)),
        // What a text says of a moment or a number is for the server to read.
        (Value::Text(_), _) => is_text(ty),
        _ => is_binary(ty),
    };
    if binary { Encoding::Binary } else { Encoding::Text }
}

fn is_text(ty: &Type) -> bool {
    [Type::TEXT, Type::VARCHAR, Type::BPCHAR, Type::NAME].contains(ty)
}

fn encode(value: &Value, ty: &Type, out: &mut BytesMut) -> Result<IsNull, String> {
    let ty = base(ty);
    if value.is_null() {
        return Ok(IsNull::Yes);
    }
    match encoding(value, ty) {
        Encoding::Binary => encode_binary(value, ty, out)?,
        Encoding::Text => encode_text(value, ty, out)?,
    }
    Ok(IsNull::No)
}

fn encode_binary(value: &Value, ty: &Type, out: &mut BytesMut) -> Result<(), String> {
    let misfit = || format!("{} given, and the server expects {}", value.type_name(), ty.name());
    let out_of_range = |_| format!("an integer out of the range of {}", ty.name());
    match value {
        Value::Bool(value) if *ty == Type::BOOL => out.put_u8(u8::from(*value)),
        Value::Int(value) if *ty == Type::INT2 => out.put_i16(i16::try_from(*value).map_err(out_of_range)?),
        Value::Int(value) if *ty == Type::INT4 => out.put_i32(i32::try_from(*value).map_err(out_of_range)?),
        Value::Int(value) if *ty == Type::INT8 => out.put_i64(*value),
        Value::Int(value) if *ty == Type::OID => out.put_u32(u32::try_from(*value).map_err(out_of_range)?),
        Value::Int(value) if *ty == Type::FLOAT8 && value.unsigned_abs() <= 1 << 53 => out.put_f64(*value as f64),
        Value::Int(value) if *ty == Type::FLOAT4 && value.unsigned_abs() <= 1 << 24 => out.put_f32(*value as f32),
        Value::Float(value) if *ty == Type::FLOAT8 => out.put_f64(*value),
        Value::Float(value) if *ty == Type::FLOAT4 => {
            let narrow = *value as f32;
            if narrow.is_infinite() && value.is_finite() {
                return Err("a float out of the range of float4".to_owned());
            }
            out.put_f32(narrow);
        }
        Value::Text(text) if is_text(ty) => out.put_slice(without_nul(text)?.as_bytes()),
        Value::Bytes(bytes) if *ty == Type::BYTEA => out.put_slice(bytes),
        Value::Bytes(bytes) if *ty == Type::UUID && bytes.len() == 16 => out.put_slice(bytes),
        Value::Uuid(uuid) if *ty == Type::UUID || *ty == Type::BYTEA => out.put_slice(uuid.as_bytes()),
        Value::Timestamp(time) if *ty == Type::TIMESTAMPTZ || *ty == Type::TIMESTAMP => out.put_i64(micros(*time)?),
        Value::Timestamp(time) if *ty == Type::DATE => {
            let micros = micros(*time)?;
            if micros.rem_euclid(MICROS_PER_DAY) != 0 {
                return Err("a timestamp that is not midnight UTC, and the server expects date".to_owned());
            }
            let days = i32::try_from(micros.div_euclid(MICROS_PER_DAY));
            out.put_i32(days.map_err(|_| "a timestamp out of the range of date")?);
        }
        Value::Array(values) => encode_array(values, ty, out)?,
        _ => return Err(misfit()),
    }
    Ok(())
}

/// <https://github.com/postgres/postgres/blob/REL_17_0/src/backend/utils/adt/arrayfuncs.c> (`array_recv`): dimensions,
/// whether there are NULLs, the type, each dimension's length and lower bound, the items.
fn encode_array(values: &[Value], ty: &Type, out: &mut BytesMut) -> Result<(), String> {
    let Kind::Array(of) = ty.kind() else {
        return Err(format!("array given, and the server expects {}", ty.name()));
    };
    let length = i32::try_from(values.len()).map_err(|_| "too many values in an array")?;
    out.put_i32(if length == 0 { 0 } else { 1 });
    out.put_i32(i32::from(values.iter().any(Value::is_null)));
    out.put_u32(of.oid());
    if length > 0 {
        out.put_i32(length);
        out.put_i32(1);
    }
    for value in values {
        let at = out.len();
        out.put_i32(-1);
        if let IsNull::No = encode_item(value, of, out)? {
            let size = i32::try_from(out.len() - at - 4).map_err(|_| "an item of an array is too long")?;
            out[at..at + 4].copy_from_slice(&size.to_be_bytes());
        }
    }
    Ok(())
}

/// A value where no text form is allowed: in an array, and in COPY.
fn encode_item(value: &Value, ty: &Type, out: &mut BytesMut) -> Result<IsNull, String> {
    let ty = base(ty);
    match (value, encoding(value, ty)) {
        (Value::Null, _) => return Ok(IsNull::Yes),
        (_, Encoding::Binary) => encode_binary(value, ty, out)?,
        // Their binary form is the text's.
        (Value::Text(text), _) if *ty == Type::JSON || *ty == Type::XML || is_label(ty) => {
            out.put_slice(without_nul(text)?.as_bytes());
        }
        (Value::Text(text), _) if *ty == Type::JSONB => {
            out.put_u8(1);
            out.put_slice(without_nul(text)?.as_bytes());
        }
        _ => {
            let (value, ty) = (value.type_name(), ty.name());
            return Err(format!(
                "{value} given, and the server expects {ty}, which cannot be sent in an array or COPY"
            ));
        }
    }
    Ok(IsNull::No)
}

fn is_label(ty: &Type) -> bool {
    matches!(ty.kind(), Kind::Enum(_)) || ty.name() == "citext"
}

/// For types whose binary form is not known here, and where the server finds the type out by itself.
fn encode_text(value: &Value, ty: &Type, out: &mut BytesMut) -> Result<(), String> {
    let any = *ty == Type::UNKNOWN;
    let misfit = || format!("{} given, and the server expects {}", value.type_name(), ty.name());
    let is_number = [Type::BOOL, Type::INT2, Type::INT4, Type::INT8, Type::OID, Type::FLOAT4, Type::FLOAT8];
    match value {
        Value::Text(_) if is_number.contains(ty) || *ty == Type::BYTEA || matches!(ty.kind(), Kind::Array(_)) => {
            return Err(misfit());
        }
        Value::Text(_) => {}
        Value::Int(_) | Value::Float(_) if any || *ty == Type::NUMERIC => {}
        Value::Array(_) if any || matches!(ty.kind(), Kind::Array(_)) => {}
        _ if any => {}
        _ => return Err(misfit()),
    }
    let mut text = String::new();
    write_text(value, &mut text)?;
    out.put_slice(text.as_bytes());
    Ok(())
}

fn write_text(value: &Value, text: &mut String) -> Result<(), String> {
    // Writing to a String cannot fail.
    match value {
        Value::Null => {}
        Value::Bool(value) => text.push(if *value { 't' } else { 'f' }),
        Value::Int(value) => _ = write!(text, "{value}"),
        Value::Float(value) if value.is_nan() => text.push_str("NaN"),
        Value::Float(value) if value.is_infinite() => {
            text.push_str(if *value > 0.0 { "Infinity" } else { "-Infinity" });
        }
        Value::Float(value) => _ = write!(text, "{value}"),
        Value::Text(value) => text.push_str(without_nul(value)?),
        Value::Bytes(bytes) => {
            text.push_str("\\x");
            bytes.iter().for_each(|byte| _ = write!(text, "{byte:02x}"));
        }
        Value::Uuid(uuid) => _ = write!(text, "{uuid}"),
        Value::Timestamp(time) => {
            let micros = micros(*time)?;
            let utc = from_micros(micros).ok_or("a timestamp beyond the year 9999")?;
            let (date, clock) = (utc.date(), utc.time());
            let (year, era) = if date.year() > 0 { (date.year(), "") } else { (1 - date.year(), " BC") };
            let (month, day) = (u8::from(date.month()), date.day());
            let (hour, minute, second, micro) = clock.as_hms_micro();
            _ = write!(text, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micro:06}+00{era}");
        }
        Value::Array(values) => {
            text.push('{');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                if value.is_null() {
                    text.push_str("NULL");
                    continue;
                }
                let mut item = String::new();
                write_text(value, &mut item)?;
                text.push('"');
                text.push_str(&item.replace('\\', "\\\\").replace('"', "\\\""));
                text.push('"');
            }
            text.push('}');
        }
    }
    Ok(())
}

fn without_nul(text: &str) -> Result<&str, String> {
    match text.find('\0') {
        None => Ok(text),
        Some(at) => Err(format!("a text with a NUL character, at byte {at}; PostgreSQL stores none")),
    }
}

fn micros(time: OffsetDateTime) -> Result<i64, String> {
    i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000))
        .ok()
        .and_then(|micros| micros.checked_sub(EPOCH_UNIX_MICROS))
        .ok_or_else(|| "a timestamp out of range".to_owned())
}

fn from_micros(micros: i64) -> Option<OffsetDateTime> {
    let nanos = (i128::from(micros) + i128::from(EPOCH_UNIX_MICROS)) * 1_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()
}

/// A column's value.
pub(crate) struct Decoded(pub(crate) Value);

impl<'a> FromSql<'a> for Decoded {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Outcome<Self> {
        decode(ty, raw).map(Decoded)
    }

    fn from_sql_null(_: &Type) -> Outcome<Self> {
        Ok(Decoded(Value::Null))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

fn decode(ty: &Type, raw: &[u8]) -> Outcome<Value> {
    let ty = base(ty);
    if let Kind::Array(_) = ty.kind() {
        let items = Vec::<Decoded>::from_sql(ty, raw).map_err(|error| format!("{} ({error})", ty.name()))?;
        return Ok(Value::Array(items.into_iter().map(|item| item.0).collect()));
    }
    let integer = |length| fixed(raw, length).map(Value::Int);
    match *ty {
        Type::BOOL => Ok(Value::Bool(fixed(raw, 1)? != 0)),
        Type::INT2 => integer(2),
        Type::INT4 => integer(4),
        Type::INT8 => integer(8),
        Type::OID => Ok(Value::Int(fixed(raw, 4)? & 0xffff_ffff)),
        Type::FLOAT4 => Ok(Value::Float(f32::from_be_bytes(raw.try_into()?).into())),
        Type::FLOAT8 => Ok(Value::Float(f64::from_be_bytes(raw.try_into()?))),
        Type::BYTEA => Ok(Value::Bytes(raw.to_vec())),
        Type::UUID => Ok(Value::Uuid(Uuid::from_slice(raw)?)),
        Type::TIMESTAMPTZ | Type::TIMESTAMP => timestamp(fixed(raw, 8)?),
        Type::DATE => match i32::from_be_bytes(raw.try_into()?) {
            i32::MAX => timestamp(i64::MAX),
            i32::MIN => timestamp(i64::MIN),
            days => timestamp(i64::from(days) * MICROS_PER_DAY),
        },
        Type::NUMERIC => numeric(raw).map(Value::Text),
        Type::JSONB => match raw {
            [1, json @ ..] => text(json),
            _ => Err("jsonb of a later version".into()),
        },
        Type::VOID => Ok(Value::Null),
        Type::TEXT
        | Type::VARCHAR
        | Type::BPCHAR
        | Type::NAME
        | Type::CHAR
        | Type::UNKNOWN
        | Type::JSON
        | Type::XML => text(raw),
        _ if is_label(ty) => text(raw),
        _ => Err(format!("type {}, which is not read; cast it to text in the query (column::text)", ty.name()).into()),
    }
}

fn text(raw: &[u8]) -> Outcome<Value> {
    Ok(Value::Text(std::str::from_utf8(raw).map_err(|_| "text that is not UTF-8")?.to_owned()))
}

/// A big-endian integer of `length` bytes, with its sign.
fn fixed(raw: &[u8], length: usize) -> Outcome<i64> {
    if raw.len() != length {
        return Err(format!("{} bytes where {length} are expected", raw.len()).into());
    }
    let negative = raw[0] & 0x80 != 0;
    Ok(raw.iter().fold(if negative { -1 } else { 0 }, |value, byte| value << 8 | i64::from(*byte)))
}

fn timestamp(micros: i64) -> Outcome<Value> {
    match micros {
        i64::MAX => Err("infinity".into()),
        i64::MIN => Err("-infinity".into()),
        _ => Ok(Value::Timestamp(from_micros(micros).ok_or("a moment beyond the year 9999")?)),
    }
}

/// The text that the server itself would write: `1234.50`, `NaN`, `Infinity`.
///
/// Groups of four decimal digits; `weight` is the exponent of the first, `scale` the digits after the point
/// (`numeric_send` in the server's `numeric.c`).
fn numeric(raw: &[u8]) -> Outcome<String> {
    let word = |index: usize| -> Outcome<i16> {
        let bytes = raw.get(index * 2..index * 2 + 2).ok_or("a numeric that is cut off")?;
        Ok(i16::from_be_bytes(bytes.try_into()?))
    };
    let (count, weight, sign, scale) = (word(0)?, i32::from(word(1)?), word(2)? as u16, word(3)?);
    let mut number = match sign {
        0x0000 => String::new(),
        0x4000 => "-".to_owned(),
        0xc000 => return Ok("NaN".to_owned()),
        0xd000 => return Ok("Infinity".to_owned()),
        0xf000 => return Ok("-Infinity".to_owned()),
        _ => return Err("a numeric of an unknown sign".into()),
    };
    let groups: Vec<i16> = (0..usize::try_from(count)?).map(|index| word(4 + index)).collect::<Outcome<_>>()?;
    let group = |exponent: i32| {
        let index = usize::try_from(weight - exponent).ok();
        index.and_then(|index| groups.get(index)).copied().unwrap_or(0)
    };
    let first = weight.max(0);
    for exponent in (0..=first).rev() {
        // Leading zeros are not written; writing to a String cannot fail.
        let _ = if exponent == first {
            write!(number, "{}", group(exponent))
        } else {
            write!(number, "{:04}", group(exponent))
        };
    }
    let scale = usize::try_from(scale)?;
    if scale > 0 {
        let mut fraction = String::new();
        for exponent in 1..=i32::try_from(scale.div_ceil(4))? {
            let _ = write!(fraction, "{:04}", group(-exponent));
        }
        number.push('.');
        number.push_str(&fraction[..scale]);
    }
    Ok(number)
}
