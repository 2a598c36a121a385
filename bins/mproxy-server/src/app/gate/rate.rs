//! Rates of new connections, of all clients and of each.
//!
//! A bucket holds one second's worth, and at least one connection. It is stored as the time at which it
//! is full again (the generic cell rate algorithm): eight bytes, which need no update while nothing
//! happens. Libraries such as `governor` cannot check without taking: there each check
//! takes a token, so a client that a later limit refuses would have paid. Nor do they keep the
//! state per address within a bound, see [`Buckets`].

use std::time::Duration;

use super::client::Client;
use crate::app::recent::Recent;
pub(super) use crate::app::recent::{Moment, nanos};
use mproxy_session::Rate;

/// Addresses whose buckets are not full, per listener: 7 MiB at most.
const MOST_BUCKETS: usize = 65_536;

/// How fast a bucket fills, and its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pace {
    /// Nanoseconds per token. More than a billion per second are no limit.
    each: u64,
    /// Nanoseconds until an empty bucket is full.
    all: u64,
}

impl Pace {
    fn of(rate: Rate) -> Self {
        let each = (nanos(rate.period) / u64::from(rate.count.get())).max(1);
        Self {
            each,
            all: each.max(nanos(Duration::from_secs(1))),
        }
    }

    /// Whether a bucket that is full again at `full` has a token.
    const fn has_one(self, full: Moment, now: Moment) -> bool {
        full.saturating_sub(now) <= self.all - self.each
    }

    /// When the bucket is full again after taking one.
    fn take_one(self, full: Moment, now: Moment) -> Moment {
        full.max(now) + self.each
    }
}

/// The rate of new connections of all clients together.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone, PartialEq))]
pub(super) struct Bucket {
    pub(super) rate: Rate,
    pace: Pace,
    full: Moment,
}

impl Bucket {
    pub(super) fn new(rate: Rate) -> Self {
        Self {
            rate,
            pace: Pace::of(rate),
            full: 0,
        }
    }

    pub(super) const fn has_one(&self, now: Moment) -> bool {
        self.pace.has_one(self.full, now)
    }

    pub(super) fn take_one(&mut self, now: Moment) {
        self.full = self.pace.take_one(self.full, now);
    }

    pub(super) fn give_one_back(&mut self) {
        self.full = self.full.saturating_sub(self.pace.each);
    }
}

/// The rate of new connections of each client, in bounded memory: a bucket that was not used while
/// any bucket fills is full, and forgotten.
///
/// An attacker with more addresses than there is room for cannot be limited by address. When the room
/// is taken, new addresses are not limited by this rate, but by the later limits:
/// refusing them would keep out every new client.
#[derive(Debug)]
#[cfg_attr(test, derive(Clone, PartialEq))]
pub(super) struct Buckets {
    pub(super) rate: Rate,
    pace: Pace,
    /// When the bucket of a client is full again.
    full: Recent<Client>,
}

impl Buckets {
    pub(super) fn new(rate: Rate) -> Self {
        Self {
            rate,
            pace: Pace::of(rate),
            full: Recent::new(MOST_BUCKETS),
        }
    }

    pub(super) fn has_one(&self, client: Client, now: Moment) -> bool {
        self.pace.has_one(self.full.get(&client).unwrap_or(0), now)
    }

    pub(super) fn take_one(&mut self, client: Client, now: Moment) {
        let known = self.full.get(&client).unwrap_or(0);
        let full = self.pace.take_one(known, now);
        self.full.set(client, full, now, self.pace.all);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};
    use std::num::NonZeroU32;

    const SECOND: u64 = 1_000_000_000;

    fn rate(count: u32, seconds: u64) -> Rate {
        Rate {
            count: NonZeroU32::new(count).unwrap(),
            period: Duration::from_secs(seconds),
        }
    }

    fn client(number: u32) -> Client {
        Client::of(IpAddr::V4(Ipv4Addr::from_bits(number)), 64)
    }

    /// How many of so many get in at once.
    fn let_in(bucket: &mut Bucket, tries: usize, now: Moment) -> usize {
        let took = (0..tries).filter(|_| {
            let has = bucket.has_one(now);
            if has {
                bucket.take_one(now);
            }
            has
        });
        took.count()
    }

    #[test]
    fn a_bucket_holds_a_seconds_worth_and_one_at_least() {
        for (rate, at_once, after_a_second) in [
            (rate(2, 1), 2, 2),
            (rate(3, 1), 3, 3),
            (rate(1000, 1), 1000, 1000),
            (rate(120, 60), 2, 2),
            (rate(7, 60), 1, 0),
            (rate(1, 3600), 1, 0),
        ] {
            let mut bucket = Bucket::new(rate);
            assert_eq!(let_in(&mut bucket, 2000, 0), at_once, "{rate}");
            let later = let_in(&mut bucket, 2000, SECOND);
            assert_eq!(later, after_a_second, "{rate}");
            let full = bucket.full;
            assert_eq!(let_in(&mut bucket, 2000, full + 90 * SECOND), at_once);
        }
    }

    #[test]
    fn a_bucket_fills_one_by_one() {
        let mut bucket = Bucket::new(rate(2, 1));
        assert_eq!(let_in(&mut bucket, 5, 7 * SECOND), 2);
        assert_eq!(let_in(&mut bucket, 5, 7 * SECOND + SECOND * 4 / 10), 0);
        assert_eq!(let_in(&mut bucket, 5, 7 * SECOND + SECOND * 6 / 10), 1);
    }

    #[test]
    fn each_client_has_a_bucket_of_its_own() {
        let mut buckets = Buckets::new(rate(1, 60));
        buckets.take_one(client(1), 0);
        assert!(!buckets.has_one(client(1), 0));
        assert!(buckets.has_one(client(2), 0));
        assert!(!buckets.has_one(client(1), 59 * SECOND));
        assert!(buckets.has_one(client(1), 60 * SECOND));
    }

    /// An attacker who owned a /32 of IPv6 had four billion buckets. Neither may they fill the memory,
    /// nor may they push out the one that the attacker has emptied.
    #[test]
    fn more_addresses_than_there_is_room_for_refill_nothing() {
        let hour = 3600 * SECOND;
        let mut buckets = Buckets::new(rate(1, 3600));
        buckets.full = buckets.full.with_most(100);
        for tick in 0..50 {
            let now = tick * hour / 10;
            if tick % 10 == 0 {
                assert!(buckets.has_one(client(0), now), "{tick}");
                buckets.take_one(client(0), now);
            }
            assert!(!buckets.has_one(client(0), now + 1), "{tick}");
            for number in 0..1000 {
                let other = client(1 + u32::try_from(tick).unwrap() * 1000 + number);
                assert!(buckets.has_one(other, now));
                buckets.take_one(other, now);
            }
            assert!(buckets.full.iter().count() <= 100);
            assert!(!buckets.has_one(client(0), now + 1), "{tick}");
        }
    }

    #[test]
    fn buckets_that_are_full_again_go() {
        let mut buckets = Buckets::new(rate(10, 1));
        for second in 0..20 {
            for number in 0..50 {
                buckets.take_one(client(second * 50 + number), u64::from(second) * SECOND);
            }
            assert!(buckets.full.iter().count() <= 100);
        }
    }
}
