//! Which clients hold the places of pending connections, and which one makes room.
//!
//! Places are shared evenly: the client that holds most gives up its oldest. If it were the oldest
//! of all, a client that holds hundreds and renews them all the time would take the places of slow
//! modems that hold one each, and never lose its own.
//!
//! Each step costs the logarithm of the number of connections, whatever an attacker does.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::client::Client;
use super::rate::{Moment, nanos};

/// How long a connection may be pending before it may have to make room. A CONNECT that was
/// sent at once has arrived by then, even over a slow network.
const GRACE: Duration = Duration::from_secs(1);

/// Maximum clients per step that are marked as having had their time. A step makes at most two of them wait
/// for it again, so only after a burst of this many clients are some not marked yet.
const MOST_RIPENED: usize = 32;

/// Who holds a place. All clients without an address (Unix sockets) are one.
pub(super) type Holder = Option<Client>;

/// The place of a pending connection; older ones are smaller.
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
    /// Holders whose oldest place has had its time, by how many they hold and that place: the last one
    /// makes room.
    ripe: BTreeSet<(usize, Reverse<Place>, Holder)>,
    /// The other holders, by their oldest place: the first one has its time first.
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

    /// Marks holders that have had their time since the last step. Call before [`to_evict`](Self::to_evict).
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

    /// The place to give up for one more of `newcomer`: the oldest of the holder with most places,
    /// among those with a place that has had its time. Nobody makes room for a client that holds more.
    pub(super) fn to_evict(&self, newcomer: Holder) -> Option<Place> {
        let (count, Reverse(oldest), holder) = *self.ripe.last()?;
        (holder == newcomer || self.count(newcomer) <= count).then_some(oldest)
    }

    /// The holder with most places, among those with an address. Looks at all holders.
    pub(super) fn most(&self) -> Option<(Client, usize)> {
        let counts = self.counts.iter();
        let of_clients = counts.filter_map(|(holder, count)| Some(((*holder)?, *count)));
        of_clients.max_by_key(|(_, count)| *count)
    }

    /// Changes the places of a holder, and so its rank. If its oldest place had its time before,
    /// and is still the same, it has had its time afterwards.
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
