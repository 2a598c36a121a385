//! Chance that can be had again.

use std::collections::hash_map::RandomState;
use std::env;
use std::hash::{BuildHasher, Hasher};

/// The variable that holds a seed, to see once more what a test saw.
const SEED: &str = "MPROXY_SEED";

/// Numbers by chance, the same ones for the same seed. SplitMix64: good enough to choose where to
/// cut.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// The seed that the environment names, or a new one; printed, for whoever reads of a failure.
    ///
    /// # Panics
    /// If the variable holds no number.
    #[must_use]
    pub fn new() -> Self {
        let seed = env::var(SEED).map_or_else(
            |_| RandomState::new().build_hasher().finish(),
            |seed| seed.parse().expect("a seed is a number"),
        );
        println!("{SEED}={seed}");
        Self(seed)
    }

    /// Another sequence that depends on this one.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self(self.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    ///
    /// # Panics
    /// If there is none.
    pub fn below(&mut self, end: usize) -> usize {
        assert!(end > 0, "no number is below 0");
        (self.next() % end as u64) as usize
    }

    /// One of some.
    ///
    /// # Panics
    /// If there are none.
    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

impl Default for Chance {
    fn default() -> Self {
        Self::new()
    }
}
