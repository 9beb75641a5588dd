//! `index.txt`, the database of `openssl ca` and of easy-rsa.
//!
//! A line has six fields with tabs between them: status `V`, `R` or `E`; notAfter; for revoked ones
//! `date[,reason[,more]]`; the serial in hex; a file name; the subject in OpenSSL's one-line form. See
//! `apps/ca.c` (`make_revocation_str`) and `crypto/txt_db` of OpenSSL.

use std::io::{self, Read};
use std::ops::ControlFlow;

use time::OffsetDateTime;

use super::Sink;
use super::lines::Lines;
use super::object::{Found, Object};
use super::position::{Origin, Place};
use super::source::Source;
use crate::der::{Element, tag, time as der_time};
use crate::distinguished_name::escape_nul;
use crate::revocation_reason::{RevocationReason, RevocationReasonError};
use crate::serial::Serial;

/// One line of an `index.txt`. It does not say who issued the certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// What the CA thought of the certificate when it last wrote the line.
    pub status: IndexStatus,
    /// notAfter, UTC.
    pub expires: OffsetDateTime,
    /// When it was revoked, UTC; present exactly when the status is revoked.
    pub revoked_at: Option<OffsetDateTime>,
    /// Why, if the CA wrote it down: `keyTime` is keyCompromise, `CAkeyTime` is cACompromise and `holdInstruction` is
    /// certificateHold.
    pub reason: Option<RevocationReason>,
    /// When the key was compromised, UTC (`keyTime` and `CAkeyTime`).
    pub invalidity_date: Option<OffsetDateTime>,
    /// The hold instruction, an OID or OpenSSL's name of one (`holdInstructionReject`).
    pub hold_instruction: Option<String>,
    /// The serial.
    pub serial: Serial,
    /// The subject as OpenSSL wrote it: `/C=SE/O=Example/CN=www`, NUL as `\00`. Not RFC 4514.
    pub subject: String,
}

/// The status letter of an [`IndexEntry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IndexStatus {
    /// `V`. Also of certificates that have expired since `openssl ca -updatedb` was last run.
    Valid,
    /// `R`.
    Revoked,
    /// `E`.
    Expired,
}

/// Whether an input that begins like this is an `index.txt`: one of its first lines is an entry.
pub(super) fn looks_like_index(head: &[u8]) -> bool {
    matches!(head, [b'V' | b'R' | b'E', b'\t', ..])
        && head.split(|octet| matches!(octet, b'\n' | b'\r')).take(16).any(|line| parse(line).is_ok())
}

/// Reads the lines to the end. Lines that are no entries are refused, empty ones passed over.
pub(super) fn read<R: Read>(
    source: &mut Source<R>,
    origin: &Origin,
    sink: &mut Sink<'_>,
) -> io::Result<ControlFlow<()>> {
    let mut lines = Lines::new(source);
    while let Some(line) = lines.next(|_| false)? {
        let object = if line.is_whole {
            if line.text.trim_ascii().is_empty() {
                continue;
            }
            match parse(line.text) {
                Ok(entry) => Object::IndexEntry(entry),
                Err(reason) => Object::Refused(format!("not an entry of an index.txt: {reason}")),
            }
        } else {
            Object::Refused(String::from("not an entry of an index.txt: the line is too long"))
        };
        let position = origin.at(Place::Line(line.number));
        if sink(Found { position, object }).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

fn parse(line: &[u8]) -> Result<IndexEntry, String> {
    let fields = fields(line);
    let [status, expires, revocation, serial, _file, subject] = fields.as_slice() else {
        return Err(format!("{} fields instead of 6", fields.len()));
    };
    let status = match status.as_str() {
        "V" => IndexStatus::Valid,
        "R" => IndexStatus::Revoked,
        "E" => IndexStatus::Expired,
        _ => return Err(String::from("the status is not V, R or E")),
    };
    let is_hex = !serial.is_empty() && serial.bytes().all(|octet| octet.is_ascii_hexdigit() || octet == b'-');
    let serial = match Serial::parse_candidates(&hex_serial(serial)) {
        Ok(candidates) if is_hex && candidates.len() == 1 => candidates[0].clone(),
        _ => return Err(String::from("the serial is not hex")),
    };
    let mut entry = IndexEntry {
        status,
        expires: read_time(expires).ok_or("the date of expiry is not YYMMDDHHMMSSZ")?,
        revoked_at: None,
        reason: None,
        invalidity_date: None,
        hold_instruction: None,
        serial,
        subject: escape_nul(subject),
    };
    if status == IndexStatus::Revoked {
        entry.read_revocation(revocation)?;
    }
    Ok(entry)
}

impl IndexEntry {
    /// `date[,reason[,more]]`.
    fn read_revocation(&mut self, field: &str) -> Result<(), String> {
        let mut parts = field.splitn(3, ',');
        let date = parts.next().and_then(read_time);
        self.revoked_at = Some(date.ok_or("the date of revocation is not YYMMDDHHMMSSZ")?);
        let Some(reason) = parts.next() else { return Ok(()) };
        let more = parts.next();
        self.reason = Some(match reason {
            "keyTime" | "CAkeyTime" => {
                self.invalidity_date =
                    Some(more.and_then(read_time).ok_or("the date of compromise is not YYYYMMDDHHMMSSZ")?);
                if reason == "keyTime" { RevocationReason::KeyCompromise } else { RevocationReason::CaCompromise }
            }
            "holdInstruction" => {
                self.hold_instruction = more.map(escape_nul);
                RevocationReason::CertificateHold
            }
            reason => reason.parse().map_err(|error: RevocationReasonError| error.to_string())?,
        });
        Ok(())
    }
}

/// Marks a serial as hex, whatever its digits.
fn hex_serial(serial: &str) -> String {
    match serial.strip_prefix('-') {
        Some(digits) => format!("-0x{digits}"),
        None => format!("0x{serial}"),
    }
}

/// Both ASN.1 types are written without a tag: their length tells them apart.
fn read_time(text: &str) -> Option<OffsetDateTime> {
    let digits = text.strip_suffix('Z')?;
    let tag = match digits.len() {
        12 => tag::UTC_TIME,
        14 => tag::GENERALIZED_TIME,
        _ => return None,
    };
    der_time::read(&Element { tag, content: text.as_bytes(), whole: text.as_bytes(), offset: 0 }).ok()
}

/// Splits at tabs. A tab within a field is written with a backslash before it.
fn fields(line: &[u8]) -> Vec<String> {
    let line = String::from_utf8_lossy(line);
    let mut fields = vec![String::new()];
    let mut characters = line.chars().peekable();
    while let Some(character) = characters.next() {
        if character == '\t' {
            fields.push(String::new());
        } else if let Some(field) = fields.last_mut() {
            match character {
                '\\' if characters.next_if_eq(&'\t').is_some() => field.push('\t'),
                _ => field.push(character),
            }
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn entries_of_every_status_are_read() {
        let valid = parse(b"V\t330101000000Z\t\t0A\tunknown\t/C=SE/CN=www").unwrap();
        assert_eq!(valid.status, IndexStatus::Valid);
        assert_eq!(valid.expires, datetime!(2033-01-01 0:00 UTC));
        assert_eq!((valid.serial.to_hex(), valid.subject.as_str()), (String::from("a"), "/C=SE/CN=www"));
        assert_eq!(valid.revoked_at, None);

        let revoked = parse(b"R\t20510101000000Z\t240102030405Z,superseded\t10\tunknown\t/CN=a").unwrap();
        assert_eq!(revoked.revoked_at, Some(datetime!(2024-01-02 3:04:05 UTC)));
        assert_eq!(revoked.reason, Some(RevocationReason::Superseded));
        assert_eq!(revoked.serial.to_hex(), "10");

        let without_reason = parse(b"R\t330101000000Z\t240102030405Z\t-01\tunknown\t/CN=a").unwrap();
        assert_eq!((without_reason.reason, without_reason.serial.to_hex()), (None, String::from("-1")));
        assert_eq!(parse(b"E\t030101000000Z\t\t00\tunknown\t/CN=a").unwrap().status, IndexStatus::Expired);
    }

    #[test]
    fn what_openssl_adds_to_a_reason_is_read() {
        let entry =
            |revocation: &str| parse(format!("R\t330101000000Z\t{revocation}\t01\tf\t/CN=a").as_bytes()).unwrap();
        let key = entry("240102030405Z,keyTime,20231231235959Z");
        assert_eq!(key.reason, Some(RevocationReason::KeyCompromise));
        assert_eq!(key.invalidity_date, Some(datetime!(2023-12-31 23:59:59 UTC)));
        let ca = entry("240102030405Z,CAkeyTime,20231231235959Z");
        assert_eq!(ca.reason, Some(RevocationReason::CaCompromise));
        let hold = entry("240102030405Z,holdInstruction,holdInstructionReject");
        assert_eq!(hold.reason, Some(RevocationReason::CertificateHold));
        assert_eq!(hold.hold_instruction.as_deref(), Some("holdInstructionReject"));
        assert_eq!(entry("240102030405Z,CACompromise").reason, Some(RevocationReason::CaCompromise));
    }

    #[test]
    fn every_fault_of_a_line_has_its_sentence() {
        for (line, fault) in [
            ("V\t330101000000Z\t\t0A\tunknown", "5 fields"),
            ("X\t330101000000Z\t\t0A\tunknown\t/", "status"),
            ("V\t3301010000Z\t\t0A\tunknown\t/", "expiry"),
            ("V\t331301000000Z\t\t0A\tunknown\t/", "expiry"),
            ("V\t330101000000Z\t\t0G\tunknown\t/", "serial"),
            ("V\t330101000000Z\t\t\tunknown\t/", "serial"),
            ("R\t330101000000Z\t\t0A\tunknown\t/", "revocation"),
            ("R\t330101000000Z\t240102030405Z,keyTime\t0A\tunknown\t/", "compromise"),
            ("R\t330101000000Z\t240102030405Z,stolen\t0A\tunknown\t/", "reason"),
            ("R\t330101000000Z\t240102030405Z,removeFromCRL\t0A\tunknown\t/", "removeFromCRL"),
        ] {
            let error = parse(line.as_bytes()).unwrap_err();
            assert!(error.contains(fault), "{line:?}: {error}");
        }
    }

    #[test]
    fn an_escaped_tab_does_not_end_a_field() {
        let entry = parse(b"V\t330101000000Z\t\t0A\tunknown\t/CN=a\\\tb").unwrap();
        assert_eq!(entry.subject, "/CN=a\tb");
    }
}
