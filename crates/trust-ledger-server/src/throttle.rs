//! Rates: how often a client may do something.
//!
//! A bucket of tokens for each client, as a single moment: when it will be full again (the generic cell rate algorithm).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Clients that are remembered; beyond, those whose buckets are full are forgotten.
const MOST: usize = 65_536;

/// Counts by client.
#[derive(Debug)]
pub(crate) struct Throttle {
    /// Between two turns of a client that uses all of its rate; zero when there is no limit.
    interval: Duration,
    burst: u32,
    full_at: Mutex<HashMap<IpAddr, Instant>>,
}

impl Throttle {
    /// So many turns a second, of which `burst` may be taken at once. A rate of 0 is no limit.
    pub(crate) fn new(rate: u32, burst: u32) -> Throttle {
        let interval = if rate == 0 { Duration::ZERO } else { Duration::from_secs(1) / rate };
        Throttle { interval, burst, full_at: Mutex::default() }
    }

    /// Takes a turn of the client's; answers how long to wait when it has none left.
    pub(crate) fn take(&self, client: IpAddr, now: Instant) -> Result<(), Duration> {
        self.ask(client, now, true)
    }

    /// Whether the client has a turn left, without taking it.
    pub(crate) fn has(&self, client: IpAddr, now: Instant) -> Result<(), Duration> {
        self.ask(client, now, false)
    }

    fn ask(&self, client: IpAddr, now: Instant, take: bool) -> Result<(), Duration> {
        if self.interval.is_zero() {
            return Ok(());
        }
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let client = network_of(client);
        let then = full_at.get(&client).map_or(now, |then| (*then).max(now)) + self.interval;
        let wait = then.saturating_duration_since(now + self.interval * self.burst);
        if !wait.is_zero() {
            return Err(wait);
        }
        if take {
            if full_at.len() >= MOST {
                full_at.retain(|_, then| *then > now);
            }
            full_at.insert(client, then);
        }
        Ok(())
    }
}

/// Whoever has one IPv6 address has its network's 2^64.
fn network_of(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_then_the_rate() {
        let throttle = Throttle::new(10, 3);
        let (client, start) = (IpAddr::from([192, 0, 2, 1]), Instant::now());
        for _ in 0..3 {
            assert_eq!(throttle.take(client, start), Ok(()));
        }
        assert_eq!(throttle.take(client, start), Err(Duration::from_millis(100)));
        assert_eq!(throttle.take(client, start + Duration::from_millis(100)), Ok(()));
        assert!(throttle.take(client, start + Duration::from_millis(150)).is_err());
        // Others have their own.
        assert_eq!(throttle.take(IpAddr::from([192, 0, 2, 2]), start), Ok(()));
        assert_eq!(throttle.take(client, start + Duration::from_secs(60)), Ok(()));
    }

    #[test]
    fn asking_takes_nothing_and_no_rate_is_no_limit() {
        let throttle = Throttle::new(1, 1);
        let (client, now) = (IpAddr::from([192, 0, 2, 1]), Instant::now());
        assert_eq!((throttle.has(client, now), throttle.has(client, now)), (Ok(()), Ok(())));
        throttle.take(client, now).unwrap();
        assert!(throttle.has(client, now).is_err());
        let unlimited = Throttle::new(0, 0);
        assert!((0..1000).all(|_| unlimited.take(client, now).is_ok()));
    }

    #[test]
    fn addresses_of_one_ipv6_network_share_a_rate_and_mapped_ones_are_ipv4() {
        let throttle = Throttle::new(1, 1);
        let now = Instant::now();
        throttle.take("2001:db8::1".parse().unwrap(), now).unwrap();
        assert!(throttle.take("2001:db8::2".parse().unwrap(), now).is_err());
        assert!(throttle.take("2001:db8:0:1::2".parse().unwrap(), now).is_ok());
        throttle.take("::ffff:192.0.2.1".parse().unwrap(), now).unwrap();
        assert!(throttle.take("192.0.2.1".parse().unwrap(), now).is_err());
    }
}
