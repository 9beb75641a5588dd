//! Times as the ledger shows them: RFC 3339, UTC.

use serde::Serializer;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

/// A time as text, such as `2026-11-21T02:00:00Z`.
///
/// X.509 has years 0000 to 9999, and so does RFC 3339; a time outside is shown in the form of `time`'s `Display`.
pub(crate) fn text(time: OffsetDateTime) -> String {
    let utc = time.to_offset(UtcOffset::UTC);
    utc.format(&Rfc3339).unwrap_or_else(|_| utc.to_string())
}

pub(crate) fn serialize<S: Serializer>(time: &OffsetDateTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*time))
}

/// For `#[serde(with)]` on an `Option`.
pub(crate) mod option {
    use super::{OffsetDateTime, Serializer, text};

    pub(crate) fn serialize<S: Serializer>(time: &Option<OffsetDateTime>, serializer: S) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => serializer.serialize_some(&text(*time)),
            None => serializer.serialize_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::text;

    #[test]
    fn never_and_early_times_are_shown_as_they_are_and_offsets_become_utc() {
        assert_eq!(text(datetime!(9999-12-31 23:59:59 UTC)), "9999-12-31T23:59:59Z");
        assert_eq!(text(datetime!(1950-01-01 0:00 UTC)), "1950-01-01T00:00:00Z");
        assert_eq!(text(datetime!(2026-11-21 3:00 +1)), "2026-11-21T02:00:00Z");
    }
}
