//! The table: what was measured, and how it compares with what is aimed at.

use std::time::Duration;

pub(crate) fn title(text: &str) {
    println!("\n{text}");
}

pub(crate) fn line(what: &str, measured: &str) {
    println!("  {what:<58} {measured:>26}");
}

/// Aims at `least` or more.
pub(crate) fn at_least(what: &str, value: f64, least: f64, unit: &str, more: &str) {
    let verdict = if value >= least { "reached".to_owned() } else { missed(least - value, least) };
    against(what, value, unit, more, &format!("at least {}{unit}: {verdict}", number(least)));
}

/// Aims at `most` or less.
pub(crate) fn at_most(what: &str, value: f64, most: f64, unit: &str, more: &str) {
    let verdict = if value <= most { "reached".to_owned() } else { missed(value - most, most) };
    against(what, value, unit, more, &format!("at most {}{unit}: {verdict}", number(most)));
}

fn against(what: &str, value: f64, unit: &str, more: &str, target: &str) {
    println!("  {what:<58} {:>26}   {target}", format!("{}{unit}{more}", number(value)));
}

fn missed(by: f64, target: f64) -> String {
    format!("missed by {:.0} %", (100.0 * by / target).ceil())
}

pub(crate) fn number(value: f64) -> String {
    match value {
        value if value >= 1_000.0 => {
            let whole = format!("{value:.0}");
            let (thousands, rest) = whole.split_at(whole.len() - 3);
            format!("{thousands},{rest}")
        }
        value if value >= 100.0 => format!("{value:.0}"),
        value if value.fract() == 0.0 => format!("{value:.0}"),
        value => format!("{value:.2}"),
    }
}

pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The time that so many in a thousand of these take at most.
pub(crate) fn quantile(sorted: &[Duration], thousandths: usize) -> Duration {
    sorted.get((sorted.len() * thousandths / 1_000).min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}
