//! The hostile cases over sockets: through the real program, TCP to TCP and WebSocket to WebSocket.
//!
//! What a broker gets is recorded by a broker that does nothing else. The verdicts are those of the
//! session's tests; what is forwarded is compared with what was sent, byte by byte.

#[path = "../../crates/mproxy-codec/tests/data/hostile.rs"]
mod data;

use std::net::SocketAddr;

use mproxy_tests::wire::{
    Connect, PINGREQ, PINGRESP, Packet, Version, connack, frame, puback, suback, subscribe,
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

/// The case may itself be such a packet.
async fn hear(link: &mut Link, fence: &[u8], case: &Case) -> Heard {
    let mut more = usize::from(case.bytes == fence);
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
    match case.sender {
        Sender::Client => send(client, &case.bytes, cut).await,
        Sender::Broker => send(server, &case.bytes, cut).await,
    }
    client.try_send(&PINGREQ).await;
    let at_server = hear(server, &PINGREQ, case).await;
    if at_server.open {
        server.send(&PINGRESP).await;
    }
    (hear(client, &PINGRESP, case).await, at_server)
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
            // the answer of a broker without MQTT 5.0 is translated
            let translated =
                case.id == "S50-033" && packets.len() == 1 && packets[0].body()[1] == 0x84;
            assert!(
                translated || Some(concat(&packets)) == first(),
                "{context}: {packets:?}"
            );
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

async fn play_all(ws: bool) {
    let open = Rig::start(ws, |setup| setup).await;
    let guarded = Rig::start(ws, |setup| setup.toml(RULES)).await;
    let cases = data::mqtt();
    for (id, _) in IN_PROCESS_ONLY {
        assert!(cases.iter().any(|case| case.id == *id), "no case {id}");
    }
    for case in &cases {
        let elsewhere = IN_PROCESS_ONLY.iter().any(|(id, _)| case.id == *id);
        if elsewhere || case.verdict == "wait" {
            continue;
        }
        for cut in cuts(case) {
            let by_rule = case.verdict.starts_with("hook");
            play(if by_rule { &guarded } else { &open }, case, cut).await;
        }
    }
}

#[tokio::test]
async fn every_case_holds_over_tcp() {
    play_all(false).await;
}

#[tokio::test]
async fn every_case_holds_over_websocket() {
    play_all(true).await;
}

/// What waits for more of a packet is closed by the limit that is meant for it.
#[tokio::test]
async fn what_is_not_finished_is_closed_in_time() {
    for ws in [false, true] {
        let rig = Rig::start(ws, |setup| {
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
    let rig = Rig::start(false, |setup| setup.set("listeners.ws.origins", origins)).await;
    for case in data::transport() {
        for cut in cuts(&case) {
            let context = format!("{} {} {cut:?}", case.id, case.name);
            match &*case.state {
                "tcp" => {
                    let answer = raw(rig.mproxy.addr(), &case.bytes, cut).await;
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
                    if case.verdict == "reject" {
                        link.closed().await;
                    } else {
                        let connect = Connect::new(Version::V311, "later").bytes();
                        if case.verdict == "policy" {
                            link.send(&connect).await;
                        }
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
