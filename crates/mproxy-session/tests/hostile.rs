//! Hostile and malformed bytes, one case per known bug of some broker, client or proxy.
//!
//! The data (of the codec's tests) says for each case in which state the bytes come, from which
//! side, and what a proxy must do. The codec judges packets one by one; here a whole session does,
//! with the bytes in one piece, byte by byte and in random pieces.

mod support;

#[path = "../../mproxy-codec/tests/data/hostile.rs"]
mod data;

use data::{Case, Cut, Sender};
use mproxy_codec::{
    ConnectPacket, Direction, Head, Kind, KindSet, PropertyId, ReasonCode, Subscription, Value,
    Version, View,
};
use mproxy_session::{
    Admission, BoxError, Conformance, Connect, ConnectRefusal, FilterLayer, Forward, Hooks, Limits,
    OnSubscribeLayer, Packet, Refusal, Tap,
};
use support::frames::properties;
use support::{Frames, Pair, Setup, hex, show};
use tower::{Layer, ServiceBuilder, service_fn};

/// Cases that do not hold yet, with the reason.
const NOT_YET: &[(&str, &str)] = &[];

/// What is right for a case where a slip is repaired.
#[derive(Clone, Copy, Debug)]
enum Repaired {
    /// The receiver gets these bytes, and the session goes on.
    As(&'static str),
    /// The receiver gets what was sent, and the session goes on.
    Passes,
    /// The receiver gets these bytes, and the session is over, as after the same without the slip.
    Ends(&'static str),
}

/// Cases that are different where slips are repaired: all of them, and no others. The data says what
/// is right to the letter.
const TOLERANT: &[(&str, Repaired)] = &[
    // will QoS without a will
    (
        "C31-021",
        Repaired::As("10 10 0006 4d5149736470 03 02 003c 0002 687a"),
    ),
    // DUP at QoS 0
    ("C31-042", Repaired::As("30 06 0003 612f62 78")),
    // flags that MQTT 3.1 does not use
    ("C31-069", Repaired::As("50 02 0001")),
    ("C31-077", Repaired::As("70 02 0001")),
    ("C31-086", Repaired::As("c0 00")),
    ("C31-087", Repaired::Ends("e0 00")),
    ("S31-010", Repaired::As("20 02 00 00")),
    ("S31-025", Repaired::As("62 02 0001")),
    // a refusal, whatever its return code means
    ("S31-033", Repaired::Ends("20 02 00 06")),
    // more codes than filters: between the broker and the client
    ("S31-028", Repaired::Passes),
    ("S50-029", Repaired::Passes),
    // session present, where there can be none
    ("S311-013", Repaired::As("20 02 00 00")),
    ("S50-013", Repaired::As("20 03 00 00 00")),
    ("S50-009", Repaired::Ends("20 03 00 87 00")),
    // larger than the client said that it takes
    ("S50-061", Repaired::Passes),
];

/// Cases after whose bytes the broker closes or breaks its connection.
const BROKER_CLOSES: &[&str] = &["S31-005", "S31-006", "S311-005", "S311-025", "S50-006"];

/// Cases of another protocol on a listener for MQTT, with what the session takes them for.
fn strangers() -> impl Iterator<Item = Case> {
    let cases = data::transport().into_iter();
    cases.filter(|case| case.state == "tcp").map(|case| Case {
        state: "new".to_owned(),
        level: Version::V311.level(),
        ..case
    })
}

const fn direction(case: &Case) -> Direction {
    match case.sender {
        Sender::Client => Direction::ToServer,
        Sender::Broker => Direction::ToClient,
    }
}

fn version(case: &Case) -> Version {
    let mut all = [Version::V31, Version::V311, Version::V5].into_iter();
    all.find(|version| version.level() == case.level)
        .expect("a version")
}

/// How a case is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Without hooks, in one piece.
    Bare,
    /// With hooks in both directions, in one piece.
    Hooked,
    /// With hooks in both directions, in pieces.
    Cut(Cut),
}

/// Refuses what is below "denied/", also for a group that shares it, and the user "denied".
fn start(form: Form, conformance: Conformance) -> Pair {
    let setup = Setup::new().conformance(conformance);
    if form == Form::Bare {
        return setup.start(support::admit_all());
    }
    let publish = |packet: &Packet| match packet.publish() {
        Some(publish) if is_denied(&publish.topic()) => {
            Err(Refusal::new(ReasonCode::NOT_AUTHORIZED))
        }
        _ => Ok(()),
    };
    let subscribe = |entry: Subscription<'_>| {
        let filter = match entry.filter.shared() {
            Ok(Some(shared)) => shared.filter(),
            _ => entry.filter,
        };
        if is_denied(&filter) {
            Err(ReasonCode::NOT_AUTHORIZED)
        } else {
            Ok(())
        }
    };
    setup.start(service_fn(move |connect: Connect| async move {
        if connect.packet().user_name() == Some("denied") {
            let refusal = ConnectRefusal::new(ReasonCode::NOT_AUTHORIZED);
            return Ok::<_, BoxError>(Admission::Refuse(refusal));
        }
        let up = ServiceBuilder::new()
            .layer(FilterLayer::new(publish))
            .layer(OnSubscribeLayer::new(subscribe))
            .service(Forward);
        let down = FilterLayer::new(publish).layer(Forward);
        let kinds = KindSet::PUBLISH | KindSet::SUBSCRIBE;
        let hooks = Hooks::new(Tap::only(kinds, up), Tap::only(KindSet::PUBLISH, down));
        Ok(Admission::admit(connect, hooks))
    }))
}

fn is_denied(topic: &str) -> bool {
    topic == "denied" || topic.starts_with("denied/")
}

/// What arrived where, once nothing moves any more.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outcome {
    client: Vec<u8>,
    broker: Vec<u8>,
    client_ended: bool,
    broker_ended: bool,
    dials: usize,
}

impl Outcome {
    async fn of(pair: &Pair) -> Self {
        let broker = pair.broker.take().await;
        let client = pair.client.take().await;
        Self {
            client,
            broker,
            client_ended: pair.client.is_ended(),
            broker_ended: pair.broker.is_ended(),
            dials: pair.dials(),
        }
    }

    fn closed(&self) -> bool {
        self.client_ended && (self.dials == 0 || self.broker_ended)
    }
}

/// Brings a session into the state of the case.
async fn prepare(case: &Case, form: Form, conformance: Conformance) -> Pair {
    let f = Frames(version(case));
    let pair = start(form, conformance);
    if case.state != "new" {
        let connect = case.before.clone().unwrap_or_else(|| {
            // as the data says: clean, keep alive 60, no properties
            f.connect("hz")
        });
        pair.client.send(&connect);
        assert_eq!(pair.broker.take().await, connect, "{}", case.id);
    }
    if case.state == "connected" || case.state == "subscribing" {
        // no Topic Alias Maximum but where the case is about aliases
        let maximum = properties(&[
            (PropertyId::MaximumPacketSize, Value::U32(0x8_0000)),
            (PropertyId::TopicAliasMaximum, Value::U16(10)),
        ]);
        pair.broker.send(&f.connack_with(0, &maximum));
        assert!(!pair.client.take().await.is_empty(), "{}", case.id);
    }
    if case.state == "subscribing" {
        let subscribe = f.subscribe(1, &["a/b"]);
        pair.client.send(&subscribe);
        assert_eq!(pair.broker.take().await, subscribe);
    }
    pair
}

/// True when all of `bytes` is whole packets in the form that a strict proxy forwards.
fn is_strict(version: Version, direction: Direction, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        let Ok(Some(head)) = Head::parse(bytes) else {
            return false;
        };
        let Some(packet) = bytes.get(..head.total_len()) else {
            return false;
        };
        let valid = match head.kind() {
            Kind::Connect => ConnectPacket::parse(packet.to_vec().into())
                .is_ok_and(|connect| !connect.has_control()),
            _ => matches!(
                View::parse(version, direction, packet),
                Ok(Some(view)) if !view.has_control()
            ),
        };
        // DUP of MQTT 3.1 on anything but PUBLISH is not passed on
        let lax = head.kind() != Kind::Publish && head.first_byte() & 0x08 != 0;
        if !valid || lax || !head.is_minimal() {
            return false;
        }
        bytes = &bytes[head.total_len()..];
    }
    true
}

/// The reason codes of the CONNACK and DISCONNECT packets in what a client got.
fn reasons(version: Version, mut bytes: &[u8]) -> Vec<u8> {
    let mut reasons = Vec::new();
    while let Ok(Some(view)) = View::parse(version, Direction::ToClient, bytes) {
        match view {
            View::Connack(connack) => reasons.push(connack.reason(version).as_u8()),
            View::Disconnect(disconnect) => reasons.push(disconnect.reason.as_u8()),
            _ => {}
        }
        let head = Head::parse(bytes).expect("parsed").expect("whole");
        bytes = &bytes[head.total_len()..];
    }
    reasons
}

/// Brings a session into the state of the case and sends its bytes.
async fn send(case: &Case, form: Form, conformance: Conformance) -> (Pair, Outcome) {
    let pair = prepare(case, form, conformance).await;
    let from = match case.sender {
        Sender::Client => &pair.client,
        Sender::Broker => &pair.broker,
    };
    if let Form::Cut(cut) = form {
        from.set_chunks(cut.sizes(case.bytes.len()), usize::MAX);
    }
    from.send(&case.bytes);
    let outcome = Outcome::of(&pair).await;
    (pair, outcome)
}

/// Plays a case where slips are repaired, and says what is wrong with how it went; to the letter, it
/// went as `strict` says.
async fn play_tolerant(case: &Case, form: Form, strict: &Outcome) -> Result<(), String> {
    let f = Frames(version(case));
    let (pair, outcome) = send(case, form, Conformance::Tolerant).await;
    let up = case.sender == Sender::Client;
    let received = if up { &outcome.broker } else { &outcome.client };
    let holds = |condition: bool, what: &str| {
        if condition {
            return Ok(());
        }
        Err(format!(
            "{} {form:?} tolerant: {what}; {outcome:x?}",
            case.id
        ))
    };
    let right = TOLERANT.iter().find(|(id, _)| *id == case.id);
    let Some((_, right)) = right else {
        return holds(outcome == *strict, "as in the other conformance");
    };
    holds(outcome != *strict, "not as in the other conformance")?;
    let wanted = match right {
        Repaired::As(bytes) | Repaired::Ends(bytes) => hex(bytes),
        Repaired::Passes => case.bytes.clone(),
    };
    holds(*received == wanted, "the receiver gets what is meant")?;
    let sender = if up { &outcome.client } else { &outcome.broker };
    holds(sender.is_empty(), "the sender is not told")?;
    if case.state == "new" {
        pair.broker.send(&f.connack());
        let connack = pair.client.take().await;
        holds(connack == f.connack(), "CONNACK is forwarded")?;
    }
    match right {
        // a client that sent DISCONNECT is waited for, so that it may close first
        Repaired::Ends(_) => holds(outcome.broker_ended, "the session is over"),
        _ => stays_up(&pair, f, &holds).await,
    }
}

/// Says what is wrong with how a case goes to the letter; its bytes were sent, and had this outcome.
async fn play(case: &Case, form: Form, pair: Pair, outcome: Outcome) -> Result<(), String> {
    let f = Frames(version(case));
    let mut outcome = outcome;
    let up = case.sender == Sender::Client;
    if BROKER_CLOSES.contains(&case.id.as_str()) {
        if case.id == "S311-025" {
            pair.broker.reset()
        } else {
            pair.broker.finish()
        }
        let rest = Outcome::of(&pair).await;
        outcome = Outcome {
            client: [outcome.client, rest.client].concat(),
            ..rest
        };
    }
    let received = if up { &outcome.broker } else { &outcome.client };
    let holds = |condition: bool, what: &str| {
        if condition {
            return Ok(());
        }
        Err(format!(
            "{} {form:?} {} {}: {what}; client got {} ended {}, broker got {} ended {}",
            case.id,
            case.state,
            case.verdict,
            show(&outcome.client),
            outcome.client_ended,
            show(&outcome.broker),
            outcome.broker_ended,
        ))
    };
    match case.verdict.as_str() {
        "reject" => {
            holds(outcome.closed(), "both sides are closed")?;
            holds(outcome.broker.is_empty(), "nothing reaches the broker")?;
            if case.state == "new" {
                holds(outcome.dials == 0, "the broker is not dialled")?;
            }
            // the answer to a level that nobody knows is that of 3.1.1, or of 5.0 to a later one
            let unknown_level = case.state == "new"
                && (outcome.client == hex("20 02 00 01")
                    || outcome.client == hex("20 03 00 84 00"));
            holds(
                unknown_level
                    || is_strict(version(case), Direction::ToClient, &outcome.client)
                        && reasons(version(case), &outcome.client)
                            .iter()
                            .all(|code| *code >= 0x80),
                "the client gets a refusal or nothing",
            )?;
            let told = reasons(version(case), &outcome.client);
            if version(case).is_v5() && up && !case.reasons.is_empty() {
                let allowed = told.iter().all(|code| case.reasons.contains(code));
                holds(allowed, "the reason is one that the case allows")?;
            }
        }
        "accept" | "pass" if case.state == "new" => {
            holds(
                outcome.broker == case.bytes,
                "CONNECT is forwarded unchanged",
            )?;
            pair.broker.send(&f.connack());
            holds(
                pair.client.take().await == f.connack(),
                "CONNACK is forwarded",
            )?;
            stays_up(&pair, f, &holds).await?;
        }
        "accept" | "pass" => {
            holds(*received == case.bytes, "forwarded unchanged")?;
            stays_up(&pair, f, &holds).await?;
        }
        "policy" if outcome.closed() => {
            let other = if up { &outcome.broker } else { &Vec::new() };
            holds(other.is_empty(), "nothing of what is refused is forwarded")?;
            holds(
                is_strict(version(case), Direction::ToClient, &outcome.client),
                "a valid refusal",
            )?;
        }
        "policy" => {
            // one that announces 256 MiB streams where nobody wants to see its payload
            let streams = case.bytes.starts_with(&[0x30, 0xff, 0xff, 0xff]);
            let strict = is_strict(version(case), direction(case), received);
            holds(
                strict || streams && *received == case.bytes,
                "what is forwarded is strict",
            )?;
            if case.state == "connected" && !streams {
                stays_up(&pair, f, &holds).await?;
            }
        }
        "wait" => {
            holds(
                outcome.broker.is_empty() && outcome.client.is_empty(),
                "nothing is forwarded",
            )?;
            holds(!outcome.closed(), "waits")?;
            tokio::time::advance(Limits::default().packet_timeout * 2).await;
            let later = Outcome::of(&pair).await;
            holds(
                later.closed() && later.broker.is_empty(),
                "closed by the time-out",
            )?;
            holds(
                is_strict(version(case), Direction::ToClient, &later.client),
                "a valid refusal",
            )?;
        }
        "reject_second" => {
            let first = Head::parse(&case.bytes)
                .expect("valid")
                .expect("whole")
                .total_len();
            holds(
                outcome.broker == case.bytes[..first],
                "only the first CONNECT is forwarded",
            )?;
            pair.broker.send(&f.connack());
            let later = Outcome::of(&pair).await;
            holds(
                later.broker.is_empty(),
                "the second never reaches the broker",
            )?;
            holds(later.closed(), "both sides are closed")?;
            let wanted: &[u8] = if version(case).is_v5() {
                &[0, 0x82]
            } else {
                &[0]
            };
            holds(
                reasons(version(case), &later.client) == wanted,
                "0x82 after CONNACK",
            )?;
        }
        "reject_hook" => {
            holds(outcome.dials == 0 && outcome.client_ended, "turned away")?;
            let told = reasons(version(case), &outcome.client);
            holds(
                told.len() == 1 && case.reasons.contains(&told[0]),
                "with a CONNACK",
            )?;
        }
        "hook_refuse_both" => {
            holds(outcome.broker.is_empty(), "nothing reaches the broker")?;
            let answers = hex("40 03 0001 87 40 03 0002 87");
            holds(outcome.client == answers, "both are answered with 0x87")?;
            stays_up(&pair, f, &holds).await?;
        }
        "hook_refuse_last" => {
            let first = Head::parse(&case.bytes)
                .expect("valid")
                .expect("whole")
                .total_len();
            holds(
                outcome.broker == case.bytes[..first],
                "only the first is forwarded",
            )?;
            holds(outcome.client.is_empty(), "QoS 0 is dropped in silence")?;
            stays_up(&pair, f, &holds).await?;
        }
        "hook_refuse" => {
            holds(outcome.broker.is_empty(), "nothing reaches the broker")?;
            holds(outcome.client == f.suback(1, &[0x87]), "SUBACK 0x87")?;
            stays_up(&pair, f, &holds).await?;
        }
        "forward_then_close" => {
            let first = Head::parse(&case.bytes)
                .expect("valid")
                .expect("whole")
                .total_len();
            // that of a broker without MQTT 5.0, too
            holds(
                *received == case.bytes[..first],
                "the first packet is relayed",
            )?;
            holds(outcome.closed(), "both sides are closed")?;
        }
        "discard" => {
            holds(
                outcome.client.is_empty() && outcome.broker.is_empty(),
                "not sent",
            )?;
            stays_up(&pair, f, &holds).await?;
        }
        other => return Err(format!("{}: verdict {other} is not known", case.id)),
    }
    Ok(())
}

/// PINGREQ and PINGRESP still go from end to end.
async fn stays_up(
    pair: &Pair,
    f: Frames,
    holds: &impl Fn(bool, &str) -> Result<(), String>,
) -> Result<(), String> {
    pair.client.send(&f.pingreq());
    holds(
        pair.broker.take().await == f.pingreq(),
        "stays up: PINGREQ passes",
    )?;
    pair.broker.send(&f.pingresp());
    holds(
        pair.client.take().await == f.pingresp(),
        "stays up: PINGRESP passes",
    )
}

async fn play_all(form: Form) {
    let cases: Vec<_> = data::mqtt().into_iter().chain(strangers()).collect();
    let tolerant = TOLERANT.iter().map(|(id, _)| id);
    for id in NOT_YET.iter().map(|(id, _)| id).chain(tolerant) {
        assert!(cases.iter().any(|case| case.id == *id), "no case {id}");
    }
    let mut wrong = Vec::new();
    for case in &cases {
        if form == Form::Bare && case.verdict.contains("hook") {
            continue;
        }
        let expected = !NOT_YET.iter().any(|(id, _)| *id == case.id);
        let (pair, outcome) = send(case, form, Conformance::Strict).await;
        let strict = outcome.clone();
        match play(case, form, pair, outcome).await {
            Ok(()) if expected => {}
            Ok(()) => wrong.push(format!("{} holds now", case.id)),
            Err(_) if !expected => {}
            Err(what) => wrong.push(what),
        }
        wrong.extend(play_tolerant(case, form, &strict).await.err());
    }
    assert!(
        wrong.is_empty(),
        "{} cases:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[tokio::test(start_paused = true)]
async fn every_case_holds_without_hooks() {
    play_all(Form::Bare).await;
}

#[tokio::test(start_paused = true)]
async fn every_case_holds_with_hooks() {
    play_all(Form::Hooked).await;
}

#[tokio::test(start_paused = true)]
async fn every_case_holds_byte_by_byte() {
    play_all(Form::Cut(Cut::ByteByByte)).await;
}

#[tokio::test(start_paused = true)]
async fn every_case_holds_in_random_pieces() {
    for cut in std::iter::repeat_with(Cut::random).take(3) {
        play_all(Form::Cut(cut)).await;
    }
}
