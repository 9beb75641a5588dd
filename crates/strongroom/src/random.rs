//! Randomness that keeps things apart in time. Not for secrets.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// A random duration, from none to just below `most`.
pub(crate) fn up_to(most: Duration) -> Duration {
    // A new hasher's keys are random; that is random enough to keep two machines apart.
    let random = RandomState::new().build_hasher().finish() >> 11;
    most.mul_f64(random as f64 / (1_u64 << 53) as f64)
}
