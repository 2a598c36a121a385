//! Sampling: which of many packets are logged.

/// Picks a share of the packets of a session, evenly: with a share of 0.01 every hundredth.
///
/// A session adds up its share packet by packet, and picks one whenever the sum reaches a whole packet.
/// That needs neither a clock nor randomness, and also works for shares that are not one in n.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sample {
    /// The share, in parts of a packet.
    share: u64,
    /// The sum since the last packet that was picked; less than a whole one.
    sum: u64,
}

/// The parts of a packet. Coarser than a share of one in n is as a float, so that rounding up makes
/// good what the float lacks, and the n-th packet is picked and not the one after it.
const WHOLE: u64 = 1 << 48;

impl Sample {
    /// Picks nothing.
    pub(super) const NONE: Self = Self { share: 0, sum: 0 };

    /// Picks this share; below 0.0, or not a number, is nothing, and above 1.0 is everything.
    pub(super) const fn new(share: f64) -> Self {
        Self {
            // not a number becomes 0
            share: (share.clamp(0.0, 1.0) * WHOLE as f64).ceil() as u64,
            sum: 0,
        }
    }

    /// Whether no packet is ever picked.
    pub(super) const fn is_none(self) -> bool {
        self.share == 0
    }

    /// Counts a packet, and returns whether it is picked.
    #[inline]
    pub(super) const fn picks(&mut self) -> bool {
        self.sum += self.share;
        let picked = self.sum >= WHOLE;
        if picked {
            self.sum -= WHOLE;
        }
        picked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_nth_is_picked() {
        for n in (1..=1000).chain([4096, 9_999, 100_000]) {
            let mut sample = Sample::new(1.0 / f64::from(n));
            for round in 0..3 {
                for packet in 1..=n {
                    assert_eq!(
                        sample.picks(),
                        packet == n,
                        "{packet} of {n}, round {round}"
                    );
                }
            }
        }
    }

    #[test]
    fn other_shares_are_spread_evenly() {
        let mut sample = Sample::new(0.75);
        let picked: Vec<_> = (0..8).map(|_| sample.picks()).collect();
        let four = [false, true, true, true];
        assert_eq!(picked, [four, four].concat());
    }

    #[test]
    fn shares_out_of_range_are_the_nearest_in_it() {
        for nothing in [0.0, -0.0, -1.0, f64::NAN, f64::NEG_INFINITY] {
            let mut sample = Sample::new(nothing);
            assert!(
                sample.is_none() && (0..100).all(|_| !sample.picks()),
                "{nothing}"
            );
        }
        for everything in [1.0, 1.5, f64::INFINITY] {
            let mut sample = Sample::new(everything);
            assert!((0..100).all(|_| sample.picks()), "{everything}");
        }
        assert!(!Sample::new(f64::MIN_POSITIVE).is_none());
    }
}
