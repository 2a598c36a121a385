//! An honest end, and what it has a right to expect of the other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use mproxy_codec::{Direction, Head, Kind, PropertyId, QoS, Value, Version, View};

use super::script::{Alias, Say, What};
use super::support::frames::{Frames, properties};

/// Topic aliases that both ends have announced.
pub(crate) const ALIASES: u16 = 3;

/// A publication of this end that is not finished.
#[derive(Debug)]
enum Flight {
    /// QoS 1, waiting for PUBACK with this reason.
    Puback(u8),
    /// QoS 2, waiting for PUBREC with this reason.
    Pubrec(u8),
    /// QoS 2, waiting for PUBCOMP.
    Pubcomp,
}

/// One end. The client publishes and subscribes; the broker publishes and answers.
#[derive(Debug)]
pub(crate) struct Peer {
    f: Frames,
    /// The direction in which this end sends.
    direction: Direction,
    flights: BTreeMap<u16, Flight>,
    /// Requests that wait for an answer, by type, a SUBSCRIBE or not, and identifier; the oldest
    /// first.
    requests: BTreeMap<(bool, u16), VecDeque<Vec<What>>>,
    /// What this end has bound its aliases to.
    bound: BTreeMap<u16, String>,
    /// What the other end's aliases were bound to, as far as this end was told.
    told: BTreeMap<u16, String>,
    /// QoS 2 that was received and not released.
    received: BTreeSet<u16>,
    /// Publications that must arrive here, in order.
    expected: VecDeque<(String, QoS, Vec<u8>)>,
    pings: usize,
    sequence: u32,
    input: Vec<u8>,
}

impl Peer {
    pub(crate) fn new(version: Version, direction: Direction) -> Self {
        Self {
            f: Frames(version),
            direction,
            flights: BTreeMap::new(),
            requests: BTreeMap::new(),
            bound: BTreeMap::new(),
            told: BTreeMap::new(),
            received: BTreeSet::new(),
            expected: VecDeque::new(),
            pings: 0,
            sequence: 0,
            input: Vec::new(),
        }
    }

    pub(crate) fn published(&self) -> u64 {
        self.sequence.into()
    }

    /// Nothing is left over.
    pub(crate) fn assert_done(&self, who: &str) {
        assert!(self.input.is_empty(), "{who} got part of a packet");
        assert!(
            self.flights.is_empty(),
            "{who} waits for answers: {:?}",
            self.flights
        );
        assert!(
            self.requests.is_empty(),
            "{who} waits for answers: {:?}",
            self.requests
        );
        assert!(
            self.received.is_empty(),
            "{who} waits for PUBREL: {:?}",
            self.received
        );
        assert!(
            self.expected.is_empty(),
            "{who} misses: {:?}",
            self.expected
        );
        assert_eq!(self.pings, 0, "{who} waits for PINGRESP");
    }

    fn free_id(&self) -> u16 {
        (1..=u16::MAX)
            .find(|id| {
                let requests = [true, false].map(|subscribe| (subscribe, *id));
                !self.flights.contains_key(id)
                    && !requests.iter().any(|key| self.requests.contains_key(key))
            })
            .expect("a free identifier")
    }

    /// Says all of it in one piece; `other` learns what it has to expect.
    pub(crate) fn say(&mut self, says: &[Say], other: &mut Self) -> Vec<u8> {
        says.iter()
            .flat_map(|say| self.say_one(say, other))
            .collect()
    }

    fn say_one(&mut self, say: &Say, other: &mut Self) -> Vec<u8> {
        match say {
            Say::Publish {
                what,
                name,
                qos,
                alias,
                payload,
                slips,
            } => {
                let topic = format!("{}/{name}", what.level());
                let mut publish = self.publish(topic, *qos, *alias, *payload, other);
                if *slips && *qos == 0 {
                    publish[0] |= 0x08;
                }
                publish
            }
            Say::Request {
                subscribe,
                filters,
                id,
                slips,
            } => {
                let request = self.request(*subscribe, filters, *id);
                self.with_flags(request, *slips)
            }
            Say::Ping { slips } => {
                self.pings += 1;
                self.with_flags(self.f.pingreq(), *slips)
            }
        }
    }

    /// The packet with flags that MQTT 3.1, and no later version, does not use.
    fn with_flags(&self, mut packet: Vec<u8>, slips: bool) -> Vec<u8> {
        if slips && self.f.0 == Version::V31 {
            packet[0] ^= 0x0f;
        }
        packet
    }

    fn publish(
        &mut self,
        topic: String,
        qos: u8,
        alias: Alias,
        payload: usize,
        other: &mut Self,
    ) -> Vec<u8> {
        let of_alias = |alias| properties(&[(PropertyId::TopicAlias, Value::U16(alias))]);
        let (topic, written, block) = match alias {
            Alias::Use(alias) if self.bound.contains_key(&alias) => {
                (self.bound[&alias].clone(), String::new(), of_alias(alias))
            }
            Alias::Bind(alias) | Alias::Use(alias) => {
                self.bound.insert(alias, topic.clone());
                (topic.clone(), topic, of_alias(alias))
            }
            Alias::None => (topic.clone(), topic, Vec::new()),
        };
        self.sequence += 1;
        let mut bytes = self.sequence.to_be_bytes().to_vec();
        bytes.resize(4 + payload, b'.');
        let what = What::of_publication(&topic, &bytes);
        let id = if qos > 0 { self.free_id() } else { 0 };
        let reason = self.reason(what, &bytes);
        match qos {
            1 => drop(self.flights.insert(id, Flight::Puback(reason))),
            2 => drop(self.flights.insert(id, Flight::Pubrec(reason))),
            _ => {}
        }
        if what.is_forwarded() {
            let arrives = what.renamed(&topic).unwrap_or(topic);
            let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(qos)];
            other.expected.push_back((arrives, qos, bytes.clone()));
        }
        self.f.publish_with(&written, qos, id, &block, &bytes)
    }

    fn request(&mut self, subscribe: bool, filters: &[What], id: Option<u16>) -> Vec<u8> {
        let id = id.unwrap_or_else(|| self.free_id());
        let waiting = self.requests.entry((subscribe, id)).or_default();
        waiting.push_back(filters.to_vec());
        let names: Vec<String> = filters
            .iter()
            .enumerate()
            .map(|(position, what)| format!("{}/{}", what.level(), position % 3))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        if subscribe {
            self.f.subscribe(id, &names)
        } else {
            self.f.unsubscribe(id, &names)
        }
    }

    /// Hears whatever has arrived and returns what there is to answer.
    pub(crate) fn hear(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.input.extend_from_slice(bytes);
        let mut answers = Vec::new();
        loop {
            let input = std::mem::take(&mut self.input);
            let direction = self.direction.opposite();
            let view = View::parse(self.f.0, direction, &input).expect("a valid packet");
            let Some(view) = view else {
                self.input = input;
                return answers;
            };
            answers.extend(self.answer(&view));
            let len = Head::parse(&input)
                .expect("valid")
                .expect("whole")
                .total_len();
            self.input = input[len..].to_vec();
        }
    }

    fn answer(&mut self, view: &View<'_>) -> Vec<u8> {
        let f = self.f;
        match view {
            View::Publish(publish) => {
                let mut topic = publish.topic().to_owned();
                if let Some(alias) = publish.layout().topic_alias() {
                    if topic.is_empty() {
                        topic = self.told.get(&alias).expect("a bound alias").clone();
                    } else {
                        self.told.insert(alias, topic.clone());
                    }
                }
                let qos = publish.layout().qos();
                let payload = publish.payload().expect("whole").to_vec();
                let wanted = self.expected.pop_front();
                assert_eq!(
                    Some((topic, qos, payload)),
                    wanted,
                    "in order, and nothing refused"
                );
                let id = publish.layout().packet_id().unwrap_or(0);
                let reason = self.opinion(publish.payload().expect("whole"));
                match qos {
                    QoS::AtMostOnce => Vec::new(),
                    QoS::AtLeastOnce => f.ack(Kind::Puback, id, reason),
                    QoS::ExactlyOnce => {
                        assert!(!self.received.contains(&id), "identifier {id} is in use");
                        if reason < 0x80 {
                            self.received.insert(id);
                        }
                        f.ack(Kind::Pubrec, id, reason)
                    }
                }
            }
            View::Ack(ack) => self.acknowledged(view.kind(), ack.packet_id, ack.reason.as_u8()),
            View::Subscribe(subscribe) => {
                // the code is the last level of the filter, so that codes can be told apart
                let codes: Vec<u8> = subscribe.subscriptions().map(|s| code(&s.filter)).collect();
                f.suback(subscribe.packet_id(), &codes)
            }
            View::Unsubscribe(unsubscribe) => {
                let codes = vec![0x11; if f.0.is_v5() { unsubscribe.len() } else { 0 }];
                f.unsuback(unsubscribe.packet_id(), &codes)
            }
            View::Suback(suback) | View::Unsuback(suback) => {
                self.answered(view.kind() == Kind::Suback, suback.packet_id, suback.codes);
                Vec::new()
            }
            _ if view.kind() == Kind::Pingreq => f.pingresp(),
            _ if view.kind() == Kind::Pingresp => {
                self.pings = self.pings.checked_sub(1).expect("a PINGREQ");
                Vec::new()
            }
            _ => panic!("unexpected {}", view.kind()),
        }
    }

    fn acknowledged(&mut self, kind: Kind, id: u16, code: u8) -> Vec<u8> {
        if kind == Kind::Pubrel {
            assert!(
                self.received.remove(&id),
                "PUBREL of {id} was not to come here"
            );
            return self.f.pubcomp(id);
        }
        let flight = self.flights.remove(&id);
        match (kind, flight) {
            (Kind::Puback, Some(Flight::Puback(reason))) => {
                assert_eq!(code, reason);
                Vec::new()
            }
            (Kind::Pubrec, Some(Flight::Pubrec(reason))) => {
                assert_eq!(code, reason);
                if code >= 0x80 {
                    return Vec::new();
                }
                self.flights.insert(id, Flight::Pubcomp);
                self.f.pubrel(id)
            }
            (Kind::Pubcomp, Some(Flight::Pubcomp)) => {
                assert_eq!(code, 0);
                Vec::new()
            }
            (kind, flight) => panic!("{kind} of {id} for {flight:?}"),
        }
    }

    /// How the other end answers a publication, which begins with its number: it does not want each
    /// one, and only in MQTT 5.0 can it say so.
    fn opinion(&self, payload: &[u8]) -> u8 {
        let unwanted = payload.get(3).is_some_and(|byte| byte % 7 == 3);
        if self.f.0.is_v5() && unwanted {
            0x97
        } else {
            0
        }
    }

    /// With which reason a publication of this end is answered. A client of MQTT 5.0 is told what
    /// was refused; a broker hears of success only.
    fn reason(&self, what: What, payload: &[u8]) -> u8 {
        let told = self.f.0.is_v5() && self.direction == Direction::ToServer;
        match what {
            _ if what.is_forwarded() => self.opinion(payload),
            _ if told && what.is_refused() => 0x87,
            _ => 0,
        }
    }

    fn answered(&mut self, suback: bool, id: u16, codes: &[u8]) {
        let waiting = self.requests.get_mut(&(suback, id)).expect("a request");
        let filters = waiting.pop_front().expect("a request");
        if waiting.is_empty() {
            self.requests.remove(&(suback, id));
        }
        if !suback && !self.f.0.is_v5() {
            return;
        }
        let refused = if self.f.0.is_v5() { 0x87 } else { 0x80 };
        let wanted: Vec<u8> = filters
            .iter()
            .enumerate()
            .map(|(position, what)| match (what.is_refused(), suback) {
                (true, _) => refused,
                (false, true) => u8::try_from(position % 3).expect("small"),
                (false, false) => 0x11,
            })
            .collect();
        assert_eq!(codes, wanted, "the codes in the order of the filters");
    }
}

fn code(filter: &str) -> u8 {
    filter.bytes().last().expect("not empty") - b'0'
}
