//! What a session remembers of packets that are not finished, so that no hook has to.

use std::collections::{BTreeMap, BTreeSet, btree_map};

use bytes::Bytes;
use mproxy_codec::{Direction, Kind, ReasonCode};

use crate::error::{End, Violation};
use crate::hook::Entry;
use crate::reply::request_code;

/// How many SUBSCRIBE and UNSUBSCRIBE may wait for their answer. Devices send long lists of
/// subscriptions without waiting; nobody has this many.
const MAX_REQUESTS: usize = 4096;

/// Packet identifiers and requests that are under way. One word, and no memory, in a session in which
/// nothing is.
#[derive(Debug, Default)]
pub(crate) struct Ledger(Option<Box<Pending>>);

#[derive(Debug, Default)]
struct Pending {
    /// SUBSCRIBE and UNSUBSCRIBE that were forwarded, by packet identifier.
    requests: BTreeMap<u16, Request>,
    /// QoS 2 hand-shakes that the client began and the proxy finishes itself, up to PUBREL.
    answered: BTreeSet<u16>,
    /// QoS 2 hand-shakes that the broker began, for deliveries that the client does not get.
    dropped: BTreeSet<u16>,
    /// QoS 2 hand-shakes from an earlier connection that the proxy ends at the broker, and what the
    /// client is answered when that is done.
    recalled: BTreeMap<u16, Option<Bytes>>,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.requests.is_empty()
            && self.answered.is_empty()
            && self.dropped.is_empty()
            && self.recalled.is_empty()
    }
}

/// A SUBSCRIBE or UNSUBSCRIBE that was forwarded and not answered yet.
#[derive(Debug)]
struct Request {
    kind: Kind,
    forwarded: u32,
    /// How the answer is to be merged; `None` when it goes to the client as it comes.
    merge: Option<Box<[Slot]>>,
}

/// One code of a merged answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    /// The next code of the broker's answer.
    Broker,
    /// A code that the proxy chose.
    Own(ReasonCode),
    /// The next code of the broker's answer, which the client did not ask for.
    Skip,
}

/// What becomes of an answer to a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nobody waits for it.
    Unknown,
    /// It goes to the client as it is.
    AsIs,
    /// It goes to the client with these codes.
    Codes(Vec<u8>),
}

impl Ledger {
    /// A request goes to the broker.
    ///
    /// # Errors
    /// Its packet identifier is in use by another request, or too many are pending.
    pub(crate) fn request(
        &mut self,
        kind: Kind,
        packet_id: u16,
        forwarded: usize,
        entries: Option<&[Entry]>,
    ) -> Result<(), End> {
        let requests = &mut self.0.get_or_insert_default().requests;
        if requests.len() >= MAX_REQUESTS {
            return Err(End::violation(
                Direction::ToServer,
                Violation::TooManyRequests,
            ));
        }
        let merge = entries.map(|entries| {
            entries
                .iter()
                .map(|entry| match (entry.refused, entry.added) {
                    (Some(reason), _) => Slot::Own(reason),
                    (None, true) => Slot::Skip,
                    (None, false) => Slot::Broker,
                })
                .collect()
        });
        let forwarded = u32::try_from(forwarded).unwrap_or(u32::MAX);
        let request = Request {
            kind,
            forwarded,
            merge,
        };
        requests.insert(packet_id, request);
        Ok(())
    }

    /// Refuses a packet identifier that is in use by a pending request.
    ///
    /// # Errors
    /// It is.
    pub(crate) fn check_free(&self, packet_id: u16) -> Result<(), End> {
        let pending = self.0.as_ref();
        if pending.is_some_and(|pending| pending.requests.contains_key(&packet_id)) {
            return Err(End::violation(
                Direction::ToServer,
                Violation::PacketIdInUse,
            ));
        }
        Ok(())
    }

    /// The broker answers a request.
    ///
    /// # Errors
    /// The answer has another number of codes than the request had filters.
    pub(crate) fn answer(
        &mut self,
        request: Kind,
        packet_id: u16,
        codes: &[u8],
        has_codes: bool,
    ) -> Result<Answer, End> {
        let request = self.finish(|pending| match pending.requests.entry(packet_id) {
            btree_map::Entry::Occupied(found) if found.get().kind == request => {
                Some(found.remove())
            }
            _ => None,
        });
        let Some(request) = request else {
            return Ok(Answer::Unknown);
        };
        if !has_codes {
            return Ok(Answer::AsIs);
        }
        if codes.len() != request.forwarded as usize {
            return Err(End::violation(Direction::ToClient, Violation::CodeCount));
        }
        let Some(merge) = request.merge else {
            return Ok(Answer::AsIs);
        };
        let mut broker = codes.iter().copied();
        let mut merged = Vec::with_capacity(merge.len());
        for slot in &merge {
            match slot {
                Slot::Broker => merged.extend(broker.next()),
                Slot::Own(reason) => merged.push(request_code(request.kind, *reason)),
                Slot::Skip => drop(broker.next()),
            }
        }
        Ok(Answer::Codes(merged))
    }

    /// Remembers a QoS 2 PUBLISH of the client that the proxy answers itself.
    pub(crate) fn answer_locally(&mut self, packet_id: u16) {
        let pending = self.0.get_or_insert_default();
        pending.answered.insert(packet_id);
    }

    /// True when there may be a QoS 2 PUBLISH that the proxy has answered itself.
    #[inline]
    pub(crate) fn answers_locally(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|pending| !pending.answered.is_empty() || !pending.recalled.is_empty())
    }

    /// True when the proxy has answered a QoS 2 PUBLISH with this identifier itself.
    pub(crate) fn is_answered_locally(&self, packet_id: u16) -> bool {
        self.0
            .as_ref()
            .is_some_and(|pending| pending.answered.contains(&packet_id))
    }

    /// The client releases an identifier; true when the proxy answers that itself.
    pub(crate) fn release(&mut self, packet_id: u16) -> bool {
        self.finish(|pending| pending.answered.remove(&packet_id).then_some(()))
            .is_some()
    }

    /// Remembers a QoS 2 delivery that the client does not get.
    pub(crate) fn drop_delivery(&mut self, packet_id: u16) {
        let pending = self.0.get_or_insert_default();
        pending.dropped.insert(packet_id);
    }

    /// The broker releases an identifier; true when the client has not heard of it.
    pub(crate) fn release_delivery(&mut self, packet_id: u16) -> bool {
        self.finish(|pending| pending.dropped.remove(&packet_id).then_some(()))
            .is_some()
    }

    /// The broker is asked to end a hand-shake of an earlier connection; `answer` is what the client
    /// gets when it has.
    pub(crate) fn recall(&mut self, packet_id: u16, answer: Option<Bytes>) {
        let pending = self.0.get_or_insert_default();
        pending.recalled.insert(packet_id, answer);
    }

    /// True while the broker has not ended a hand-shake that it was asked to end.
    pub(crate) fn is_recalled(&self, packet_id: u16) -> bool {
        self.0
            .as_ref()
            .is_some_and(|pending| pending.recalled.contains_key(&packet_id))
    }

    /// The broker completes a hand-shake. `Some` when it was the proxy that asked for it, with what
    /// the client is answered.
    pub(crate) fn complete_recall(&mut self, packet_id: u16) -> Option<Option<Bytes>> {
        self.finish(|pending| pending.recalled.remove(&packet_id))
    }

    /// Takes out what is finished, and gives the memory back with the last of it.
    fn finish<T>(&mut self, take: impl FnOnce(&mut Pending) -> Option<T>) -> Option<T> {
        let taken = take(self.0.as_mut()?);
        if self.0.as_ref().is_some_and(|pending| pending.is_empty()) {
            self.0 = None;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_find_their_request() {
        let mut ledger = Ledger::default();
        ledger.request(Kind::Subscribe, 7, 2, None).unwrap();
        ledger.request(Kind::Unsubscribe, 8, 1, None).unwrap();
        assert!(ledger.check_free(7).is_err());
        assert!(ledger.check_free(9).is_ok());
        let answer = ledger.answer(Kind::Subscribe, 8, &[0], true).unwrap();
        assert_eq!(answer, Answer::Unknown, "8 is an UNSUBSCRIBE");
        assert_eq!(
            ledger.answer(Kind::Subscribe, 7, &[0, 1], true).unwrap(),
            Answer::AsIs
        );
        assert_eq!(
            ledger.answer(Kind::Subscribe, 7, &[0, 1], true).unwrap(),
            Answer::Unknown
        );
        assert!(
            ledger.answer(Kind::Unsubscribe, 8, &[0, 0], true).is_err(),
            "one code too many"
        );
    }

    #[test]
    fn requests_are_bounded() {
        let mut ledger = Ledger::default();
        for id in 0..MAX_REQUESTS {
            ledger
                .request(Kind::Subscribe, u16::try_from(id).unwrap() + 1, 1, None)
                .unwrap();
        }
        assert!(ledger.request(Kind::Subscribe, 60_000, 1, None).is_err());
    }

    #[test]
    fn released_identifiers_are_forgotten() {
        let mut ledger = Ledger::default();
        ledger.answer_locally(5);
        assert!(ledger.is_answered_locally(5));
        assert!(ledger.release(5));
        assert!(!ledger.release(5));
        assert!(ledger.0.is_none(), "an empty ledger owns no memory");
    }
}
