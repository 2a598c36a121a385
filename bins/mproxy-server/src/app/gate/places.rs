//! Which clients hold the places of pending connections, and which of them makes room.
//!
//! Places are shared out evenly: the client that holds most gives one up, its oldest. Were it the oldest
//! of all, a client that holds hundreds and renews them all the time would take the places of slow
//! modems that hold one each, and never lose its own.
//!
//! Each step costs the logarithm of the number of connections, whatever an attacker does.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::client::Client;
use super::rate::{Moment, nanos};

/// How long a connection may be pending before it has to make room for another one. A CONNECT that was
/// sent at once has come by then, over a slow network too.
const GRACE: Duration = Duration::from_secs(1);

/// Clients that are found in one step to have had their time. A step makes at most two of them wait for
/// it again, so that only after a burst of so many clients there are some that nobody has looked at.
const MOST_RIPENED: usize = 32;

/// Who holds a place. All clients that have no address, those of Unix sockets, are one.
pub(super) type Holder = Option<Client>;

/// The place of a pending connection; the older ones are the smaller ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) since: Moment,
    pub(super) number: u64,
}

/// Places of pending connections, of one listener or of all.
#[derive(Debug, Default)]
#[cfg_attr(test, derive(Clone, PartialEq))]
pub(super) struct Places {
    /// All of them: the first of a holder is its oldest.
    held: BTreeSet<(Holder, Place)>,
    counts: BTreeMap<Holder, usize>,
    /// Holders of which the oldest has had its time, with how many they hold and with it: the last one
    /// makes room.
    ripe: BTreeSet<(usize, Reverse<Place>, Holder)>,
    /// The other holders, with their oldest: the first one has its time first.
    unripe: BTreeSet<(Place, Holder)>,
}

impl Places {
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    pub(super) fn count(&self, holder: Holder) -> usize {
        self.counts.get(&holder).copied().unwrap_or_default()
    }

    pub(super) fn enter(&mut self, holder: Holder, place: Place) {
        self.change(holder, |places| {
            places.held.insert((holder, place));
            *places.counts.entry(holder).or_default() += 1;
        });
        self.ripen(place.since);
    }

    pub(super) fn leave(&mut self, holder: Holder, place: Place) {
        self.change(holder, |places| {
            if places.held.remove(&(holder, place))
                && let Some(count) = places.counts.get_mut(&holder)
            {
                *count -= 1;
                if *count == 0 {
                    places.counts.remove(&holder);
                }
            }
        });
    }

    /// Finds those that have had their time since the last step. Before [`to_evict`](Self::to_evict).
    pub(super) fn ripen(&mut self, now: Moment) {
        for _ in 0..MOST_RIPENED {
            let Some(&(oldest, holder)) = self.unripe.first() else {
                break;
            };
            if now.saturating_sub(oldest.since) < nanos(GRACE) {
                break;
            }
            self.unripe.pop_first();
            let count = self.count(holder);
            self.ripe.insert((count, Reverse(oldest), holder));
        }
    }

    /// The place that is given up for one more of `newcomer`: the oldest of the holder with most places,
    /// among those of which one has had its time. Nobody makes room for a client that holds more itself.
    pub(super) fn to_evict(&self, newcomer: Holder) -> Option<Place> {
        let (count, Reverse(oldest), holder) = *self.ripe.last()?;
        (holder == newcomer || self.count(newcomer) <= count).then_some(oldest)
    }

    /// Who holds most, of those that have an address. Looks at all holders.
    pub(super) fn most(&self) -> Option<(Client, usize)> {
        let counts = self.counts.iter();
        let of_clients = counts.filter_map(|(holder, count)| Some(((*holder)?, *count)));
        of_clients.max_by_key(|(_, count)| *count)
    }

    /// Changes what a holder has, and with it its rank. Its oldest has had its time afterwards if it had
    /// before, and is the same.
    fn change(&mut self, holder: Holder, change: impl FnOnce(&mut Self)) {
        let before = self.oldest(holder);
        let was_ripe = before.is_some_and(|oldest| {
            let rank = (self.count(holder), Reverse(oldest), holder);
            !self.unripe.remove(&(oldest, holder)) && self.ripe.remove(&rank)
        });
        change(self);
        match self.oldest(holder) {
            Some(oldest) if was_ripe && before == Some(oldest) => {
                let rank = (self.count(holder), Reverse(oldest), holder);
                self.ripe.insert(rank);
            }
            Some(oldest) => {
                self.unripe.insert((oldest, holder));
            }
            None => {}
        }
    }

    fn oldest(&self, holder: Holder) -> Option<Place> {
        const FIRST: Place = Place {
            since: 0,
            number: 0,
        };
        let (of, place) = self.held.range((holder, FIRST)..).next()?;
        (*of == holder).then_some(*place)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        let ranks = self.ripe.len() + self.unripe.len();
        self.held.is_empty() && self.counts.is_empty() && ranks == 0
    }
}
