//! Rows of the table `certificate` and records: the one place that knows the columns.

use strongroom::Row;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::error::{Error, Result};
use crate::name::Name;
use crate::record::{Finding, Record, Status, category_of};
use crate::revocation_reason::RevocationReason;
use crate::serial::Serial;

/// What a query for records begins with, up to its `FROM`: its name and the columns in the order that [`record`] reads. `c`
/// is a certificate, `r` its revocation. The search for a replacement is one index seek per record.
macro_rules! record_columns {
    ($name:literal) => {
        concat!(
            "-- ", $name, "\n",
            "SELECT c.id, c.serial, c.common_name, c.subject, c.issuer_name, c.issuer, c.names, c.not_before, c.not_after, \
             c.revoked, c.category, c.key_algorithm, c.key_bits, c.signature_algorithm, c.is_ca, c.fingerprint, \
             r.revoked_at, r.reason, c.source, c.owner, c.tags, c.note, c.weak, c.duplicate_serial, c.key_reused, \
             c.registered_at, c.files, r.checked, \
             (SELECT o.id FROM certificate AS o WHERE ", crate::registry::row::is_replaced!(), " \
              ORDER BY o.not_before DESC, o.id DESC LIMIT 1) AS replaced_by\n"
        )
    };
}

/// Whether certificate `o` takes the place of certificate `c`.
macro_rules! is_replaced {
    () => {
        "o.names_key = c.names_key AND o.not_before >= c.not_before AND o.issuer = c.issuer \
         AND o.category = c.category AND o.is_precertificate = 0 AND o.revoked = 0 \
         AND o.not_after >= c.not_after AND o.not_before <= c.not_after AND o.id <> c.id \
         AND (o.not_before > c.not_before OR o.id > c.id OR c.is_precertificate = 1)"
    };
}

/// Joins the revocations of those that have one; costs an index seek for these only.
macro_rules! revocation_join {
    () => {
        "\nLEFT JOIN revocation AS r ON c.revoked > 0 AND r.issuer = c.issuer AND r.serial = c.serial\n"
    };
}

/// A whole query for records: its name, the `FROM` clause that binds `c`, and what follows.
macro_rules! record_query {
    ($name:literal, $from:literal, $rest:literal) => {
        concat!(
            crate::registry::row::record_columns!($name),
            "FROM ",
            $from,
            crate::registry::row::revocation_join!(),
            $rest
        )
    };
}

pub(super) use {is_replaced, record_columns, record_query, revocation_join};

/// Reads one row of a [`record_query`].
pub(super) fn record(mut row: Row, now: OffsetDateTime) -> Result<Record> {
    let id: Uuid = row.get(0)?;
    let serial = serial(&row, 1)?;
    let not_before = row.get(7)?;
    let not_after = row.get(8)?;
    let reason: Option<i64> = row.get(17)?;
    Ok(Record {
        id,
        serial: serial.to_hex(),
        serial_decimal: serial.to_decimal(),
        common_name: row.take(2)?,
        subject: row.take(3)?,
        issuer: row.take(4)?,
        issuer_id: row.get(5)?,
        names: json::<Vec<Name>>(&mut row, 6, "names")?,
        not_before,
        not_after,
        status: Status::compute(row.get(9)?, not_before, not_after, now),
        category: category_of(row.get(10)?).ok_or_else(|| damaged("category", id))?,
        key_algorithm: row.take(11)?,
        key_bits: row.get(12)?,
        signature_algorithm: row.take(13)?,
        is_ca: row.get(14)?,
        fingerprint_sha256: hex(&row.get::<[u8; 32]>(15)?),
        revoked_at: row.get(16)?,
        revocation_reason: reason.map(reason_of).transpose()?,
        source: row.take(18)?,
        owner: row.take(19)?,
        tags: json::<Vec<String>>(&mut row, 20, "tags")?,
        note: row.take(21)?,
        findings: Finding::from_columns(row.get(22)?, row.get(23)?, row.get(24)?),
        registered_at: row.get(25)?,
        files: row.get(26)?,
        revocation_checked: row.get(27)?,
        replaced_by: row.get(28)?,
    })
}

/// Reads all rows of a [`record_query`].
pub(super) fn records(rows: Vec<Row>, now: OffsetDateTime) -> Result<Vec<Record>> {
    rows.into_iter().map(|row| record(row, now)).collect()
}

/// Reads a serial's column.
pub(super) fn serial(row: &Row, column: usize) -> Result<Serial> {
    let bytes: Vec<u8> = row.get(column)?;
    Serial::from_content(&bytes).map_err(|_| Error::Damaged { what: "serial", object: hex(&bytes) })
}

/// Reads a revocation reason's code.
pub(super) fn reason_of(code: i64) -> Result<RevocationReason> {
    u8::try_from(code)
        .ok()
        .and_then(|code| RevocationReason::from_code(code).ok())
        .ok_or_else(|| Error::Damaged { what: "reason", object: format!("a revocation with code {code}") })
}

fn json<T: serde::de::DeserializeOwned>(row: &mut Row, column: usize, what: &'static str) -> Result<T> {
    let text: String = row.take(column)?;
    serde_json::from_str(&text).map_err(|_| match row.get::<Uuid>(0) {
        Ok(id) => damaged(what, id),
        Err(error) => error.into(),
    })
}

/// The error of a stored value that this program did not write.
pub(super) fn damaged(what: &'static str, id: Uuid) -> Error {
    Error::Damaged { what, object: id.to_string() }
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    crate::der::oid::push_hex(&mut text, bytes);
    text
}
