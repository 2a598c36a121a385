//! A SUBSCRIBE that is logged once it is answered.

use std::{
    collections::VecDeque,
    fmt::Write,
    sync::{Mutex, MutexGuard, PoisonError},
};

use mproxy_codec::{ReasonCode, Suback};
use mproxy_session::{HeadOnly, PacketHead, SessionInfo, Verdict};

use super::line;
use crate::cut::cut;

/// Maximum filters of one packet in a line: a SUBSCRIBE may have a hundred thousand.
pub(super) const FILTERS: usize = 4;

/// Maximum remembered requests: a broker that answers none must not fill the memory.
const WAITING: usize = 1024;

/// The SUBSCRIBE packets of a session that wait for their SUBACK, the oldest first. Nothing is
/// allocated while there are none.
#[derive(Debug, Default)]
pub(super) struct Asked(Mutex<Option<Box<Waiting>>>);

#[derive(Debug, Default)]
struct Waiting(VecDeque<Request>);

/// A request as the client wrote it, because inner layers may change it.
#[derive(Debug)]
pub(super) struct Request {
    packet_id: u16,
    /// The first filters, each as long as a line allows.
    filters: Vec<String>,
    /// For each filter the code that a layer refuses it with.
    refused: Vec<Option<ReasonCode>>,
}

impl Request {
    /// Takes down what is asked for, unless nobody answers.
    pub(super) fn of(packet: &PacketHead) -> Option<Self> {
        if packet.is_renewal() {
            return None;
        }
        let packet_id = packet.subscribe()?.packet_id();
        let requested = packet.requested_filters();
        let texts = requested.iter().take(FILTERS);
        Some(Self {
            packet_id,
            filters: texts.map(|(filter, _)| cut(filter).into_owned()).collect(),
            refused: requested.iter().map(|(_, refused)| *refused).collect(),
        })
    }

    /// Logs the request if the broker does not get it, and otherwise remembers it until the broker answers.
    pub(super) fn decided(
        mut self,
        verdict: &Verdict<HeadOnly>,
        session: &SessionInfo,
        asked: &Asked,
    ) {
        let all = |reason: ReasonCode| vec![Some(reason); self.refused.len()];
        self.refused = match verdict {
            Verdict::Forward(packet) => {
                let requested = packet.requested_filters();
                requested.iter().map(|(_, refused)| *refused).collect()
            }
            Verdict::Refuse(refusal) => all(refusal.reason),
            // It has no answer: the session ends.
            Verdict::Close(_) => return self.log_unanswered(session),
            // the code that the client gets
            _ => all(ReasonCode::NOT_AUTHORIZED),
        };
        if self.refused.iter().all(Option::is_some) {
            self.log(session, &[]);
        } else if let Some(forgotten) = asked.remember(self) {
            forgotten.log_unanswered(session);
        }
    }

    /// Logs what was granted and what was refused; `codes` are those of SUBACK.
    fn log(&self, session: &SessionInfo, codes: &[u8]) {
        let (mut granted, mut refused) = (List::default(), List::default());
        let mut codes = codes.iter();
        for (place, own) in self.refused.iter().enumerate() {
            // an answer has a code for each filter, including those that a layer refuses
            let code = codes.next().copied();
            let filter = self.filters.get(place).map(String::as_str);
            match (own, code) {
                (Some(reason), _) => refused.add(filter, format_args!("{}", reason.as_str())),
                (None, Some(qos @ 0..=2)) => granted.add(filter, format_args!("{qos}")),
                (None, code) => {
                    let code = code.unwrap_or(ReasonCode::UNSPECIFIED_ERROR.as_u8());
                    let reason = ReasonCode::new(code);
                    refused.add(filter, format_args!("{}", reason.as_str()));
                }
            }
        }
        line::subscribed(session, granted.text(), refused.text());
    }

    fn log_unanswered(&self, session: &SessionInfo) {
        let more = self.refused.len().saturating_sub(self.filters.len());
        let filters = self.filters.iter().map(String::as_str);
        line::unanswered(session, &list(filters, more));
    }
}

impl Asked {
    /// Remembers a request; returns the oldest if there are too many.
    fn remember(&self, request: Request) -> Option<Request> {
        let mut waiting = self.waiting();
        let Waiting(waiting) = &mut **waiting.get_or_insert_default();
        waiting.push_back(request);
        if waiting.len() > WAITING {
            waiting.pop_front()
        } else {
            None
        }
    }

    /// Logs the request that a SUBACK answers.
    pub(super) fn answered(&self, session: &SessionInfo, suback: &Suback<'_>) {
        let Some(request) = self.take(suback.packet_id, suback.codes.len()) else {
            return;
        };
        request.log(session, suback.codes);
    }

    /// Takes the oldest request with this identifier and number of filters, which is the one that the
    /// session matches the answer with, and the earlier ones that the broker has left unanswered.
    fn take(&self, packet_id: u16, codes: usize) -> Option<Request> {
        let mut guard = self.waiting();
        let Waiting(waiting) = &mut **guard.as_mut()?;
        let mut requests = waiting.iter();
        let place = requests
            .position(|it| it.packet_id == packet_id && it.refused.len() == codes)
            .or_else(|| waiting.iter().position(|it| it.packet_id == packet_id))?;
        let request = waiting.remove(place);
        let mut before = 0..place;
        waiting.retain(|it| before.next().is_none() || it.packet_id != packet_id);
        if waiting.is_empty() {
            *guard = None;
        }
        request
    }

    /// Logs the oldest request that was not answered when the session ended: brokers close the
    /// connection of a client that asks for what it may not.
    pub(super) fn close(&self, session: &SessionInfo) {
        if let Some(request) = self.waiting().take().and_then(|mut it| it.0.pop_front()) {
            request.log_unanswered(session);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Option<Box<Waiting>>> {
        // nothing panics while it is locked, and the list stays valid even then
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Filters with their answers.
#[derive(Debug, Default)]
struct List {
    text: String,
    more: usize,
}

impl List {
    /// Adds a filter, or counts it if it is one too many for a line.
    fn add(&mut self, filter: Option<&str>, answer: std::fmt::Arguments<'_>) {
        let Some(filter) = filter else {
            self.more += 1;
            return;
        };
        let separator = if self.text.is_empty() { "" } else { " " };
        // Writing to a string does not fail.
        let _ = write!(self.text, "{separator}{filter} ({answer})");
    }

    /// Returns `None` if nothing was added.
    fn text(mut self) -> Option<String> {
        match (self.text.is_empty(), self.more) {
            (true, 0) => return None,
            (_, 0) => {}
            (true, more) => self.text = format!("{more} behind the first {FILTERS}"),
            (false, more) => {
                let _ = write!(self.text, " and {more} more");
            }
        }
        Some(self.text)
    }
}

/// Writes filters, and how many more there are.
pub(super) fn list<'a>(filters: impl Iterator<Item = &'a str>, mut more: usize) -> String {
    let mut text = String::new();
    for (place, filter) in filters.enumerate() {
        if place < FILTERS {
            let separator = if place == 0 { "" } else { " " };
            text.push_str(separator);
            text.push_str(&cut(filter));
        } else {
            more += 1;
        }
    }
    if more > 0 {
        // Writing to a string does not fail.
        let _ = write!(text, " and {more} more");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_short() {
        assert_eq!(list(["a/+", "b c"].into_iter(), 0), "a/+ b c");
        assert_eq!(
            list(std::iter::repeat_n("#", 100_000), 0),
            "# # # # and 99996 more"
        );
        let long = "\n".repeat(65_535);
        assert!(list(std::iter::repeat_n(long.as_str(), 10), 0).len() < 3_000);
    }

    fn request(packet_id: u16, filter: &str, count: usize) -> Request {
        Request {
            packet_id,
            filters: vec![filter.to_owned()],
            refused: vec![None; count],
        }
    }

    #[test]
    fn an_answer_belongs_to_the_oldest_request_that_it_can_answer() {
        let asked = Asked::default();
        for (packet_id, filter, count) in [
            (7, "unanswered", 2),
            (8, "other", 1),
            (7, "first", 1),
            (7, "second", 1),
        ] {
            assert!(asked.remember(request(packet_id, filter, count)).is_none());
        }
        let take = |packet_id| asked.take(packet_id, 1).map(|it| it.filters[0].clone());
        assert_eq!(take(7).as_deref(), Some("first"));
        assert_eq!(take(7).as_deref(), Some("second"));
        assert_eq!(take(7), None);
        assert_eq!(take(8).as_deref(), Some("other"));
        assert!(asked.waiting().is_none(), "no memory is kept");
    }

    #[test]
    fn a_broker_that_answers_nothing_does_not_fill_the_memory() {
        let asked = Asked::default();
        for number in 0..3 * WAITING {
            let forgotten = asked.remember(request(number as u16, "f", 1));
            assert_eq!(forgotten.is_some(), number >= WAITING, "{number}");
        }
    }
}
