//! SUBSCRIBE and UNSUBSCRIBE that wait for their answer.

use std::collections::VecDeque;

use bytes::Bytes;
use mproxy_codec::{Direction, Kind, ReasonCode, SubscriptionOptions};

use super::shared::Shared;
use crate::cause::{Cause, End};
use crate::error::Violation;
use crate::hook::Entry;
use crate::reply::request_code;

/// What a request takes beside its own bytes and the codes of its answer.
pub(super) const REQUEST_COST: usize = 64;

/// How many requests of one identifier are compared with an answer.
const LOOK_AHEAD: usize = 16;

/// SUBSCRIBE and UNSUBSCRIBE that are under way.
#[derive(Debug, Default)]
pub(super) struct Requests {
    /// With their identifiers, the oldest first. Brokers answer in this order, so that the request of an
    /// answer is nearly always the first. A client may use an identifier again before it is answered,
    /// MQTT 3.1 even tells it to: answers belong to the oldest request of their type and identifier.
    waiting: VecDeque<(RequestKey, Request)>,
    /// What they cost.
    pub(super) cost: usize,
    /// Answers of the proxy that an earlier answer was in the way of.
    pub(super) due: Vec<Bytes>,
    /// The broker answered a request since somebody looked.
    pub(super) answered_some: bool,
}

/// Packet type and packet identifier.
type RequestKey = (Kind, u16);

impl Requests {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.due.is_empty()
    }

    /// Bytes that they take.
    pub(super) fn size(&self) -> usize {
        self.cost + self.due.iter().map(Bytes::len).sum::<usize>()
    }

    pub(super) fn add(&mut self, key: RequestKey, request: Request) {
        self.cost += request.cost();
        if self.waiting.is_empty() {
            // most devices have one at a time, and a fleet that comes back has all of them at once
            self.waiting.reserve_exact(1);
        }
        self.waiting.push_back((key, request));
    }

    /// The requests of this type and identifier, the oldest first, with their places.
    pub(super) fn of(&self, key: RequestKey) -> impl Iterator<Item = (usize, &Request)> {
        let requests = self.waiting.iter().enumerate();
        requests.filter_map(move |(at, (other, request))| (*other == key).then_some((at, request)))
    }

    /// Takes the request that an answer with `received` codes belongs to: the oldest, or a later one if
    /// the broker has left the oldest unanswered. The proxy's own answers that follow are due.
    pub(super) fn take_answered(
        &mut self,
        key: RequestKey,
        received: Option<usize>,
    ) -> Option<Request> {
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
        let (_, request) = self.waiting.remove(at)?;
        self.cost -= request.cost();
        Some(request)
    }

    /// The shared subscriptions that the broker may grant yet.
    pub(super) fn shared(&self) -> impl Iterator<Item = (&str, SubscriptionOptions)> {
        let subscribes = self.waiting.iter().filter_map(|((kind, _), request)| {
            let Request::Forwarded(Forwarded { expected, .. }) = request else {
                return None;
            };
            expected.as_ref().filter(|_| *kind == Kind::Subscribe)
        });
        subscribes.flat_map(|it| it.shared.iter().map(Shared::as_pair))
    }
}

/// A SUBSCRIBE or UNSUBSCRIBE of which the client does not have the answer.
#[derive(Debug)]
pub(super) enum Request {
    /// It went to the broker.
    Forwarded(Forwarded),
    /// It was refused, while an earlier one of its type and identifier was at the broker.
    Refused(Bytes),
}

/// A request that is at the broker.
#[derive(Debug)]
pub(super) struct Forwarded {
    /// Codes that its answer will have.
    codes: u32,
    /// Its bytes.
    size: u32,
    /// `None` when its answer goes to the client as it comes, and nothing is learnt from it.
    expected: Option<Box<Expected>>,
}

/// What is done with the answer to a request.
#[derive(Debug)]
struct Expected {
    /// How it is merged with what hooks decided, if they did.
    merge: Option<Box<[Slot]>>,
    /// What it is about, of shared subscriptions.
    shared: Box<[Shared]>,
}

impl Request {
    fn cost(&self) -> usize {
        REQUEST_COST
            + match self {
                Self::Forwarded(request) => request.cost(),
                Self::Refused(answer) => answer.len(),
            }
    }

    fn answers_to(&self, received: Option<usize>) -> bool {
        match self {
            Self::Forwarded(it) => received.is_none_or(|count| count == it.codes as usize),
            Self::Refused(_) => false,
        }
    }
}

impl Forwarded {
    /// A request of `size` bytes and `forwarded` filters.
    pub(super) fn new(
        (forwarded, size): (usize, usize),
        entries: Option<&[Entry]>,
        shared: Box<[Shared]>,
    ) -> Self {
        let merge = entries
            .map(|entries| entries.iter().map(Slot::of).collect::<Box<_>>())
            // hooks that looked and left the answer as it will be
            .filter(|slots| slots.iter().any(|slot| *slot != Slot::Broker));
        let is_needed = merge.is_some() || !shared.is_empty();
        Self {
            // a packet has neither more filters nor more bytes
            codes: u32::try_from(forwarded).unwrap_or(u32::MAX),
            size: u32::try_from(size).unwrap_or(u32::MAX),
            expected: is_needed.then(|| Box::new(Expected { merge, shared })),
        }
    }

    fn cost(&self) -> usize {
        let expected = self.expected.as_ref().map_or(0, |it| {
            let merge = it.merge.as_ref().map_or(0, |it| size_of_val(&**it));
            merge + it.shared.iter().map(Shared::cost).sum::<usize>()
        });
        self.size as usize + expected
    }

    /// What the client is told when the broker answers with these codes, if answers of this type have
    /// any. `strict` says that another number of codes than the request had filters is an error in any
    /// case; otherwise only where they are to be merged.
    ///
    /// # Errors
    /// There is another number of codes.
    pub(super) fn answer(
        &self,
        request: Kind,
        codes: Option<&[u8]>,
        strict: bool,
    ) -> Result<Answer, End> {
        let merge = self.expected.as_ref().and_then(|it| it.merge.as_ref());
        let Some(codes) = codes else {
            return Ok(Answer::AsIs);
        };
        if codes.len() != self.codes as usize && (strict || merge.is_some()) {
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
        for slot in merge {
            match slot {
                Slot::Broker => merged.extend(broker.next()),
                Slot::Own(reason) => merged.push(request_code(request, *reason)),
                Slot::Skip => drop(broker.next()),
            }
        }
        Ok(Answer::Codes(merged))
    }

    /// The shared subscriptions that the answer is about.
    pub(super) fn into_shared(self) -> Box<[Shared]> {
        self.expected.map(|it| it.shared).unwrap_or_default()
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
