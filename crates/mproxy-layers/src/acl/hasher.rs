//! A hash for topic levels: short strings, chosen by the operator.

use std::hash::{BuildHasher, Hasher};

/// Hashes eight bytes with one multiplication.
///
/// The keys in the table come from the configuration and never from the network, so there is no one
/// who could fill it with collisions; the default hasher's defence against that is most of the cost
/// of a lookup.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct LevelHash;

#[derive(Debug)]
pub(super) struct LevelHasher(u64);

/// An odd constant with well-spread bits: 2^64 divided by the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl BuildHasher for LevelHash {
    type Hasher = LevelHasher;

    fn build_hasher(&self) -> LevelHasher {
        LevelHasher(0)
    }
}

impl LevelHasher {
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(SPREAD);
    }
}

impl Hasher for LevelHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        for word in words {
            self.add(u64::from_le_bytes(*word));
        }
        let rest = rest
            .iter()
            .fold(0, |word, &byte| word << 8 | u64::from(byte));
        self.add(rest);
    }

    fn write_usize(&mut self, number: usize) {
        self.add(number as u64);
    }

    fn finish(&self) -> u64 {
        // The table picks a slot by the low bits and tells neighbours apart by the high ones; a
        // product has its entropy in the high bits.
        self.0 ^ self.0 >> 32
    }
}
