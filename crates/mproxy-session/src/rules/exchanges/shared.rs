//! Shared subscriptions. The broker gives each message of a group to one of its members, so that the
//! share of a member that may not read it is lost to all of them: they are kept, to be judged again when
//! the rules change.

use std::collections::BTreeMap;

use mproxy_codec::topic::VendorForms;
use mproxy_codec::{Kind, QoS, SubscriptionOptions, View};

/// Memory, in bytes, for the shared subscriptions of a session: about 2,500 small ones. Workers have a
/// few.
const MAX_BYTES: usize = 256 * 1024;

/// What one takes beside its filter.
const FILTER_COST: usize = 64;

/// A shared subscription in a SUBSCRIBE or UNSUBSCRIBE, as the client wrote it.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    /// Which of the filters of the packet it is: the code with this place in the answer is about it.
    pub(crate) place: usize,
    filter: Box<str>,
    options: SubscriptionOptions,
}

impl Shared {
    /// Those of a request; nothing is allocated when there are none.
    pub(crate) fn of(request: &View<'_>) -> Box<[Self]> {
        match request {
            View::Subscribe(subscribe) => {
                let all = subscribe.subscriptions().enumerate();
                all.filter_map(|(place, it)| Self::new(place, &it.filter, it.options))
                    .collect()
            }
            View::Unsubscribe(unsubscribe) => {
                let (all, none) = (
                    unsubscribe.filters(),
                    SubscriptionOptions::new(QoS::AtMostOnce),
                );
                all.enumerate()
                    .filter_map(|(place, filter)| Self::new(place, &filter, none))
                    .collect()
            }
            _ => Box::default(),
        }
    }

    /// A form of a vendor counts as well: who has an exclusive subscription keeps others from it, and to
    /// a broker that does not know the form the filter matches next to nothing.
    fn new(place: usize, filter: &str, options: SubscriptionOptions) -> Option<Self> {
        let is_shared = filter.starts_with("$share/") || VendorForms::of(filter).is_some();
        is_shared.then(|| Self {
            place,
            filter: filter.into(),
            options,
        })
    }

    pub(super) const fn cost(&self) -> usize {
        self.filter.len() + FILTER_COST
    }

    pub(super) fn as_pair(&self) -> (&str, SubscriptionOptions) {
        (&self.filter, self.options)
    }
}

/// The shared subscriptions that the broker has granted.
#[derive(Debug, Default)]
pub(super) struct Granted {
    filters: BTreeMap<Box<str>, SubscriptionOptions>,
    size: usize,
    /// There were more than are kept.
    is_incomplete: bool,
}

impl Granted {
    /// The broker has answered a request with these codes; UNSUBACK has none before MQTT 5.0.
    pub(super) fn answered(&mut self, request: Kind, shared: Box<[Shared]>, codes: Option<&[u8]>) {
        for it in shared {
            let code = codes.and_then(|codes| codes.get(it.place));
            let cost = it.cost();
            if code.is_some_and(|code| *code >= 0x80) {
                continue;
            } else if request != Kind::Subscribe {
                self.size -= self.filters.remove(&it.filter).map_or(0, |_| cost);
            } else if self.size + cost > MAX_BYTES {
                self.is_incomplete = true;
            } else if self.filters.insert(it.filter, it.options).is_none() {
                self.size += cost;
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.filters.is_empty() && !self.is_incomplete
    }

    /// Bytes that they take.
    pub(super) const fn size(&self) -> usize {
        self.size
    }

    /// All of them, or `None` when there were too many to keep.
    pub(super) fn all(&self) -> Option<impl Iterator<Item = (&str, SubscriptionOptions)>> {
        let all = self.filters.iter().map(|(filter, it)| (&**filter, *it));
        (!self.is_incomplete).then_some(all)
    }
}

#[cfg(test)]
mod tests {
    use mproxy_codec::{Direction, Version, encode_subscribe, encode_unsubscribe};

    use super::*;

    fn shared(frame: &[u8]) -> Box<[Shared]> {
        let view = View::parse(Version::V311, Direction::ToServer, frame).unwrap();
        Shared::of(&view.unwrap())
    }

    fn subscribe(filters: &[&str]) -> Box<[Shared]> {
        let options = SubscriptionOptions::new(QoS::AtMostOnce);
        let filters = filters.iter().map(|it| (it, options));
        shared(&encode_subscribe(Version::V311, 1, &[], filters).unwrap())
    }

    fn unsubscribe(filter: &str) -> Box<[Shared]> {
        shared(&encode_unsubscribe(Version::V311, 1, &[], [filter]).unwrap())
    }

    fn all(granted: &Granted) -> Vec<&str> {
        granted.all().unwrap().map(|(filter, _)| filter).collect()
    }

    #[test]
    fn what_is_granted_is_kept_until_it_is_given_up() {
        let mut granted = Granted::default();
        let filters = ["a", "$share/g/a", "$share/g/refused", "$queue/b", "$SYS/#"];
        let codes = [0, 1, 0x80, 0, 0];
        granted.answered(Kind::Subscribe, subscribe(&filters), Some(&codes));
        granted.answered(Kind::Subscribe, subscribe(&["$queue/b"]), Some(&[2]));
        assert_eq!(all(&granted), ["$queue/b", "$share/g/a"]);
        let failed = unsubscribe("$queue/b");
        granted.answered(Kind::Unsubscribe, failed, Some(&[0x87]));
        assert_eq!(all(&granted).len(), 2);
        for filter in ["$queue/b", "$share/g/a", "$share/g/other"] {
            granted.answered(Kind::Unsubscribe, unsubscribe(filter), None);
        }
        assert!(granted.is_empty() && granted.size() == 0);
    }

    /// A client that has more than are kept cannot be judged, and so does not pass as one that has none.
    #[test]
    fn too_many_are_not_forgotten() {
        let mut granted = Granted::default();
        for number in 0..5000 {
            let filter = format!("$share/g/{number}");
            granted.answered(Kind::Subscribe, subscribe(&[&filter]), Some(&[0]));
        }
        assert!(granted.all().is_none() && granted.size() <= MAX_BYTES);
    }
}
