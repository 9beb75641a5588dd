//! Randomness that keeps things apart in time. Not for secrets.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// A random duration, from none to just below `most`.
pub(crate) fn up_to(most: Duration) -> Duration {
    most.mul_f64((number() >> 11) as f64 / (1_u64 << 53) as f64)
}

/// Puts things into a random order (Fisher and Yates).
pub(crate) fn shuffle<T>(things: &mut [T]) {
    for last in (1..things.len()).rev() {
        things.swap(last, (number() % (last as u64 + 1)) as usize);
    }
}

fn number() -> u64 {
    // A new hasher's keys are random; that is random enough to keep two machines apart.
    RandomState::new().build_hasher().finish()
}
