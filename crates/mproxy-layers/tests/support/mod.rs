//! What the tests of the layers share: packets from bytes, and stacks driven by hand.

#![allow(dead_code)] // each test binary uses a part of it

pub(crate) mod end;
pub(crate) mod log;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use mproxy_codec::{
    ConnectBuilder, Direction, Kind, Place, Properties, PropertyId, PropertyWriter, QoS,
    ReasonCode, SubscriptionOptions, Value, Version, Will, encode_publish, encode_suback,
    encode_subscribe, encode_unsubscribe,
};
use mproxy_layers::{Action, Observer};
use mproxy_session::{
    Admission, BoxError, Connect, Hooks, NewHooks, Packet, Peer, SessionInfo, Tap, Verdict,
    new_hooks,
};
use tower::{Service, ServiceExt};

/// How many cases a test of a property runs: enough for a gate, more by the environment, as for
/// every test of proptest.
pub(crate) fn cases() -> u32 {
    std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok())
        .unwrap_or(10_000)
}

/// A CONNECT of MQTT 5.0.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Client<'a> {
    pub(crate) id: &'a str,
    pub(crate) user: Option<&'a str>,
    pub(crate) will: Option<&'a str>,
    pub(crate) will_response_topic: Option<&'a str>,
}

impl Client<'_> {
    pub(crate) fn connect(self) -> Connect {
        let properties = response_topic(self.will_response_topic);
        let mut builder = ConnectBuilder::new(Version::V5)
            .client_id(self.id)
            .keep_alive(60);
        if let Some(topic) = self.will {
            let properties = Properties::parse(&properties, Place::Will).expect("properties");
            builder = builder.will(Will::new(topic, b"gone").properties(properties));
        }
        if let Some(user) = self.user {
            builder = builder.user_name(user);
        }
        let packet = builder.build().expect("a valid CONNECT");
        Connect::new(packet, Peer::new("test"))
    }
}

fn response_topic(topic: Option<&str>) -> Vec<u8> {
    let mut properties = PropertyWriter::new();
    if let Some(topic) = topic {
        properties
            .push(PropertyId::ResponseTopic, Value::Str(topic))
            .expect("a property");
        properties
            .push(PropertyId::UserProperty, Value::Pair("k", "v"))
            .expect("a property");
    }
    properties.as_bytes().to_vec()
}

pub(crate) fn publish(direction: Direction, topic: &str, reply_to: Option<&str>) -> Packet {
    let properties = response_topic(reply_to);
    let frame = encode_publish(
        Version::V5,
        topic,
        QoS::AtMostOnce,
        0,
        &properties,
        b"payload",
    )
    .expect("a PUBLISH");
    Packet::parse(Version::V5, direction, frame).expect("a valid PUBLISH")
}

pub(crate) fn subscribe(filters: &[&str]) -> Packet {
    let options = SubscriptionOptions::new(QoS::AtLeastOnce);
    let filters = filters.iter().map(|filter| (*filter, options));
    let frame = encode_subscribe(Version::V5, 7, &[], filters).expect("a SUBSCRIBE");
    Packet::parse(Version::V5, Direction::ToServer, frame).expect("a valid SUBSCRIBE")
}

pub(crate) fn unsubscribe(filters: &[&str]) -> Packet {
    let frame =
        encode_unsubscribe(Version::V5, 7, &[], filters.iter().copied()).expect("an UNSUBSCRIBE");
    Packet::parse(Version::V5, Direction::ToServer, frame).expect("a valid UNSUBSCRIBE")
}

/// The answer to a [`subscribe`], as a session shows it: with a code for each filter.
pub(crate) fn suback(codes: &[u8]) -> Packet {
    let frame = encode_suback(Version::V5, 7, &[], codes).expect("a SUBACK");
    Packet::parse(Version::V5, Direction::ToClient, frame).expect("a valid SUBACK")
}

pub(crate) fn connack(reason: u8) -> Packet {
    let frame = Bytes::from(vec![0x20, 3, 0, reason, 0]);
    Packet::parse(Version::V5, Direction::ToClient, frame).expect("a valid CONNACK")
}

/// The innermost service: forwards everything.
pub(crate) fn forward_all() -> NewHooks<impl FnMut(SessionInfo) -> Hooks + Clone> {
    new_hooks(|_| Hooks::none())
}

/// Asks a stack about a client, and then its hooks about the will, as a session does.
pub(crate) async fn ask<S, U, D>(stack: &S, connect: Connect) -> Admission<U, D>
where
    S: Service<Connect, Response = Admission<U, D>, Error = BoxError> + Clone,
    U: Service<Packet, Response = Verdict, Error = BoxError>,
{
    let admission = stack.clone().oneshot(connect).await;
    let (mut connect, mut hooks) = match admission.expect("an answer") {
        Admission::Admit { connect, hooks } => (connect, hooks),
        refused => return refused,
    };
    let will = Packet::of_will(connect.packet()).expect("a PUBLISH");
    let offered = will.filter(|_| hooks.to_server.kinds().contains(Kind::Publish));
    if let Some(will) = offered {
        let verdict = (&mut hooks.to_server).oneshot(will).await;
        match verdict.expect("a verdict") {
            Verdict::Forward(will) => will.write_will(connect.packet_mut()).expect("a will"),
            Verdict::Discard => connect.packet_mut().remove_will().expect("a CONNECT"),
            Verdict::Refuse(refusal) => return Admission::Refuse(refusal),
            other => panic!("{other:?} on a will"),
        }
    }
    Admission::admit(connect, hooks)
}

/// Lets a client in.
pub(crate) async fn admit<S, U, D>(stack: &S, client: Client<'_>) -> (Connect, Hooks<U, D>)
where
    S: Service<Connect, Response = Admission<U, D>, Error = BoxError> + Clone,
    U: Service<Packet, Response = Verdict, Error = BoxError>,
{
    match ask(stack, client.connect()).await {
        Admission::Admit { connect, hooks } => (connect, hooks),
        other => panic!("not admitted: {:?}", other.map_hooks(|_, _| Hooks::none())),
    }
}

/// Has a client refused, and returns the reason and the text.
pub(crate) async fn refused<S, U, D>(stack: &S, client: Client<'_>) -> (ReasonCode, String)
where
    S: Service<Connect, Response = Admission<U, D>, Error = BoxError> + Clone,
    U: Service<Packet, Response = Verdict, Error = BoxError>,
{
    match ask(stack, client.connect()).await {
        Admission::Refuse(refusal) => (
            refusal.reason,
            refusal.text.map(String::from).unwrap_or_default(),
        ),
        _ => panic!("admitted: {client:?}"),
    }
}

/// What became of a packet, in words that a test can compare.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The topic of a PUBLISH that goes on.
    Publish(String),
    /// The filters that go on.
    Filters(Vec<String>),
    Other,
    Discard,
    Refuse(ReasonCode),
    Close(ReasonCode),
}

pub(crate) fn published(topic: &str) -> Outcome {
    Outcome::Publish(topic.to_owned())
}

pub(crate) fn filters(filters: &[&str]) -> Outcome {
    Outcome::Filters(filters.iter().map(|filter| (*filter).to_owned()).collect())
}

/// Sends a packet through a tap as a session does: only if it asks for its kind.
pub(crate) async fn send<S>(tap: &mut Tap<S>, packet: Packet) -> Outcome
where
    S: Service<Packet, Response = Verdict, Error = BoxError>,
{
    outcome(tap.oneshot(packet).await.expect("a verdict"))
}

pub(crate) fn outcome(verdict: Verdict) -> Outcome {
    match verdict {
        Verdict::Forward(packet) => match packet.kind() {
            Kind::Publish => published(&packet.publish().expect("a PUBLISH").topic()),
            Kind::Subscribe => {
                let subscribe = packet.subscribe().expect("a SUBSCRIBE");
                Outcome::Filters(
                    subscribe
                        .subscriptions()
                        .map(|entry| entry.filter.to_string())
                        .collect(),
                )
            }
            Kind::Unsubscribe => {
                let unsubscribe = packet.unsubscribe().expect("an UNSUBSCRIBE");
                Outcome::Filters(unsubscribe.filters().map(|it| it.to_string()).collect())
            }
            _ => Outcome::Other,
        },
        Verdict::Discard => Outcome::Discard,
        Verdict::Refuse(refusal) => Outcome::Refuse(refusal.reason),
        Verdict::Close(reason) => Outcome::Close(reason),
        other => panic!("an unknown verdict: {other:?}"),
    }
}

/// Counts what it is told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counter(Arc<Mutex<HashMap<String, u32>>>);

impl Counter {
    pub(crate) fn count(&self, what: &str) -> u32 {
        self.0
            .lock()
            .expect("no panic")
            .get(what)
            .copied()
            .unwrap_or_default()
    }

    fn add(&self, what: String) {
        *self.0.lock().expect("no panic").entry(what).or_default() += 1;
    }
}

impl Observer for Counter {
    fn connect(&self, allowed: bool) {
        self.add(format!(
            "connect {}",
            if allowed { "allow" } else { "deny" }
        ));
    }

    fn unsubscribe_refused(&self) {
        self.add("unsubscribe deny".to_owned());
    }

    fn decision(&self, action: Action, allowed: bool) {
        self.add(format!(
            "{action} {}",
            if allowed { "allow" } else { "deny" }
        ));
    }

    fn modified(&self, kind: Kind) {
        self.add(format!("{} modified", kind.as_str()));
    }

    fn dropped(&self, kind: Kind) {
        self.add(format!("{} dropped", kind.as_str()));
    }
}
