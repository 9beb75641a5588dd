//! The table that is printed.

use std::time::Duration;

pub(crate) fn head(title: &str) {
    println!("\n{title}");
}

pub(crate) fn line(what: &str, value: &str) {
    println!("  {what:<72} {value}");
}

/// A measured ratio and what it should be.
pub(crate) fn against(what: &str, ratio: f64, target: &str, met: bool) {
    line(what, &format!("{ratio:.2}  (target {target}: {})", if met { "met" } else { "MISSED" }));
}

pub(crate) fn micros(time: Duration) -> String {
    format!("{:.1} µs", time.as_secs_f64() * 1e6)
}

pub(crate) fn per_second(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

pub(crate) fn rate(count: usize, time: Duration) -> String {
    format!("{:.0}/s", per_second(count, time))
}

pub(crate) fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
