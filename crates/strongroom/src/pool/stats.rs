//! A pool in numbers.

use std::fmt::{self, Write as _};

use super::counters::{CloseReason, Counters, Histogram};
use super::slots::Sizes;
use crate::error::Holder;

/// A moment's view of a pool, from [`Pool::stats`](super::Pool::stats).
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Connections that nobody has borrowed; the pool may just be testing or closing one.
    pub idle: usize,
    /// Connections that are lent: as many as were [`acquired`](Self::acquired) and not yet [`released`](Self::released).
    pub active: usize,
    /// Connections that are being made.
    pub connecting: usize,
    /// Callers that wait for one.
    pub waiting: usize,
    /// Who has held a connection longest.
    pub oldest: Option<Holder>,
    /// Connections made since the pool was: as many as there are and were closed.
    pub created: u64,
    /// Times that a connection was lent, also to a caller who had gone, or for whom it then failed its test.
    pub acquired: u64,
    /// Times that one came home.
    pub released: u64,
    /// Callers that waited the acquire timeout in vain.
    pub timeouts: u64,
    /// Attempts to make a connection that failed.
    pub connect_errors: u64,
    /// How long callers waited for the connections they got, from their arrival.
    pub waits: Histogram,
    /// How long connections were lent.
    pub uses: Histogram,
    closed: [u64; CloseReason::ALL.len()],
}

impl Stats {
    pub(super) fn new(sizes: Sizes, oldest: Option<Holder>, counters: Counters) -> Self {
        Stats {
            idle: sizes.idle,
            active: sizes.lent,
            connecting: sizes.connecting,
            waiting: sizes.waiting,
            oldest,
            created: counters.created,
            acquired: counters.acquired,
            released: counters.released,
            timeouts: counters.timeouts,
            connect_errors: counters.connect_errors,
            waits: counters.waits,
            uses: counters.uses,
            closed: counters.closed,
        }
    }

    /// Connections that are open or being made.
    pub fn size(&self) -> usize {
        self.idle + self.active + self.connecting
    }

    /// Connections closed for this reason.
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.closed[reason as usize]
    }

    /// The numbers in Prometheus' text format (version 0.0.4), with the label `pool="name"`: gauges
    /// `strongroom_pool_connections` by state and `strongroom_pool_waiting`, counters `strongroom_pool_*_total`, and
    /// histograms `strongroom_pool_wait_seconds` and `strongroom_pool_use_seconds`.
    ///
    /// <https://prometheus.io/docs/instrumenting/exposition_formats/>
    pub fn to_prometheus(&self, name: &str) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_prometheus(&mut text, &escaped(name));
        text
    }

    fn write_prometheus(&self, text: &mut String, name: &str) -> fmt::Result {
        header(text, "connections", "gauge", "Connections by state.")?;
        for (state, count) in [("idle", self.idle), ("active", self.active), ("connecting", self.connecting)] {
            writeln!(text, "strongroom_pool_connections{{pool=\"{name}\",state=\"{state}\"}} {count}")?;
        }
        header(text, "waiting", "gauge", "Callers that wait for a connection.")?;
        writeln!(text, "strongroom_pool_waiting{{pool=\"{name}\"}} {}", self.waiting)?;
        let counters = [
            ("created_total", "Connections made.", self.created),
            ("acquired_total", "Times that a connection was lent.", self.acquired),
            ("released_total", "Times that a connection came home.", self.released),
            ("timeouts_total", "Callers that waited the acquire timeout in vain.", self.timeouts),
            ("connect_errors_total", "Attempts to make a connection that failed.", self.connect_errors),
        ];
        for (metric, help, count) in counters {
            header(text, metric, "counter", help)?;
            writeln!(text, "strongroom_pool_{metric}{{pool=\"{name}\"}} {count}")?;
        }
        header(text, "closed_total", "counter", "Connections closed, by reason.")?;
        for reason in CloseReason::ALL {
            let (label, count) = (reason.as_str(), self.closed(reason));
            writeln!(text, "strongroom_pool_closed_total{{pool=\"{name}\",reason=\"{label}\"}} {count}")?;
        }
        write_histogram(text, name, "wait_seconds", "How long callers waited.", &self.waits)?;
        write_histogram(text, name, "use_seconds", "How long connections were lent.", &self.uses)
    }
}

fn header(text: &mut String, metric: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(text, "# HELP strongroom_pool_{metric} {help}\n# TYPE strongroom_pool_{metric} {kind}")
}

fn write_histogram(text: &mut String, name: &str, metric: &str, help: &str, histogram: &Histogram) -> fmt::Result {
    header(text, metric, "histogram", help)?;
    let mut cumulative = 0;
    for (bound, count) in histogram.buckets() {
        cumulative += count;
        let bound = bound.map_or("+Inf".to_owned(), |bound| bound.as_secs_f64().to_string());
        writeln!(text, "strongroom_pool_{metric}_bucket{{pool=\"{name}\",le=\"{bound}\"}} {cumulative}")?;
    }
    writeln!(text, "strongroom_pool_{metric}_sum{{pool=\"{name}\"}} {}", histogram.total().as_secs_f64())?;
    writeln!(text, "strongroom_pool_{metric}_count{{pool=\"{name}\"}} {cumulative}")
}

/// A label's value: backslash, quote and newline are escaped.
pub(crate) fn escaped(name: &str) -> String {
    name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
