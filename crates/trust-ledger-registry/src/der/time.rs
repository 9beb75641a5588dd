//! UTCTime and GeneralizedTime.
//!
//! RFC 5280 §4.1.2.5 wants `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`. Certificates from before it, and from careless
//! programs, differ, and are read: without seconds (zero is meant), with fractions of a second (cut off), and
//! with an offset such as `+0100` (converted to UTC). A time **without any zone** is local time by X.690; whose, it
//! does not say. It is read as UTC, which is off by fourteen hours at most, where refusing it would leave a whole
//! certificate out of the register. (OpenSSL reads such certificates too and prints "Bad time value".)

use time::{Date, Duration, Month, OffsetDateTime, Time};

use super::{DerError, Element, tag};

/// The moment that a UTCTime or GeneralizedTime names, in UTC.
///
/// Two-digit years are 1950 to 2049. Fails for anything that is no date or time of day: month 13, 31 April,
/// second 60, and moments outside the years -9999 to 9999 after conversion to UTC.
pub(crate) fn read(element: &Element<'_>) -> Result<OffsetDateTime, DerError> {
    parse(element).ok_or_else(|| element.invalid("time"))
}

fn parse(element: &Element<'_>) -> Option<OffsetDateTime> {
    let (year, rest) = match element.tag {
        tag::UTC_TIME => {
            let (year, rest) = two_digits(element.content)?;
            (if year < 50 { 2000 + i32::from(year) } else { 1900 + i32::from(year) }, rest)
        }
        tag::GENERALIZED_TIME => {
            let (century, rest) = two_digits(element.content)?;
            let (year, rest) = two_digits(rest)?;
            (i32::from(century) * 100 + i32::from(year), rest)
        }
        _ => return None,
    };
    let (month, rest) = two_digits(rest)?;
    let (day, rest) = two_digits(rest)?;
    let (hour, rest) = two_digits(rest)?;
    let (minute, mut rest) = two_digits(rest)?;
    let mut second = 0;
    if rest.first().is_some_and(u8::is_ascii_digit) {
        (second, rest) = two_digits(rest)?;
        if let [b'.' | b',', fraction @ ..] = rest {
            let digits = fraction.iter().take_while(|octet| octet.is_ascii_digit()).count();
            if digits == 0 {
                return None;
            }
            rest = &fraction[digits..];
        }
    }
    let date = Date::from_calendar_date(year, Month::try_from(month).ok()?, day).ok()?;
    let local = date.with_time(Time::from_hms(hour, minute, second).ok()?).assume_utc();
    local.checked_sub(offset(rest)?)
}

/// How far the zone that ends a time is ahead of UTC.
fn offset(zone: &[u8]) -> Option<Duration> {
    let (sign, digits) = match zone {
        [] | b"Z" => return Some(Duration::ZERO),
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        _ => return None,
    };
    let (hours, rest) = two_digits(digits)?;
    let (minutes, rest) = if rest.is_empty() { (0, rest) } else { two_digits(rest)? };
    if !rest.is_empty() || hours > 23 || minutes > 59 {
        return None;
    }
    Some(Duration::minutes(sign * (i64::from(hours) * 60 + i64::from(minutes))))
}

fn two_digits(bytes: &[u8]) -> Option<(u8, &[u8])> {
    match bytes {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9', rest @ ..] => Some(((tens - b'0') * 10 + ones - b'0', rest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    fn read_text(tag: u8, text: &str) -> Option<OffsetDateTime> {
        parse(&Element { tag, content: text.as_bytes(), whole: text.as_bytes(), offset: 0 })
    }

    #[test]
    fn both_types_are_read_at_their_bounds() {
        for (tag, text, expected) in [
            (tag::UTC_TIME, "500101000000Z", datetime!(1950-01-01 0:00 UTC)),
            (tag::UTC_TIME, "491231235959Z", datetime!(2049-12-31 23:59:59 UTC)),
            (tag::GENERALIZED_TIME, "99991231235959Z", datetime!(9999-12-31 23:59:59 UTC)),
            (tag::GENERALIZED_TIME, "00000101000000Z", datetime!(0000-01-01 0:00 UTC)),
            (tag::GENERALIZED_TIME, "18991231235959Z", datetime!(1899-12-31 23:59:59 UTC)),
            (tag::GENERALIZED_TIME, "20240229120000Z", datetime!(2024-02-29 12:00 UTC)),
        ] {
            assert_eq!(read_text(tag, text), Some(expected), "{text}");
        }
    }

    #[test]
    fn times_that_do_not_end_in_z_are_converted_or_taken_as_utc() {
        for (tag, text, expected) in [
            (tag::UTC_TIME, "240101120000+0130", datetime!(2024-01-01 10:30 UTC)),
            (tag::UTC_TIME, "2401011200-0500", datetime!(2024-01-01 17:00 UTC)),
            (tag::UTC_TIME, "2401011200Z", datetime!(2024-01-01 12:00 UTC)),
            (tag::UTC_TIME, "240101120000", datetime!(2024-01-01 12:00 UTC)),
            (tag::GENERALIZED_TIME, "20240101120000", datetime!(2024-01-01 12:00 UTC)),
            (tag::GENERALIZED_TIME, "20240101120000.999Z", datetime!(2024-01-01 12:00 UTC)),
            (tag::GENERALIZED_TIME, "20240101120000,5-01", datetime!(2024-01-01 13:00 UTC)),
        ] {
            assert_eq!(read_text(tag, text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "Z",
            "2024",
            "20241301000000Z",
            "20240431000000Z",
            "20230229000000Z",
            "20240101240000Z",
            "20240101006000Z",
            "20240101000060Z",
            "20240101000000z",
            "20240101000000Z ",
            "20240101000000.Z",
            "20240101000000+2400",
            "20240101000000+0160",
            "99991231235959-0001",
            "2024010100000 Z",
        ] {
            assert_eq!(read_text(tag::GENERALIZED_TIME, text), None, "{text}");
        }
        assert_eq!(read_text(tag::UTC_TIME, "20240101000000Z"), None);
        assert_eq!(read_text(tag::INTEGER, "240101000000Z"), None);
    }
}
