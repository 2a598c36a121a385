//! What a session remembers of packets that are not finished, so that no hook has to.

use std::collections::BTreeSet;

use mproxy_codec::{Direction, Kind, ReasonCode};

use crate::error::{End, Violation};
use crate::hook::Entry;

/// How many SUBSCRIBE and UNSUBSCRIBE may wait for their answer. Devices send long lists of
/// subscriptions without waiting; nobody has this many.
const MAX_REQUESTS: usize = 4096;

/// Packet identifiers and requests that are under way. Everything in it is empty, and owns no
/// memory, in a session in which nothing is pending.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    requests: Vec<Request>,
    handshakes: Option<Box<Handshakes>>,
}

/// QoS 2 hand-shakes that the proxy finishes itself, by packet identifier, up to PUBREL.
#[derive(Debug, Default)]
struct Handshakes {
    /// Begun by the client.
    answered: BTreeSet<u16>,
    /// Begun by the broker, for deliveries that the client does not get.
    dropped: BTreeSet<u16>,
}

/// A SUBSCRIBE or UNSUBSCRIBE that was forwarded and not answered yet.
#[derive(Debug)]
struct Request {
    kind: Kind,
    packet_id: u16,
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
        if self.requests.len() >= MAX_REQUESTS {
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
        self.requests.push(Request {
            kind,
            packet_id,
            forwarded,
            merge,
        });
        Ok(())
    }

    /// Refuses a packet identifier that is in use by a pending request.
    ///
    /// # Errors
    /// It is.
    pub(crate) fn check_free(&self, packet_id: u16) -> Result<(), End> {
        if self
            .requests
            .iter()
            .any(|request| request.packet_id == packet_id)
        {
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
        let found = self
            .requests
            .iter()
            .position(|pending| pending.kind == request && pending.packet_id == packet_id);
        let Some(found) = found else {
            return Ok(Answer::Unknown);
        };
        let request = self.requests.remove(found);
        if self.requests.is_empty() {
            self.requests = Vec::new();
        }
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
                Slot::Own(reason) => merged.push(reason.as_u8()),
                Slot::Skip => drop(broker.next()),
            }
        }
        Ok(Answer::Codes(merged))
    }

    /// Remembers a QoS 2 PUBLISH of the client that the proxy answers itself.
    pub(crate) fn answer_locally(&mut self, packet_id: u16) {
        self.handshakes
            .get_or_insert_default()
            .answered
            .insert(packet_id);
    }

    /// True when there may be a QoS 2 PUBLISH that the proxy has answered itself.
    #[inline]
    pub(crate) const fn answers_locally(&self) -> bool {
        self.handshakes.is_some()
    }

    /// True when the proxy has answered a QoS 2 PUBLISH with this identifier itself.
    pub(crate) fn is_answered_locally(&self, packet_id: u16) -> bool {
        self.handshakes
            .as_ref()
            .is_some_and(|handshakes| handshakes.answered.contains(&packet_id))
    }

    /// The client releases an identifier; true when the proxy answers that itself.
    pub(crate) fn release(&mut self, packet_id: u16) -> bool {
        self.finish(|handshakes| &mut handshakes.answered, packet_id)
    }

    /// Remembers a QoS 2 delivery that the client does not get.
    pub(crate) fn drop_delivery(&mut self, packet_id: u16) {
        self.handshakes
            .get_or_insert_default()
            .dropped
            .insert(packet_id);
    }

    /// The broker releases an identifier; true when the client has not heard of it.
    pub(crate) fn release_delivery(&mut self, packet_id: u16) -> bool {
        self.finish(|handshakes| &mut handshakes.dropped, packet_id)
    }

    fn finish(
        &mut self,
        side: impl FnOnce(&mut Handshakes) -> &mut BTreeSet<u16>,
        packet_id: u16,
    ) -> bool {
        let Some(handshakes) = &mut self.handshakes else {
            return false;
        };
        let finished = side(handshakes).remove(&packet_id);
        if handshakes.answered.is_empty() && handshakes.dropped.is_empty() {
            self.handshakes = None;
        }
        finished
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
        assert!(ledger.handshakes.is_none(), "an empty set owns no memory");
    }
}
