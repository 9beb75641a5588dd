//! Times and durations for people, and as they are typed.

use std::str::FromStr;
use std::time::Duration;

use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, Time, UtcOffset};

use trust_ledger_registry::certificate::NEVER;

const DAY: u64 = 86_400;

/// The day, such as `2026-11-21`; `never` for a certificate without end.
pub(crate) fn date(moment: OffsetDateTime) -> String {
    if moment == NEVER {
        return "never".to_owned();
    }
    let day = moment.to_offset(UtcOffset::UTC).date();
    // The format has only parts that every date has.
    day.format(format_description!("[year]-[month]-[day]")).unwrap_or_else(|_| day.to_string())
}

/// The second, such as `2026-11-21 02:00:00 UTC`; `never` for a certificate without end.
pub(crate) fn moment(moment: OffsetDateTime) -> String {
    if moment == NEVER {
        return "never".to_owned();
    }
    let utc = moment.to_offset(UtcOffset::UTC);
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    utc.format(format).unwrap_or_else(|_| utc.to_string())
}

/// RFC 3339, as in JSON: `2026-11-21T02:00:00Z`.
pub(crate) fn rfc3339(moment: OffsetDateTime) -> String {
    let utc = moment.to_offset(UtcOffset::UTC);
    utc.format(&Rfc3339).unwrap_or_else(|_| utc.to_string())
}

/// How far away a moment is: `in 12 days`, `3 hours ago`, `now`. Empty for a certificate without end.
pub(crate) fn distance(moment: OffsetDateTime, now: OffsetDateTime) -> String {
    if moment == NEVER {
        return String::new();
    }
    let seconds = (moment - now).whole_seconds();
    match (seconds, span(Duration::from_secs(seconds.unsigned_abs()))) {
        (-59..=59, _) => "now".to_owned(),
        (1.., span) => format!("in {span}"),
        (_, span) => format!("{span} ago"),
    }
}

/// A duration in its largest fitting unit, rounded down: `45 minutes`, `12 days`, `5 months`.
pub(crate) fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (count, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3_600 => (seconds / 60, "minute"),
        3_600..172_800 => (seconds / 3_600, "hour"),
        _ => match seconds / DAY {
            days @ ..=99 => (days, "day"),
            days @ 100..=729 => (days * 12 / 365, "month"),
            days => (days * 100 / 36_525, "year"),
        },
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// Reads a duration as it is typed: `90d`, `12h`, `4w`.
pub(crate) fn parse_span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no duration: a number with h, d or w behind it, such as 12h, 90d or 4w");
    let text = text.trim();
    let unit = match text.chars().next_back() {
        Some('h') => 3_600,
        Some('d') => DAY,
        Some('w') => 7 * DAY,
        _ => return Err(wrong()),
    };
    let count: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    // Longer than all of X.509's years is as good as for ever, and no sum with it may overflow.
    count
        .checked_mul(unit)
        .filter(|seconds| *seconds <= 10_000 * 366 * DAY)
        .map(Duration::from_secs)
        .ok_or_else(|| format!("{text:?} is longer than 10,000 years"))
}

/// Reads a moment as it is typed: RFC 3339, or a day (its beginning, UTC).
pub(crate) fn parse_moment(text: &str) -> Result<OffsetDateTime, String> {
    let text = text.trim();
    if let Ok(day) = Date::parse(text, format_description!("[year]-[month]-[day]")) {
        return Ok(day.with_time(Time::MIDNIGHT).assume_utc());
    }
    let utc = |moment: OffsetDateTime| moment.checked_to_offset(UtcOffset::UTC);
    OffsetDateTime::parse(text, &Rfc3339)
        .ok()
        .and_then(utc)
        .ok_or_else(|| format!("{text:?} is no date: write 2026-11-21, or with time and zone 2026-11-21T02:00:00Z"))
}

/// A moment, said by its date or by its distance from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    /// This moment.
    At(OffsetDateTime),
    /// So far from now; the option says in which direction.
    Away(Duration),
}

impl When {
    /// The moment, a distance counted into the future. Beyond year 9999 it is its end.
    pub(crate) fn ahead(self, now: OffsetDateTime) -> OffsetDateTime {
        match self {
            When::At(moment) => moment,
            When::Away(span) => signed(span).and_then(|span| now.checked_add(span)).unwrap_or(NEVER),
        }
    }

    /// The moment, a distance counted into the past. Before year 1 it is 1970.
    pub(crate) fn ago(self, now: OffsetDateTime) -> OffsetDateTime {
        match self {
            When::At(moment) => moment,
            When::Away(span) => {
                let earlier = signed(span).and_then(|span| now.checked_sub(span));
                earlier.filter(|moment| moment.year() > 0).unwrap_or(OffsetDateTime::UNIX_EPOCH)
            }
        }
    }
}

fn signed(span: Duration) -> Option<time::Duration> {
    time::Duration::try_from(span).ok()
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_span = text.trim().ends_with(['h', 'd', 'w']);
        match (is_span, parse_moment(text)) {
            (true, _) => parse_span(text).map(When::Away),
            (false, Ok(moment)) => Ok(When::At(moment)),
            (false, Err(reason)) => Err(format!("{reason}; or a duration, such as 90d")),
        }
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn distances_are_in_the_largest_unit_that_says_enough() {
        let now = datetime!(2026-11-21 12:00 UTC);
        for (moment, expected) in [
            (datetime!(2026-12-03 12:00 UTC), "in 12 days"),
            (datetime!(2026-11-22 13:00 UTC), "in 25 hours"),
            (datetime!(2026-11-21 12:01 UTC), "in 1 minute"),
            (datetime!(2026-11-21 12:00:30 UTC), "now"),
            (datetime!(2026-11-21 09:00 UTC), "3 hours ago"),
            (datetime!(2027-06-21 12:00 UTC), "in 6 months"),
            (datetime!(2036-11-21 12:00 UTC), "in 10 years"),
            (datetime!(1999-11-21 12:00 UTC), "27 years ago"),
            (NEVER, ""),
        ] {
            assert_eq!(distance(moment, now), expected, "{moment}");
        }
        assert_eq!(date(NEVER), "never");
        assert_eq!(moment(datetime!(1950-01-02 3:04:05 +1)), "1950-01-02 02:04:05 UTC");
    }

    #[test]
    fn durations_need_a_unit_and_do_not_overflow() {
        assert_eq!(parse_span("90d"), Ok(Duration::from_secs(90 * DAY)));
        assert_eq!(parse_span("12h"), Ok(Duration::from_secs(12 * 3_600)));
        assert_eq!(parse_span("4w"), Ok(Duration::from_secs(28 * DAY)));
        for wrong in ["90", "d", "-1d", "1.5d", "3m", "", "90 days", "99999999999999999999d", "9999999999d", "１d"] {
            assert!(parse_span(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn moments_are_days_or_rfc_3339() {
        assert_eq!(parse_moment("2026-11-21"), Ok(datetime!(2026-11-21 0:00 UTC)));
        assert_eq!(parse_moment("2026-11-21T02:00:00+02:00"), Ok(datetime!(2026-11-21 0:00 UTC)));
        for wrong in ["21.11.2026", "2026-13-01", "2026-11-21T02:00:00", "yesterday", ""] {
            assert!(parse_moment(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_distance_is_counted_in_the_direction_asked_for() {
        let now = datetime!(2026-11-21 12:00 UTC);
        let week: When = "1w".parse().unwrap();
        assert_eq!(week.ahead(now), datetime!(2026-11-28 12:00 UTC));
        assert_eq!(week.ago(now), datetime!(2026-11-14 12:00 UTC));
        let ages: When = "521000w".parse().unwrap();
        assert_eq!((ages.ahead(now), ages.ago(now)), (NEVER, OffsetDateTime::UNIX_EPOCH));
    }
}
