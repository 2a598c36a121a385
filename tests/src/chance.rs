//! Chance that can be had again.

use std::env;

use fastrand::Rng;

/// The variable that holds a seed, to see once more what a test saw.
const SEED: &str = "MPROXY_SEED";

/// Numbers by chance, the same ones for the same seed.
#[derive(Clone, Debug)]
pub struct Chance(Rng);

impl Chance {
    /// The seed that the environment names, or a new one; printed, so that a failure can be played
    /// again.
    ///
    /// # Panics
    /// If the variable holds no number.
    #[must_use]
    pub fn new() -> Self {
        let seed = env::var(SEED).map_or_else(
            |_| fastrand::u64(..),
            |seed| seed.parse().expect("a seed is a number"),
        );
        println!("{SEED}={seed}");
        Self(Rng::with_seed(seed))
    }

    /// Another sequence that depends on this one.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self(self.0.fork())
    }

    /// A number below `end`.
    ///
    /// # Panics
    /// If there is none.
    pub fn below(&mut self, end: usize) -> usize {
        self.0.usize(..end)
    }

    /// One of some.
    ///
    /// # Panics
    /// If there are none.
    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        self.0.choice(all).expect("there are some")
    }
}

impl Default for Chance {
    fn default() -> Self {
        Self::new()
    }
}
