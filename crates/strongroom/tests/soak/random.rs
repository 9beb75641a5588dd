//! Random choices that a seed repeats.

use std::time::Duration;

/// SplitMix64: small, and each seed gives a sequence of its own.
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to `end`, without `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// True once in `times`.
    pub(crate) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// From 0 to 32 ms, mostly short.
    pub(crate) fn moment(&mut self) -> Duration {
        let most = 1 << self.below(16);
        Duration::from_micros(self.below(most))
    }

    /// A key in SQLCipher's raw form, which costs no derivation.
    pub(crate) fn key(&mut self) -> String {
        let words: String = (0..4).map(|_| format!("{:016x}", self.next())).collect();
        format!("x'{words}'")
    }

    /// A sequence of its own.
    pub(crate) fn fork(&mut self) -> Random {
        Random(self.next())
    }
}
