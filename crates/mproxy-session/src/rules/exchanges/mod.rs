//! What a session remembers about unfinished exchanges, so that hooks need not.

mod requests;
mod shared;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use mproxy_codec::{Kind, SubscriptionOptions};

pub(crate) use self::requests::Answer;
use self::requests::{Forwarded, Request, Requests};
use self::shared::Granted;
pub(crate) use self::shared::Shared;
use super::flights::Flights;
use crate::cause::End;
use crate::hook::Entry;

/// Memory, in bytes, for SUBSCRIBE and UNSUBSCRIBE that wait for their answer, here and in hooks that
/// remember their filters: about 2,500 small ones. Devices send long lists of subscriptions without
/// waiting; a client that has sent more is not read until answers have made room.
const MAX_COST: usize = 256 * 1024;

/// Bytes of a packet identifier in a set.
pub(crate) const ID_COST: usize = 4;

/// Bytes of a hand-shake that the proxy ends at the broker, with its answer of a few bytes.
const RECALL_COST: usize = 128;

/// Packet identifiers and requests in progress. One word, and no memory, if there is none.
#[derive(Debug, Default)]
pub(crate) struct Exchanges(Option<Box<Pending>>);

#[derive(Debug, Default)]
struct Pending {
    requests: Requests,
    /// QoS 2 hand-shakes that the client began and the proxy finishes itself, up to PUBREL.
    answered: BTreeSet<u16>,
    /// QoS 2 hand-shakes that the broker began, for deliveries that the client does not get.
    dropped: BTreeSet<u16>,
    /// Publications of the client that wait for an answer, if their number is limited.
    flights: Option<Flights>,
    /// QoS 2 hand-shakes from an earlier connection that the proxy ends at the broker, and what the
    /// client is answered when that is done.
    recalled: BTreeMap<u16, Option<Bytes>>,
    /// Boxed, because most sessions have none.
    granted: Option<Box<Granted>>,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.requests.is_empty()
            && self.answered.is_empty()
            && self.dropped.is_empty()
            && self.recalled.is_empty()
            && self.flights.is_none()
            && self.granted.is_none()
    }
}

impl Exchanges {
    /// A request goes to the broker, with so many filters and bytes.
    pub(crate) fn request(
        &mut self,
        kind: Kind,
        packet_id: u16,
        size: (usize, usize),
        entries: Option<&[Entry]>,
        shared: Box<[Shared]>,
    ) {
        let request = Forwarded::new(size, entries, shared);
        let requests = &mut self.0.get_or_insert_default().requests;
        requests.add((kind, packet_id), Request::Forwarded(request));
    }

    /// True if the pending requests use up their memory: the client is not read.
    pub(crate) fn is_full(&self) -> bool {
        self.cost() >= MAX_COST
    }

    /// True if, after that, enough of them are answered.
    pub(crate) fn has_room(&self) -> bool {
        self.cost() <= MAX_COST / 2
    }

    /// True when the broker has answered a request since the last call.
    pub(crate) fn take_progress(&mut self) -> bool {
        let pending = self.0.as_mut();
        pending.is_none_or(|pending| std::mem::take(&mut pending.requests.answered_some))
    }

    /// Bytes of memory that it takes.
    pub(crate) fn size(&self) -> usize {
        let size = |pending: &Pending| {
            let ids = pending.answered.len() + pending.dropped.len();
            let flights = pending.flights.as_ref().map_or(0, Flights::size);
            let granted = pending.granted.as_ref().map_or(0, |it| it.size());
            let recalled = pending.recalled.len() * RECALL_COST;
            pending.requests.size() + flights + granted + ids * ID_COST + recalled
        };
        self.0.as_deref().map_or(0, size)
    }

    fn cost(&self) -> usize {
        self.0.as_ref().map_or(0, |pending| pending.requests.cost)
    }

    /// The proxy answers a request itself. Returns the answer if it can be sent at once; it waits
    /// while the broker has an earlier request of this type and identifier, so that the client
    /// gets its answers in order.
    pub(crate) fn refuse(&mut self, kind: Kind, packet_id: u16, answer: Bytes) -> Option<Bytes> {
        match &mut self.0 {
            Some(pending) if pending.requests.of((kind, packet_id)).next().is_some() => {
                let request = Request::Refused(answer);
                pending.requests.add((kind, packet_id), request);
                None
            }
            _ => Some(answer),
        }
    }

    /// The broker answers a request, with these codes if answers of this type have any. `strict` makes
    /// an answer an error if its number of codes fits no request, always; otherwise it is an error only
    /// if it must be merged.
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
        let key = (request, packet_id);
        let received = codes.map(<[u8]>::len);
        let found = self.finish(|pending| pending.requests.take_answered(key, received));
        // an answer without a request is left to the broker and the client
        let Some(Request::Forwarded(sent)) = found else {
            return Ok(Answer::AsIs);
        };
        let answer = sent.answer(request, codes, strict)?;
        let shared = sent.into_shared();
        if !shared.is_empty() {
            let told = match &answer {
                Answer::Codes(codes) => Some(&codes[..]),
                Answer::AsIs => codes,
            };
            let granted = &mut self.0.get_or_insert_default().granted;
            let all = granted.get_or_insert_default();
            all.answered(request, shared, told);
            granted.take_if(|all| all.is_empty());
            self.finish(|_| None::<()>);
        }
        Ok(answer)
    }

    /// The shared subscriptions that the broker has granted, or may grant yet; `None` when there are too
    /// many.
    pub(crate) fn shared(&self) -> Option<Vec<(&str, SubscriptionOptions)>> {
        let Some(pending) = &self.0 else {
            return Some(Vec::new());
        };
        let mut all: Vec<_> = pending.requests.shared().collect();
        if let Some(granted) = &pending.granted {
            all.extend(granted.all()?);
        }
        Some(all)
    }

    /// Takes the answers of the proxy that can be sent now, in order.
    pub(crate) fn take_due(&mut self) -> Option<Vec<Bytes>> {
        self.finish(|pending| {
            let due = std::mem::take(&mut pending.requests.due);
            (!due.is_empty()).then_some(due)
        })
    }

    /// Remembers a QoS 2 PUBLISH of the client that the proxy answers itself.
    pub(crate) fn answer_locally(&mut self, packet_id: u16) {
        let pending = self.0.get_or_insert_default();
        pending.answered.insert(packet_id);
    }

    /// True if there may be a QoS 2 PUBLISH that the proxy has answered itself.
    #[inline]
    pub(crate) fn answers_locally(&self) -> bool {
        self.has(|pending| !pending.answered.is_empty() || !pending.recalled.is_empty())
    }

    /// True if the proxy has answered a QoS 2 PUBLISH with this identifier itself.
    pub(crate) fn is_answered_locally(&self, packet_id: u16) -> bool {
        self.has(|pending| pending.answered.contains(&packet_id))
    }

    /// The client releases an identifier; true if the proxy answers that itself.
    pub(crate) fn release(&mut self, packet_id: u16) -> bool {
        self.finish(|pending| pending.answered.remove(&packet_id).then_some(()))
            .is_some()
    }

    /// Remembers a QoS 2 delivery that the client does not get.
    pub(crate) fn drop_delivery(&mut self, packet_id: u16) {
        let pending = self.0.get_or_insert_default();
        pending.dropped.insert(packet_id);
    }

    /// The broker releases an identifier; true if the client never got it.
    pub(crate) fn release_delivery(&mut self, packet_id: u16) -> bool {
        self.finish(|pending| pending.dropped.remove(&packet_id).then_some(()))
            .is_some()
    }

    /// The proxy asks the broker to end a hand-shake of an earlier connection; `answer` is what the client
    /// gets afterwards.
    pub(crate) fn recall(&mut self, packet_id: u16, answer: Option<Bytes>) {
        let pending = self.0.get_or_insert_default();
        pending.recalled.insert(packet_id, answer);
    }

    /// True while the broker has not ended a hand-shake that it was asked to end.
    pub(crate) fn is_recalled(&self, packet_id: u16) -> bool {
        self.has(|pending| pending.recalled.contains_key(&packet_id))
    }

    /// The broker completes a hand-shake. `Some` if the proxy asked for it, with the answer
    /// to the client.
    pub(crate) fn complete_recall(&mut self, packet_id: u16) -> Option<Option<Bytes>> {
        self.finish(|pending| pending.recalled.remove(&packet_id))
    }

    /// Limits the unanswered publications of the client to `maximum`.
    pub(super) fn limit_flights(&mut self, maximum: u16) {
        self.0.get_or_insert_default().flights = Some(Flights::new(maximum));
    }

    /// The unanswered publications of the client, if they are counted.
    #[inline]
    pub(super) fn flights(&mut self) -> Option<&mut Flights> {
        self.0.as_mut()?.flights.as_mut()
    }

    /// True if publications of the client are counted.
    #[inline]
    pub(super) fn has_flights(&self) -> bool {
        self.has(|pending| pending.flights.is_some())
    }

    #[inline]
    fn has(&self, what: impl FnOnce(&Pending) -> bool) -> bool {
        self.0.as_deref().is_some_and(what)
    }

    /// Removes finished exchanges, and frees the memory with the last one.
    fn finish<T>(&mut self, take: impl FnOnce(&mut Pending) -> Option<T>) -> Option<T> {
        let taken = take(self.0.as_mut()?);
        if self.has(Pending::is_empty) {
            self.0 = None;
        }
        taken
    }
}

#[cfg(test)]
mod tests;
