//! How large a pool may be, and how patient.

use std::fmt::Debug;
use std::time::Duration;

/// Limits of a pool.
///
/// | setting | default | least | most |
/// |---|---|---|---|
/// | [`min_size`](Self::min_size) | 1 | 0 | 10 |
/// | [`max_size`](Self::max_size) | 10 | 1 | 100 |
/// | [`acquire_timeout`](Self::acquire_timeout) | 30 s | 1 s | 300 s |
/// | [`connect_attempts`](Self::connect_attempts) | 3 | 1 | 10 |
/// | [`connect_delay`](Self::connect_delay) | 0.5 s | 0.1 s | 60 s |
/// | [`idle_timeout`](Self::idle_timeout) | 10 min | 1 s | 1 day |
/// | [`max_lifetime`](Self::max_lifetime) | none | 1 s | 1 day |
/// | [`keepalive`](Self::keepalive) | none | 1 s | 1 day |
/// | [`test_after_idle`](Self::test_after_idle) | 1 s | 0 s | 1 day |
/// | [`leak_warning`](Self::leak_warning) | none | 1 s | 1 day |
///
/// A value outside is moved to the nearest bound, and a warning is logged. Where the default is "none", and for the idle
/// timeout, `None` switches it off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub(crate) min_size: usize,
    pub(crate) max_size: usize,
    pub(crate) acquire_timeout: Duration,
    pub(crate) connect_attempts: u32,
    pub(crate) connect_delay: Duration,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) max_lifetime: Option<Duration>,
    pub(crate) keepalive: Option<Duration>,
    pub(crate) test_after_idle: Option<Duration>,
    pub(crate) leak_warning: Option<Duration>,
}

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Default for Settings {
    fn default() -> Self {
        Settings {
            min_size: 1,
            max_size: 10,
            acquire_timeout: Duration::from_secs(30),
            connect_attempts: 3,
            connect_delay: Duration::from_millis(500),
            idle_timeout: Some(Duration::from_secs(600)),
            max_lifetime: None,
            keepalive: None,
            test_after_idle: Some(SECOND),
            leak_warning: None,
        }
    }
}

impl Settings {
    /// Connections that are made as soon as the pool is used, made again when they are closed, and kept however long they
    /// are idle. Default 1, 0 to 10; never above the [`max_size`](Self::max_size).
    pub fn min_size(mut self, size: usize) -> Self {
        self.min_size = clamp("pool.min_size", size, 0, 10);
        self
    }

    /// Most connections at a time. Default 10, 1 to 100.
    pub fn max_size(mut self, size: usize) -> Self {
        self.max_size = clamp("pool.max_size", size, 1, 100);
        self
    }

    /// Longest time to wait for a connection, over queueing, connecting and testing. Default 30 s, 1 s to 300 s.
    pub fn acquire_timeout(mut self, timeout: Duration) -> Self {
        self.acquire_timeout = clamp("pool.acquire_timeout", timeout, SECOND, 300 * SECOND);
        self
    }

    /// Attempts to make a connection before a waiter is told the cause. Default 3, 1 to 10. An error that another attempt
    /// cannot mend ends them at once, and so does one that takes longer than the [`acquire_timeout`](Self::acquire_timeout).
    pub fn connect_attempts(mut self, attempts: u32) -> Self {
        self.connect_attempts = clamp("retry.attempts", attempts, 1, 10);
        self
    }

    /// Pause before the second attempt; each further one is twice as long, up to 60 s, and up to a quarter is taken off at
    /// random. Default 0.5 s, 0.1 s to 60 s.
    pub fn connect_delay(mut self, delay: Duration) -> Self {
        self.connect_delay = clamp("retry.delay", delay, SECOND / 10, 60 * SECOND);
        self
    }

    /// Idle for longer than this, a connection above [`min_size`](Self::min_size) is closed. Default 10 min, 1 s to a day.
    pub fn idle_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.idle_timeout = timeout.map(|timeout| clamp("pool.idle_timeout", timeout, SECOND, DAY));
        self
    }

    /// Older than this, a connection is closed when it comes home, or while it is idle. Up to a tenth is taken off at random,
    /// so that connections made together do not end together. Default none, 1 s to a day.
    pub fn max_lifetime(mut self, lifetime: Option<Duration>) -> Self {
        self.max_lifetime = lifetime.map(|lifetime| clamp("pool.max_lifetime", lifetime, SECOND, DAY));
        self
    }

    /// Idle and unused for this long, a connection is tested, which also keeps firewalls from forgetting it. Default none,
    /// 1 s to a day.
    pub fn keepalive(mut self, interval: Option<Duration>) -> Self {
        self.keepalive = interval.map(|interval| clamp("pool.keepalive", interval, SECOND, DAY));
        self
    }

    /// A connection that was idle for longer than this is tested before it is lent. Default 1 s, 0 (always) to a day; `None`
    /// is never.
    pub fn test_after_idle(mut self, idle: Option<Duration>) -> Self {
        self.test_after_idle = idle.map(|idle| clamp("pool.test_after_idle", idle, Duration::ZERO, DAY));
        self
    }

    /// Lent for longer than this, a connection's borrower is named in a warning, with its place in the source. Default none,
    /// 1 s to a day.
    pub fn leak_warning(mut self, age: Option<Duration>) -> Self {
        self.leak_warning = age.map(|age| clamp("pool.leak_warning", age, SECOND, DAY));
        self
    }
}

/// The value, or the nearest bound with a warning.
pub(crate) fn clamp<T: PartialOrd + Copy + Debug>(setting: &str, value: T, least: T, most: T) -> T {
    let nearest = if value < least {
        least
    } else if value > most {
        most
    } else {
        return value;
    };
    tracing::warn!(setting, given = ?value, used = ?nearest, "a setting is out of its range; the nearest bound is used");
    nearest
}
