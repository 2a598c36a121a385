//! What a session remembers of packets that are not finished, so that no hook has to.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use mproxy_codec::{Direction, Kind, ReasonCode};

use super::flights::Flights;
use crate::cause::{Cause, End};
use crate::error::Violation;
use crate::hook::Entry;
use crate::reply::request_code;

/// Memory, in bytes, for SUBSCRIBE and UNSUBSCRIBE that wait for their answer, here and in hooks that
/// remember their filters: about 2,500 small ones. Devices send long lists of subscriptions without waiting; a client that has sent more is
/// not read until answers have made room.
const MAX_COST: usize = 256 * 1024;

/// What a request takes beside its own bytes and the codes of its answer.
const REQUEST_COST: usize = 64;

/// What a packet identifier takes in a set of them.
pub(crate) const ID_COST: usize = 4;

/// What a hand-shake takes that the proxy ends at the broker, with the answer of a few bytes.
const RECALL_COST: usize = 128;

/// How many requests of one identifier are compared with an answer.
const LOOK_AHEAD: usize = 16;

/// Packet identifiers and requests that are under way. One word, and no memory, in a session in which
/// nothing is.
#[derive(Debug, Default)]
pub(crate) struct Exchanges(Option<Box<Pending>>);

#[derive(Debug, Default)]
struct Pending {
    /// SUBSCRIBE and UNSUBSCRIBE with their identifiers, the oldest first. Brokers answer in this order,
    /// so that the request of an answer is nearly always the first. A client may use an identifier again
    /// before it is answered, MQTT 3.1 even tells it to: answers belong to the oldest request of their
    /// type and identifier.
    requests: VecDeque<(RequestKey, Request)>,
    /// What `requests` cost.
    cost: usize,
    /// Answers of the proxy that an earlier answer was in the way of.
    due: Vec<Bytes>,
    /// The broker answered a request since somebody looked.
    answered_some: bool,
    /// QoS 2 hand-shakes that the client began and the proxy finishes itself, up to PUBREL.
    answered: BTreeSet<u16>,
    /// QoS 2 hand-shakes that the broker began, for deliveries that the client does not get.
    dropped: BTreeSet<u16>,
    /// Publications of the client that wait for an answer, where their number is limited.
    flights: Option<Flights>,
    /// QoS 2 hand-shakes from an earlier connection that the proxy ends at the broker, and what the
    /// client is answered when that is done.
    recalled: BTreeMap<u16, Option<Bytes>>,
}

/// Packet type and packet identifier.
type RequestKey = (Kind, u16);

impl Pending {
    fn is_empty(&self) -> bool {
        self.requests.is_empty()
            && self.due.is_empty()
            && self.answered.is_empty()
            && self.dropped.is_empty()
            && self.recalled.is_empty()
            && self.flights.is_none()
    }

    fn add(&mut self, key: RequestKey, request: Request) {
        self.cost += request.cost();
        if self.requests.is_empty() {
            // most devices have one at a time, and a fleet that comes back has all of them at once
            self.requests.reserve_exact(1);
        }
        self.requests.push_back((key, request));
    }

    /// The requests of this type and identifier, the oldest first, with their places.
    fn of(&self, key: RequestKey) -> impl Iterator<Item = (usize, &Request)> {
        let requests = self.requests.iter().enumerate();
        requests.filter_map(move |(at, (other, request))| (*other == key).then_some((at, request)))
    }

    /// Takes the request that an answer with `received` codes belongs to: the oldest, or a later one if
    /// the broker has left the oldest unanswered. The proxy's own answers that follow are due.
    fn take_answered(&mut self, key: RequestKey, received: Option<usize>) -> Option<Request> {
        let target = self
            .of(key)
            .take(LOOK_AHEAD)
            .position(|(_, request)| request.answers_to(received));
        let mut left_unanswered = target.unwrap_or(0);
        self.answered_some = true;
        let mut found = None;
        loop {
            let at = match self.of(key).next() {
                Some((at, Request::Refused(_))) => at,
                Some((at, _)) if found.is_none() => at,
                _ => break,
            };
            match self.remove(at) {
                Some(Request::Refused(answer)) => self.due.push(answer),
                request if left_unanswered == 0 => found = request,
                _ => {}
            }
            left_unanswered = left_unanswered.saturating_sub(1);
        }
        found
    }

    fn remove(&mut self, at: usize) -> Option<Request> {
        let (_, request) = self.requests.remove(at)?;
        self.cost -= request.cost();
        Some(request)
    }
}

/// A SUBSCRIBE or UNSUBSCRIBE of which the client does not have the answer.
#[derive(Debug)]
enum Request {
    /// It went to the broker.
    Forwarded {
        /// Codes that its answer will have.
        codes: u32,
        /// Its bytes.
        size: u32,
        /// How the answer is to be merged; `None` when it goes to the client as it comes.
        merge: Option<Box<[Slot]>>,
    },
    /// It was refused, while an earlier one of its type and identifier was at the broker.
    Refused(Bytes),
}

impl Request {
    fn cost(&self) -> usize {
        REQUEST_COST
            + match self {
                Self::Forwarded { merge, size, .. } => {
                    *size as usize + merge.as_ref().map_or(0, |it| size_of_val(&**it))
                }
                Self::Refused(answer) => answer.len(),
            }
    }

    fn answers_to(&self, received: Option<usize>) -> bool {
        match self {
            Self::Forwarded { codes, .. } => received.is_none_or(|count| count == *codes as usize),
            Self::Refused(_) => false,
        }
    }
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

impl Slot {
    const fn of(entry: &Entry) -> Self {
        match (entry.refused, entry.added) {
            (Some(reason), _) => Self::Own(reason),
            (None, true) => Self::Skip,
            (None, false) => Self::Broker,
        }
    }
}

/// An answer of the broker to a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It goes to the client as it is.
    AsIs,
    /// It goes to the client with these codes.
    Codes(Vec<u8>),
}

impl Exchanges {
    /// A request of `size` bytes goes to the broker, with `forwarded` filters.
    pub(crate) fn request(
        &mut self,
        kind: Kind,
        packet_id: u16,
        (forwarded, size): (usize, usize),
        entries: Option<&[Entry]>,
    ) {
        let merge = entries
            .map(|entries| entries.iter().map(Slot::of).collect::<Box<_>>())
            // hooks that looked and left the answer as it will be
            .filter(|slots| slots.iter().any(|slot| *slot != Slot::Broker));
        let request = Request::Forwarded {
            // a packet has neither more filters nor more bytes
            codes: u32::try_from(forwarded).unwrap_or(u32::MAX),
            size: u32::try_from(size).unwrap_or(u32::MAX),
            merge,
        };
        let pending = self.0.get_or_insert_default();
        pending.add((kind, packet_id), request);
    }

    /// True when the requests under way use up their memory: the client is not read.
    pub(crate) fn is_full(&self) -> bool {
        self.cost() >= MAX_COST
    }

    /// True when, after that, enough of them are answered.
    pub(crate) fn has_room(&self) -> bool {
        self.cost() <= MAX_COST / 2
    }

    /// True when the broker has answered a request since the last call.
    pub(crate) fn take_progress(&mut self) -> bool {
        let pending = self.0.as_mut();
        pending.is_none_or(|pending| std::mem::take(&mut pending.answered_some))
    }

    /// Bytes that it takes.
    pub(crate) fn size(&self) -> usize {
        let size = |pending: &Pending| {
            let ids = pending.answered.len() + pending.dropped.len();
            let due: usize = pending.due.iter().map(Bytes::len).sum();
            let flights = pending.flights.as_ref().map_or(0, Flights::size);
            pending.cost + due + flights + ids * ID_COST + pending.recalled.len() * RECALL_COST
        };
        self.0.as_deref().map_or(0, size)
    }

    fn cost(&self) -> usize {
        self.0.as_ref().map_or(0, |pending| pending.cost)
    }

    /// The proxy answers a request itself. The answer comes back if it can be sent at once; it waits
    /// as long as the broker has an earlier request of this type and identifier, so that the client
    /// gets its answers in order.
    pub(crate) fn refuse(&mut self, kind: Kind, packet_id: u16, answer: Bytes) -> Option<Bytes> {
        match &mut self.0 {
            Some(pending) if pending.of((kind, packet_id)).next().is_some() => {
                pending.add((kind, packet_id), Request::Refused(answer));
                None
            }
            _ => Some(answer),
        }
    }

    /// The broker answers a request, with these codes if answers of this type have any. `strict`
    /// says that an answer with another number of codes than any request had filters is an error
    /// in any case; otherwise only where it was to be merged.
    ///
    /// # Errors
    /// The answer has another number of codes than the request had filters.
    pub(crate) fn answer(
        &mut self,
        request: Kind,
        packet_id: u16,
        codes: Option<&[u8]>,
        strict: bool,
    ) -> Result<Answer, End> {
        let received = codes.map(<[u8]>::len);
        let found = self.finish(|pending| pending.take_answered((request, packet_id), received));
        // one that nobody waits for is between the broker and the client
        let Some(Request::Forwarded {
            codes: sent, merge, ..
        }) = found
        else {
            return Ok(Answer::AsIs);
        };
        let Some(codes) = codes else {
            return Ok(Answer::AsIs);
        };
        if codes.len() != sent as usize && (strict || merge.is_some()) {
            let answer = match request {
                Kind::Subscribe => Kind::Suback,
                _ => Kind::Unsuback,
            };
            let violation = Violation::CodeCount;
            return Err(Cause::violation(Direction::ToClient, answer, violation));
        }
        let Some(merge) = merge else {
            return Ok(Answer::AsIs);
        };
        let mut broker = codes.iter().copied();
        let mut merged = Vec::with_capacity(merge.len());
        for slot in &merge {
            match slot {
                Slot::Broker => merged.extend(broker.next()),
                Slot::Own(reason) => merged.push(request_code(request, *reason)),
                Slot::Skip => drop(broker.next()),
            }
        }
        Ok(Answer::Codes(merged))
    }

    /// Takes the answers of the proxy that can be sent now, in order.
    pub(crate) fn take_due(&mut self) -> Option<Vec<Bytes>> {
        self.finish(|pending| {
            let due = std::mem::take(&mut pending.due);
            (!due.is_empty()).then_some(due)
        })
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

    /// The client may have `maximum` publications under way.
    pub(super) fn limit_flights(&mut self, maximum: u16) {
        self.0.get_or_insert_default().flights = Some(Flights::new(maximum));
    }

    /// The publications of the client under way, if they are counted.
    #[inline]
    pub(super) fn flights(&mut self) -> Option<&mut Flights> {
        self.0.as_mut()?.flights.as_mut()
    }

    /// True when publications of the client are counted.
    #[inline]
    pub(super) fn has_flights(&self) -> bool {
        self.0.as_ref().is_some_and(|it| it.flights.is_some())
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
mod tests;
