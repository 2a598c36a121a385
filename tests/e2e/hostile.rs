//! The hostile cases over sockets: through the real program, TCP to TCP and WebSocket to WebSocket.
//!
//! What a broker gets is recorded by a broker that does nothing else. The verdicts are those of the
//! session's tests, to the letter of the standard; what is forwarded is compared with what was sent,
//! byte by byte. With the default, which repairs slips, all holds but for the cases of [`TOLERANT`].

#[path = "../../crates/mproxy-codec/tests/data/hostile.rs"]
mod data;

use std::net::SocketAddr;

use mproxy_tests::wire::{
    Connect, DISCONNECT, PINGREQ, PINGRESP, Packet, Version, connack, frame, puback, suback,
    subscribe,
};
use mproxy_tests::{FakeBroker, Link, Mproxy, Rest, Setup, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use self::data::{Case, Cut, Sender};

/// Cases that no configuration plays.
const IN_PROCESS_ONLY: &[(&str, &str)] = &[
    ("C50-037", "no layer refuses a user name"),
    ("S31-023", "streams, and what follows is its payload"),
    ("S50-024", "streams, and what follows is its payload"),
];

/// Cases after whose bytes the broker closes its connection.
const BROKER_CLOSES: &[&str] = &["S31-005", "S31-006", "S311-005", "S311-025", "S50-006"];

/// Cases that are forwarded in another form: the packet, without what the sender may not say.
const NORMALISED: &[(&str, &[u8])] = &[
    ("C31-010", b"\x10\x10\0\x06MQIsdp\x03\x02\0\x3c\0\x02hz"),
    ("C31-011", b"\x10\x10\0\x06MQIsdp\x03\x02\0\x3c\0\x02hz"),
    ("C311-072", b"\x30\x06\0\x03a/bx"),
];

/// What is right for a case where a slip is repaired.
#[derive(Clone, Copy, Debug)]
enum Repaired {
    /// The receiver gets these bytes, and the session goes on.
    As(&'static [u8]),
    /// The receiver gets what was sent, and the session goes on.
    Passes,
    /// The receiver gets these bytes, and the session is over, as after the same without the slip.
    Ends(&'static [u8]),
}

/// Cases that are different where slips are repaired: all of them, and no others.
const TOLERANT: &[(&str, Repaired)] = &[
    // will QoS without a will
    (
        "C31-021",
        Repaired::As(b"\x10\x10\0\x06MQIsdp\x03\x02\0\x3c\0\x02hz"),
    ),
    // DUP at QoS 0
    ("C31-042", Repaired::As(b"\x30\x06\0\x03a/bx")),
    // flags that MQTT 3.1 does not use
    ("C31-069", Repaired::As(&[0x50, 2, 0, 1])),
    ("C31-077", Repaired::As(&[0x70, 2, 0, 1])),
    ("C31-086", Repaired::As(&PINGREQ)),
    ("C31-087", Repaired::Ends(&DISCONNECT)),
    ("S31-010", Repaired::As(&[0x20, 2, 0, 0])),
    ("S31-025", Repaired::As(&[0x62, 2, 0, 1])),
    // more codes than filters: between the broker and the client
    ("S31-028", Repaired::Passes),
    ("S50-029", Repaired::Passes),
    // session present, where there can be none
    ("S311-013", Repaired::As(&[0x20, 2, 0, 0])),
    ("S50-013", Repaired::As(&[0x20, 3, 0, 0, 0])),
    ("S50-009", Repaired::Ends(&[0x20, 3, 0, 0x87, 0])),
    // larger than the client said that it takes
    ("S50-061", Repaired::Passes),
];

/// What arrives of a case.
fn forwarded(case: &Case) -> &[u8] {
    let normal = NORMALISED.iter().find(|(id, _)| *id == case.id);
    normal.map_or(&case.bytes, |(_, bytes)| bytes)
}

const RULES: &str = r#"
[chains.default]
layers = ["acl"]
[layers.acl]
type = "acl"
default = "allow"
[[layers.acl.rules]]
deny = ["publish", "subscribe"]
topics = ["denied/#"]
"#;

/// The proxy, what is behind it, and the way to both.
struct Rig {
    broker: FakeBroker,
    mproxy: Mproxy,
    ws: bool,
}

impl Rig {
    async fn start(ws: bool, set: impl FnOnce(Setup) -> Setup) -> Self {
        let broker = FakeBroker::bind().await;
        let url = if ws { broker.ws_url() } else { broker.url() };
        let setup = set(Setup::before(&url).websocket());
        let mproxy = setup.start().await;
        Self { broker, mproxy, ws }
    }

    async fn client(&self) -> Link {
        if self.ws {
            Link::ws(self.mproxy.listener("ws")).await
        } else {
            Link::tcp(self.mproxy.addr()).await
        }
    }

    async fn session(&self) -> Link {
        if self.ws {
            self.broker.ws_session().await
        } else {
            self.broker.session().await
        }
    }

    /// The next thing that the broker hears of anybody is a client that begins now.
    async fn nothing_before_a_fence(&self, context: &str) {
        let connect = Connect::new(Version::V311, "fence");
        let mut client = self.client().await;
        client.send(&connect.bytes()).await;
        let mut server = self.session().await;
        assert_eq!(server.packet().await.bytes(), connect.bytes(), "{context}");
        server.send(&connack(Version::V311, 0)).await;
        client.expect(&connack(Version::V311, 0)).await;
    }
}

const fn version(case: &Case) -> Version {
    match case.level {
        3 => Version::V31,
        5 => Version::V5,
        _ => Version::V311,
    }
}

/// Sends pieces until they are taken no more: what is refused may be cut off.
async fn send(link: &mut Link, bytes: &[u8], cut: Cut) {
    for piece in cut.pieces(bytes) {
        if !within("bytes to be taken", link.try_send(piece)).await {
            return;
        }
    }
}

/// What came until the end or until a PINGREQ or PINGRESP.
#[derive(Debug)]
struct Heard {
    bytes: Vec<u8>,
    open: bool,
}

/// What is to arrive may itself be such a packet.
async fn hear(link: &mut Link, fence: &[u8], arrives: &[u8]) -> Heard {
    let mut more = usize::from(arrives == fence);
    let mut bytes = Vec::new();
    while let Some(packet) = link.packet_or_end().await {
        if packet.bytes() == fence {
            match more.checked_sub(1) {
                None => return Heard { bytes, open: true },
                Some(left) => more = left,
            }
        }
        bytes.extend_from_slice(packet.bytes());
    }
    Heard { bytes, open: false }
}

fn concat(packets: &[Packet]) -> Vec<u8> {
    packets
        .iter()
        .flat_map(|packet| packet.bytes())
        .copied()
        .collect()
}

/// Nothing, or packets of a server that says no: CONNACK, DISCONNECT.
fn is_refusal(case: &Case, packets: &[Packet]) -> bool {
    packets.iter().all(|packet| match packet.kind() {
        2 => packet.body()[1] != 0,
        14 => case.level == 5 && packet.body().first().is_some_and(|code| *code >= 0x80),
        _ => false,
    })
}

/// Brings a session into the state of the case.
async fn prepare(rig: &Rig, case: &Case) -> (Link, Option<Link>) {
    let version = version(case);
    let mut client = rig.client().await;
    if case.state == "new" {
        return (client, None);
    }
    let usual = || Connect::new(version, "hz").keep_alive(60).bytes();
    let connect = case.before.clone().unwrap_or_else(usual);
    client.send(&connect).await;
    let mut server = rig.session().await;
    server.expect(&connect).await;
    if case.state != "await_connack" {
        // Maximum Packet Size below that of the proxy, and Topic Alias Maximum
        let answer = match version {
            Version::V31 | Version::V311 => connack(version, 0),
            Version::V5 => frame(0x20, &[0, 0, 8, 0x27, 0, 8, 0, 0, 0x22, 0, 10]),
        };
        server.send(&answer).await;
        client.expect(&answer).await;
    }
    if case.state == "subscribing" {
        let request = subscribe(version, 1, &[("a/b", 1)]);
        client.send(&request).await;
        server.expect(&request).await;
    }
    (client, Some(server))
}

/// Sends the bytes and a PINGREQ of the client behind them. What both sides heard before that, or
/// before the end.
async fn exchange(client: &mut Link, server: &mut Link, case: &Case, cut: Cut) -> (Heard, Heard) {
    exchange_for(client, server, case, cut, &case.bytes).await
}

/// The same, if something else is to arrive.
async fn exchange_for(
    client: &mut Link,
    server: &mut Link,
    case: &Case,
    cut: Cut,
    arrives: &[u8],
) -> (Heard, Heard) {
    match case.sender {
        Sender::Client => send(client, &case.bytes, cut).await,
        Sender::Broker => send(server, &case.bytes, cut).await,
    }
    client.try_send(&PINGREQ).await;
    let at_server = hear(server, &PINGREQ, arrives).await;
    if at_server.open {
        server.send(&PINGRESP).await;
    }
    (hear(client, &PINGRESP, arrives).await, at_server)
}

/// Plays a case.
async fn play(rig: &Rig, case: &Case, cut: Cut) {
    let context = format!("{} {} {cut:?} ws: {}", case.id, case.name, rig.ws);
    let (mut client, server) = prepare(rig, case).await;
    let by_client = case.sender == Sender::Client;
    let first = || Packet::take(&mut case.bytes.clone()).map(|packet| packet.bytes().to_vec());
    match (&*case.verdict, server) {
        ("reject", None) => {
            send(&mut client, &case.bytes, cut).await;
            let (packets, rest) = client.rest().await;
            assert_eq!(rest, Rest::Clean, "{context}");
            assert!(is_refusal(case, &packets), "{context}: {packets:?}");
            rig.nothing_before_a_fence(&context).await;
        }
        ("reject", Some(mut server)) => {
            match case.sender {
                Sender::Client => send(&mut client, &case.bytes, cut).await,
                Sender::Broker => send(&mut server, &case.bytes, cut).await,
            }
            if BROKER_CLOSES.contains(&&*case.id) {
                drop(server);
            } else {
                let (packets, rest) = server.rest().await;
                assert_eq!((&*packets, rest), (&[][..], Rest::Clean), "{context}");
            }
            let (packets, rest) = client.rest().await;
            assert_eq!(rest, Rest::Clean, "{context}");
            assert!(is_refusal(case, &packets), "{context}: {packets:?}");
        }
        ("accept" | "pass", None) => {
            send(&mut client, &case.bytes, cut).await;
            let mut server = rig.session().await;
            let connect = server.packet().await;
            assert_eq!(connect.bytes(), case.bytes, "{context}");
            let answer = connack(version(case), 0);
            server.send(&answer).await;
            assert_eq!(client.packet().await.kind(), 2, "{context}");
            client.send(&PINGREQ).await;
            server.expect(&PINGREQ).await;
        }
        ("accept" | "pass", Some(mut server)) => {
            let (at_client, at_server) = exchange(&mut client, &mut server, case, cut).await;
            assert!(at_client.open && at_server.open, "{context}");
            let (to, from) = if by_client {
                (at_server, at_client)
            } else {
                (at_client, at_server)
            };
            assert_eq!(to.bytes, forwarded(case), "{context}");
            assert!(from.bytes.is_empty(), "{context}: {from:?}");
        }
        ("policy", None) => {
            send(&mut client, &case.bytes, cut).await;
            tokio::select! {
                packet = client.packet_or_end() => {
                    let packets: Vec<_> = packet.into_iter().collect();
                    assert!(is_refusal(case, &packets), "{context}: {packets:?}");
                    client.rest().await;
                    rig.nothing_before_a_fence(&context).await;
                }
                mut server = rig.session() => {
                    let connect = server.packet().await;
                    assert_eq!(connect.bytes(), forwarded(case), "{context}");
                }
            }
        }
        ("policy", Some(mut server)) => {
            let (at_client, at_server) = exchange(&mut client, &mut server, case, cut).await;
            let (to, from) = if by_client {
                (at_server, at_client)
            } else {
                (at_client, at_server)
            };
            let whole = to.bytes == forwarded(case);
            let refused = if by_client {
                to.bytes.is_empty()
            } else {
                is_refusal(case, &packets_of(&to.bytes))
            };
            assert!(whole || refused, "{context}: {to:02x?}, {from:02x?}");
        }
        ("reject_second", None) => {
            send(&mut client, &case.bytes, cut).await;
            let mut server = rig.session().await;
            assert_eq!(
                Some(server.packet().await.bytes()),
                first().as_deref(),
                "{context}"
            );
            server.send(&connack(version(case), 0)).await;
            let (packets, rest) = server.rest().await;
            assert_eq!((&*packets, rest), (&[][..], Rest::Clean), "{context}");
            let (packets, _) = client.rest().await;
            let kinds: Vec<_> = packets.iter().map(Packet::kind).collect();
            let wanted: &[u8] = if case.level == 5 { &[2, 14] } else { &[2] };
            assert_eq!(kinds, wanted, "{context}: {packets:?}");
        }
        ("hook_refuse_both", Some(mut server)) => {
            let (at_client, at_server) = exchange(&mut client, &mut server, case, cut).await;
            assert!(at_client.open && at_server.open, "{context}");
            assert!(at_server.bytes.is_empty(), "{context}: {at_server:?}");
            let no = |id| [&[0x40, 3], &puback(id)[2..], &[0x87]].concat();
            assert_eq!(at_client.bytes, [no(1), no(2)].concat(), "{context}");
        }
        ("hook_refuse_last", Some(mut server)) => {
            let (at_client, at_server) = exchange(&mut client, &mut server, case, cut).await;
            assert!(at_client.open && at_server.open, "{context}");
            assert_eq!(Some(at_server.bytes), first(), "{context}");
            assert!(at_client.bytes.is_empty(), "{context}: {at_client:?}");
        }
        ("hook_refuse", Some(mut server)) => {
            let (at_client, at_server) = exchange(&mut client, &mut server, case, cut).await;
            assert!(at_client.open && at_server.open, "{context}");
            assert!(at_server.bytes.is_empty(), "{context}: {at_server:?}");
            assert_eq!(
                at_client.bytes,
                suback(version(case), 1, &[0x87]),
                "{context}"
            );
        }
        ("forward_then_close", Some(mut server)) => {
            send(&mut server, &case.bytes, cut).await;
            let (packets, rest) = server.rest().await;
            assert_eq!((&*packets, rest), (&[][..], Rest::Clean), "{context}");
            let (packets, _) = client.rest().await;
            // that of a broker without MQTT 5.0, too
            assert_eq!(Some(concat(&packets)), first(), "{context}");
        }
        ("discard", Some(mut server)) => {
            let (at_client, at_server) = exchange(&mut client, &mut server, case, cut).await;
            assert!(at_client.open && at_server.open, "{context}");
            assert!(
                at_client.bytes.is_empty() && at_server.bytes.is_empty(),
                "{context}"
            );
        }
        (other, _) => panic!("{context}: verdict {other} is not known"),
    }
}

/// Plays a case whose slip is repaired.
async fn play_repaired(rig: &Rig, case: &Case, cut: Cut, repaired: Repaired) {
    let context = format!("{} {} {cut:?} ws: {}", case.id, case.name, rig.ws);
    let (mut client, server) = prepare(rig, case).await;
    let wanted = match repaired {
        Repaired::As(bytes) | Repaired::Ends(bytes) => bytes,
        Repaired::Passes => &case.bytes,
    };
    let by_client = case.sender == Sender::Client;
    match (repaired, server) {
        (_, None) => {
            send(&mut client, &case.bytes, cut).await;
            let mut server = rig.session().await;
            assert_eq!(server.packet().await.bytes(), wanted, "{context}");
            let answer = connack(version(case), 0);
            server.send(&answer).await;
            client.expect(&answer).await;
            client.send(&PINGREQ).await;
            server.expect(&PINGREQ).await;
        }
        (Repaired::Ends(_), Some(mut server)) => {
            match case.sender {
                Sender::Client => send(&mut client, &case.bytes, cut).await,
                Sender::Broker => send(&mut server, &case.bytes, cut).await,
            }
            // a client that sent DISCONNECT is waited for, so that it may close first
            let (mut to, from) = if by_client {
                (server, client)
            } else {
                (client, server)
            };
            assert_eq!(to.packet().await.bytes(), wanted, "{context}");
            to.closed().await;
            from.closed().await;
        }
        (_, Some(mut server)) => {
            let heard = exchange_for(&mut client, &mut server, case, cut, wanted).await;
            let (at_client, at_server) = heard;
            assert!(at_client.open && at_server.open, "{context}");
            let (to, from) = if by_client {
                (at_server, at_client)
            } else {
                (at_client, at_server)
            };
            assert_eq!(to.bytes, wanted, "{context}");
            assert!(from.bytes.is_empty(), "{context}: {from:?}");
        }
    }
}

fn packets_of(bytes: &[u8]) -> Vec<Packet> {
    let mut bytes = bytes.to_vec();
    std::iter::from_fn(|| Packet::take(&mut bytes)).collect()
}

fn cuts(case: &Case) -> Vec<Cut> {
    // what is long is long in one field
    let slow = (case.bytes.len() <= 4096).then_some(Cut::ByteByByte);
    [Cut::Whole, Cut::random()]
        .into_iter()
        .chain(slow)
        .collect()
}

fn strict(setup: Setup) -> Setup {
    ["mqtt", "ws"].into_iter().fold(setup, |setup, listener| {
        setup.set(&format!("listeners.{listener}.conformance"), "strict")
    })
}

/// All cases as the standard has them, or with slips repaired.
async fn play_all(ws: bool, is_strict: bool) {
    let conformance = |setup| if is_strict { strict(setup) } else { setup };
    let open = Rig::start(ws, conformance).await;
    let guarded = Rig::start(ws, |setup| conformance(setup.toml(RULES))).await;
    let cases = data::mqtt();
    let tolerant = TOLERANT.iter().map(|(id, _)| id);
    for id in IN_PROCESS_ONLY.iter().map(|(id, _)| id).chain(tolerant) {
        assert!(cases.iter().any(|case| case.id == *id), "no case {id}");
    }
    for case in &cases {
        let elsewhere = IN_PROCESS_ONLY.iter().any(|(id, _)| case.id == *id);
        if elsewhere || case.verdict == "wait" {
            continue;
        }
        let repaired = TOLERANT.iter().find(|(id, _)| *id == case.id);
        for cut in cuts(case) {
            if let Some((_, repaired)) = repaired.filter(|_| !is_strict) {
                play_repaired(&open, case, cut, *repaired).await;
                play_repaired(&guarded, case, cut, *repaired).await;
                continue;
            }
            let by_rule = case.verdict.starts_with("hook");
            play(if by_rule { &guarded } else { &open }, case, cut).await;
        }
    }
}

#[tokio::test]
async fn every_case_holds_over_tcp() {
    play_all(false, true).await;
}

#[tokio::test]
async fn every_case_holds_over_websocket() {
    play_all(true, true).await;
}

#[tokio::test]
async fn only_slips_are_tolerated_over_tcp() {
    play_all(false, false).await;
}

#[tokio::test]
async fn only_slips_are_tolerated_over_websocket() {
    play_all(true, false).await;
}

/// What waits for more of a packet is closed by the limit that is meant for it.
#[tokio::test]
async fn what_is_not_finished_is_closed_in_time() {
    for (ws, is_strict) in [(false, false), (false, true), (true, false), (true, true)] {
        let rig = Rig::start(ws, |setup| {
            let setup = if is_strict { strict(setup) } else { setup };
            let limited = setup.limit("packet_timeout", "300ms");
            limited
                .set("listeners.ws.limits.packet_timeout", "300ms")
                .set("upstreams.broker.connack_timeout", "300ms")
        });
        let rig = rig.await;
        let cases = data::mqtt().into_iter();
        let mut played = 0;
        for case in cases.filter(|case| case.verdict == "wait") {
            let context = format!("{} {} ws: {ws}", case.id, case.name);
            let (mut client, server) = prepare(&rig, &case).await;
            let mut server = server.expect("every one has a session");
            match case.sender {
                Sender::Client => client.send(&case.bytes).await,
                Sender::Broker => server.send(&case.bytes).await,
            }
            let (packets, rest) = server.rest().await;
            assert_eq!((&*packets, rest), (&[][..], Rest::Clean), "{context}");
            let (packets, _) = client.rest().await;
            assert!(is_refusal(&case, &packets), "{context}: {packets:?}");
            // only to the letter the client is told
            assert!(is_strict || packets.is_empty(), "{context}: {packets:?}");
            played += 1;
        }
        assert_eq!(played, 4);
    }
}

/// Connects, sends pieces and reads to the end, or to the end of a head that is no refusal.
async fn raw(addr: SocketAddr, bytes: &[u8], cut: Cut) -> Vec<u8> {
    let stream = within("a connection", TcpStream::connect(addr)).await;
    let (mut read, mut write) = stream.expect("somebody listens").into_split();
    let send = async {
        for piece in cut.pieces(bytes) {
            if write.write_all(piece).await.is_err() {
                break;
            }
        }
    };
    let receive = async {
        let mut answer = Vec::new();
        while matches!(read.read_buf(&mut answer).await, Ok(1..)) {
            if answer.starts_with(b"HTTP/1.1 101") && answer.ends_with(b"\r\n\r\n") {
                break;
            }
        }
        answer
    };
    let both = async { tokio::join!(send, receive) };
    let ((), answer) = within("the end", both).await;
    drop(write);
    answer
}

/// What is no MQTT, no upgrade or no frame; the status codes and close codes are the transport's.
#[tokio::test]
async fn every_case_of_the_transport_holds() {
    let origins = "[\"https://app.example.com\"]";
    let proxy = "[[listeners]]\nname = \"proxy\"\nbind = \"127.0.0.1:0\"\n\
                 [listeners.proxy_protocol]\naccept = \"required\"\n";
    let more = |setup: Setup| setup.set("listeners.ws.origins", origins).toml(proxy);
    let rig = Rig::start(false, more).await;
    for case in data::transport() {
        for cut in cuts(&case) {
            let context = format!("{} {} {cut:?}", case.id, case.name);
            match &*case.state {
                "tcp" | "proxy" => {
                    let listener = if case.state == "tcp" { "mqtt" } else { "proxy" };
                    let answer = raw(rig.mproxy.listener(listener), &case.bytes, cut).await;
                    assert!(answer.is_empty(), "{context}: {answer:02x?}");
                }
                "ws" => {
                    let answer = raw(rig.mproxy.listener("ws"), &case.bytes, cut).await;
                    let served = answer.starts_with(b"HTTP/1.1 101 ");
                    assert!(answer.starts_with(b"HTTP/1.1 "), "{context}: {answer:02x?}");
                    assert_eq!(served, case.verdict == "accept", "{context}");
                }
                _ => {
                    let mut link = Link::ws(rig.mproxy.listener("ws")).await;
                    for piece in cut.pieces(&case.bytes) {
                        if link.frames().get_mut().write_all(piece).await.is_err() {
                            break;
                        }
                    }
                    // the policy: more than 600 frames without payload
                    if case.verdict != "accept" {
                        link.closed().await;
                    } else {
                        let mut server = rig.session().await;
                        assert_eq!(server.packet().await.kind(), 1, "{context}");
                        server.send(&connack(Version::V311, 0)).await;
                        link.expect(&connack(Version::V311, 0)).await;
                        continue;
                    }
                }
            }
            rig.nothing_before_a_fence(&context).await;
        }
    }
}
