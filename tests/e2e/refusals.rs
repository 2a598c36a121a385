//! No refusal without a line: what an operator reads when a client does not get in, with an access log
//! and without one.
//!
//! With an access-log layer a client that was turned away before its chain saw it left no line at all.
//! Without one, a TLS client at a plain port "broke the protocol", and the remedy was to update it.

use std::collections::BTreeMap;

use mproxy_tests::wire::{Connect, PINGREQ, PINGRESP, Version, connack, field, frame};
use mproxy_tests::{FakeBroker, Link, Mproxy, PATIENCE, Process, Setup, server_binary, within};
use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

const ACCESS_LOG: &str =
    "[chains.default]\nlayers = [\"log\"]\n[layers.log]\ntype = \"access-log\"\n";

/// What a client is answered before its connection ends.
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// These bytes.
    Is(&'static [u8]),
    /// What HTTP has to say, which begins like this.
    Begins(&'static str),
}

const NOTHING: Answer = Answer::Is(&[]);
const BAD_REQUEST: Answer = Answer::Begins("HTTP/1.1 400 ");

/// A client that is not let in, and the line about it.
struct Case {
    name: &'static str,
    /// More keys of its listener.
    listener: &'static str,
    bytes: Vec<u8>,
    answer: Answer,
    /// These fields of the line, and none of [`OPTIONAL`] but these.
    line: &'static [(&'static str, &'static str)],
    /// What `detail` and `remedy` say; `NAME` is that of the listener.
    detail: &'static str,
    remedy: &'static str,
}

/// How a long value ends.
const CUT: char = '…';

/// Fields that a line has only if there is something to say.
const OPTIONAL: [&str; 5] = [
    "client_id",
    "username",
    "version",
    "protocol_level",
    "field",
];

/// CONNECT with this name, level, flags and payload; keep alive of a minute.
fn connect(name: &str, level: u8, flags: u8, payload: &[&[u8]]) -> Vec<u8> {
    let mut body = field(name);
    body.extend([level, flags, 0, 60]);
    body.extend(payload.concat());
    frame(0x10, &body)
}

/// What comes of a packet whose end does not.
fn without_end(mut packet: Vec<u8>) -> Vec<u8> {
    packet.pop();
    packet
}

/// A CONNECT as operators meet it who put tokens into user names: 60,000 bytes, and as many of the
/// password.
fn large() -> Vec<u8> {
    let (user, password) = (field(vec![b'u'; 60_000]), field(vec![b'p'; 60_000]));
    connect("MQTT", 4, 0xc2, &[&field("big"), &user, &password])
}

const WS: &str = "protocol = \"ws\"";
const SOON: &str = "limits.connect_timeout = \"300ms\"";

const TLS: &[u8] = b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x03................................\
\x00\x00\x02\x13\x01\x01\x00";
const TLS_ALERT: &[u8] = b"\x15\x03\x03\x00\x02\x02\x46";
const PROXY_V1: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 1883\r\n";
const PROXY_V2: &[u8] =
    b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\x9c\x40\x07\x5b";
const HTTP: &[u8] = b"GET / HTTP/1.1\r\nHost: broker.example.com\r\n\r\n";
const SSH: &[u8] = b"SSH-2.0-OpenSSH_9.2\r\n";

const UNSUPPORTED: (&str, &str) = ("reason", "unsupported_version");
const TIMED_OUT: (&str, &str) = ("reason", "connect_timeout");
const MALFORMED: (&str, &str) = ("reason", "malformed");
const PROTOCOL: (&str, &str) = ("reason", "protocol_error");
const TOO_LARGE: (&str, &str) = ("reason", "packet_too_large");

/// Versions that nobody speaks, or nobody here.
fn versions() -> Vec<Case> {
    let unknown = |name, level, payload: &[&[u8]], answer, line| Case {
        name,
        listener: "",
        bytes: connect("MQTT", level, 2, payload),
        answer: Answer::Is(answer),
        line,
        detail: "unsupported protocol level [MQTT-3.1.2-2]",
        remedy: "mproxy speaks MQTT 3.1",
    };
    let not_served = |name, listener, bytes, answer, line, detail| Case {
        name,
        listener,
        bytes,
        answer: Answer::Is(answer),
        line,
        detail,
        remedy: "add the version to listeners.NAME.versions if",
    };
    let bridge = |name, protocol, level, line| Case {
        name,
        listener: "bridges = \"refuse\"",
        bytes: connect(protocol, level, 2, &[&field("c00000")]),
        answer: Answer::Is(&[0x20, 2, 0, 1]),
        line,
        detail: "a mosquitto bridge",
        remedy: "try_private = false",
    };
    let foreign_name = |name, protocol, detail| Case {
        name,
        listener: "",
        bytes: connect(protocol, 4, 2, &[&field("p")]),
        answer: NOTHING,
        line: &[UNSUPPORTED, ("field", "protocol name")],
        detail,
        remedy: "mproxy speaks MQTT 3.1 (name MQIsdp, level 3)",
    };
    const LEVEL: (&str, &str) = ("field", "protocol level");
    const P: (&str, &str) = ("client_id", "p");
    vec![
        unknown(
            "a level of the future",
            0x06,
            &[&[0], &field("p")],
            &[0x20, 3, 0, 0x84, 0],
            &[UNSUPPORTED, ("protocol_level", "0x06"), P, LEVEL],
        ),
        Case {
            name: "the level of 3.1 under the name of 3.1.1",
            listener: "",
            bytes: connect("MQTT", 3, 2, &[&field("p")]),
            answer: Answer::Is(&[0x20, 2, 0, 1]),
            line: &[UNSUPPORTED, ("protocol_level", "0x03"), P, LEVEL],
            detail: "protocol name \"MQTT\" and level 0x03 do not go together [MQTT-3.1.2-2]",
            remedy: "check its protocol setting",
        },
        unknown(
            "a level that is none",
            0xff,
            &[&field("p")],
            &[0x20, 2, 0, 1],
            &[UNSUPPORTED, ("protocol_level", "0xff"), P, LEVEL],
        ),
        not_served(
            "3.1.1 where only 5 is served",
            "versions = [\"5\"]",
            connect("MQTT", 4, 0x82, &[&field("p"), &field("alice")]),
            &[0x20, 2, 0, 1],
            &[
                UNSUPPORTED,
                ("protocol_level", "0x04"),
                ("version", "3.1.1"),
                P,
                ("username", "alice"),
            ],
            "MQTT 3.1.1 is not served here",
        ),
        not_served(
            "3.1 where only 5 is served",
            "versions = [\"5\"]",
            connect("MQIsdp", 3, 2, &[&field("p")]),
            &[0x20, 2, 0, 1],
            &[
                UNSUPPORTED,
                ("protocol_level", "0x03"),
                ("version", "3.1"),
                P,
            ],
            "MQTT 3.1 is not served here",
        ),
        not_served(
            "5 where only 3.1.1 is served",
            "versions = [\"3.1.1\"]",
            connect("MQTT", 5, 2, &[&[0], &field("p")]),
            &[0x20, 3, 0, 0x84, 0],
            &[UNSUPPORTED, ("protocol_level", "0x05"), ("version", "5"), P],
            "MQTT 5 is not served here",
        ),
        bridge(
            "a bridge",
            "MQTT",
            0x84,
            &[
                UNSUPPORTED,
                ("protocol_level", "0x84"),
                ("version", "3.1.1"),
                ("client_id", "c00000"),
            ],
        ),
        bridge(
            "a bridge of 3.1",
            "MQIsdp",
            0x83,
            &[
                UNSUPPORTED,
                ("protocol_level", "0x83"),
                ("version", "3.1"),
                ("client_id", "c00000"),
            ],
        ),
        foreign_name(
            "a name that is not MQTT",
            "AMQP\n",
            "unknown protocol name \"AMQP\\n\" [MQTT-3.1.2-1]",
        ),
        foreign_name(
            "a name in small letters",
            "mqtt",
            "unknown protocol name \"mqtt\" [MQTT-3.1.2-1]",
        ),
    ]
}

/// CONNECT that does not come whole, or is wrong, or too large.
fn connects() -> Vec<Case> {
    let late = |name, bytes, line| Case {
        name,
        listener: SOON,
        bytes,
        answer: NOTHING,
        line,
        detail: "no complete CONNECT came in time",
        remedy: "raise listeners.NAME.limits.connect_timeout",
    };
    let wrong = |name, bytes, answer, line, detail| Case {
        name,
        listener: "",
        bytes,
        answer,
        line,
        detail,
        remedy: "the client broke the protocol, see detail",
    };
    vec![
        late("nothing but a first byte", vec![0x10], &[TIMED_OUT]),
        late(
            "a length that is not kept",
            b"\x10\x0f\0\x04MQTT\x03\x02\0\x3c\0\x01p".to_vec(),
            &[TIMED_OUT, ("protocol_level", "0x03"), ("client_id", "p")],
        ),
        late(
            "all but the last byte",
            without_end(connect(
                "MQTT",
                4,
                0xc2,
                &[&field("slow"), &field("alice"), &field("secret")],
            )),
            &[
                TIMED_OUT,
                ("protocol_level", "0x04"),
                ("client_id", "slow"),
                ("username", "alice"),
            ],
        ),
        wrong(
            "the reserved flag",
            connect("MQTT", 4, 0x83, &[&field("c1"), &field("alice")]),
            NOTHING,
            &[
                MALFORMED,
                ("protocol_level", "0x04"),
                ("version", "3.1.1"),
                ("client_id", "c1"),
                ("username", "alice"),
                ("field", "connect flags"),
            ],
            "reserved connect flag is set [MQTT-3.1.2-3]",
        ),
        wrong(
            "a user name that is not UTF-8",
            connect("MQTT", 4, 0x82, &[&field("c2"), &field(b"al\xffce")]),
            NOTHING,
            &[
                MALFORMED,
                ("protocol_level", "0x04"),
                ("version", "3.1.1"),
                ("client_id", "c2"),
                ("field", "user name"),
            ],
            "string is not well-formed UTF-8 [MQTT-1.5.3-1]",
        ),
        // the statement is that of the client's version, which is told
        wrong(
            "the same in MQTT 5",
            connect("MQTT", 5, 0x82, &[&[0], &field("c2"), &field(b"al\xffce")]),
            Answer::Is(
                b"\x20\x34\x00\x81\x31\x1f\x00\x2estring is not well-formed UTF-8 [MQTT-1.5.4-1]",
            ),
            &[
                MALFORMED,
                ("protocol_level", "0x05"),
                ("version", "5"),
                ("client_id", "c2"),
                ("field", "user name"),
            ],
            "string is not well-formed UTF-8 [MQTT-1.5.4-1]",
        ),
        wrong(
            "a client identifier that is not UTF-8",
            connect("MQTT", 4, 2, &[&field(b"c\xff")]),
            NOTHING,
            &[
                MALFORMED,
                ("protocol_level", "0x04"),
                ("version", "3.1.1"),
                ("field", "client identifier"),
            ],
            "string is not well-formed UTF-8 [MQTT-1.5.3-1]",
        ),
        wrong(
            "will QoS 3",
            connect("MQTT", 4, 0x1e, &[&field("c2"), &field("w"), &field("")]),
            NOTHING,
            &[
                MALFORMED,
                ("protocol_level", "0x04"),
                ("version", "3.1.1"),
                ("client_id", "c2"),
                ("field", "connect flags"),
            ],
            "will QoS is 3 [MQTT-3.1.2-14]",
        ),
        Case {
            name: "a user name with a control character",
            listener: "",
            bytes: connect("MQTT", 4, 0x82, &[&field("c2"), &field("b\x07")]),
            answer: NOTHING,
            line: &[
                MALFORMED,
                ("protocol_level", "0x04"),
                ("version", "3.1.1"),
                ("client_id", "c2"),
                ("username", "b\x07"),
                ("field", "user name"),
            ],
            detail: "string contains a control character",
            remedy: "listeners.NAME.control_characters",
        },
        // of a packet that is no CONNECT no field of CONNECT is named
        wrong(
            "PUBLISH first",
            b"\x30\x04\0\x01tx".to_vec(),
            NOTHING,
            &[PROTOCOL],
            "the first packet is not CONNECT [MQTT-3.1.0-1]",
        ),
        wrong(
            "no protocol that is known",
            vec![0xff; 8],
            NOTHING,
            &[PROTOCOL],
            "the first packet is not CONNECT [MQTT-3.1.0-1]",
        ),
    ]
}

/// Other protocols, at a port of MQTT and at one of WebSocket.
fn protocols() -> Vec<Case> {
    let at_mqtt = |name, bytes: &[u8], detail, remedy| Case {
        name,
        listener: "",
        bytes: bytes.to_vec(),
        answer: NOTHING,
        line: &[PROTOCOL],
        detail,
        remedy,
    };
    let at_ws = |name, bytes: &[u8], detail, remedy| Case {
        name,
        listener: WS,
        bytes: bytes.to_vec(),
        answer: BAD_REQUEST,
        line: &[("reason", "websocket_handshake")],
        detail,
        remedy,
    };
    let end_tls = "give this listener a certificate and its key (listeners.";
    let no_proxy = "turn the PROXY protocol off in the load balancer";
    let no_ws = "to a listener with protocol = \"mqtt\"";
    vec![
        at_mqtt("TLS", TLS, "a TLS handshake instead of CONNECT", end_tls),
        at_mqtt(
            "PROXY v1",
            PROXY_V1,
            "a PROXY protocol header instead of CONNECT",
            no_proxy,
        ),
        at_mqtt(
            "PROXY v2",
            PROXY_V2,
            "a PROXY protocol header instead of CONNECT",
            no_proxy,
        ),
        at_mqtt(
            "HTTP",
            HTTP,
            "an HTTP request instead of CONNECT",
            "protocol = \"ws\"",
        ),
        at_mqtt("SSH", SSH, "SSH instead of CONNECT", "not SSH"),
        at_ws(
            "TLS at ws",
            TLS,
            "a TLS handshake instead of a WebSocket handshake",
            end_tls,
        ),
        at_ws(
            "PROXY v1 at ws",
            PROXY_V1,
            "a PROXY protocol header instead of a WebSocket handshake",
            no_proxy,
        ),
        at_ws(
            "PROXY v2 at ws",
            PROXY_V2,
            "a PROXY protocol header instead of a WebSocket handshake",
            no_proxy,
        ),
        at_ws(
            "SSH at ws",
            SSH,
            "SSH instead of a WebSocket handshake",
            "not SSH",
        ),
        at_ws(
            "MQTT at ws",
            &Connect::new(Version::V311, "p").bytes(),
            "a CONNECT without WebSocket",
            no_ws,
        ),
        at_ws(
            "MQTT 5 at ws",
            &Connect::new(Version::V5, "p").bytes(),
            "a CONNECT without WebSocket",
            no_ws,
        ),
        Case {
            answer: Answer::Begins("HTTP/1.1 426 "),
            line: &[("reason", "websocket_handshake"), ("path", "/")],
            ..at_ws(
                "HTTP at ws",
                HTTP,
                "not a websocket upgrade",
                "health checks should use /readyz",
            )
        },
    ]
}

/// What names a client in the lines: its listener and its address. The address alone does not: the system
/// gives a port that was just used to one listener out again for another, and two clients in a row had
/// the lines of both.
type Client = (String, String);

/// Sends the bytes and reads to the end: the answer, and the client that the lines name.
async fn turned_away(mproxy: &Mproxy, number: usize, case: &Case) -> Client {
    let listener = format!("l{number}");
    let addr = mproxy.listener(&listener);
    let stream = within("a connection", TcpStream::connect(addr)).await;
    let mut stream = stream.expect("it listens");
    let peer = stream.local_addr().expect("it is connected").to_string();
    // what is refused need not be read to its end
    let _ = within("bytes to be taken", stream.write_all(&case.bytes)).await;
    let mut answer = Vec::new();
    let ended = within("the end", stream.read_to_end(&mut answer)).await;
    match case.answer {
        Answer::Is(bytes) => {
            assert_eq!(answer, bytes, "{}: {ended:?}", case.name);
        }
        Answer::Begins(head) => {
            let text = String::from_utf8_lossy(&answer);
            assert!(text.starts_with(head), "{}: {text}", case.name);
        }
    }
    (listener, peer)
}

/// A listener for each of them, `l0` and so on: lines are limited per listener.
fn listeners<'a>(keys: impl IntoIterator<Item = &'a str>) -> String {
    let listener = |(number, keys)| {
        format!("[[listeners]]\nname = \"l{number}\"\nbind = \"127.0.0.1:0\"\n{keys}\n")
    };
    keys.into_iter().enumerate().map(listener).collect()
}

fn config(broker: &FakeBroker, access_log: bool, listeners: &str) -> Setup {
    let upstream = format!(
        "[upstreams.broker]\naddress = \"{}\"\nhealth.check = \"off\"\n\
         [admin]\nbind = \"127.0.0.1:0\"\n",
        broker.url()
    );
    let chain = if access_log { ACCESS_LOG } else { "" };
    Setup::new(&[&upstream, chain, listeners].concat())
}

/// Stops it, so that all is in the log that will ever be: the lines of each client.
async fn lines_of(mut mproxy: Mproxy) -> BTreeMap<Client, Vec<Value>> {
    mproxy.signal(Signal::TERM);
    assert_eq!(mproxy.code(PATIENCE).await, 0);
    let mut lines: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for event in mproxy.events() {
        if let Some(peer) = event["peer"].as_str() {
            let listener = event["listener"].as_str().expect("the line of a client");
            let client = (listener.to_owned(), peer.to_owned());
            lines.entry(client).or_default().push(event);
        }
    }
    lines
}

async fn told(cases: &[Case]) {
    for access_log in [false, true] {
        let broker = FakeBroker::bind().await;
        let listeners = listeners(cases.iter().map(|case| case.listener));
        let mproxy = config(&broker, access_log, &listeners).start().await;
        let mut clients = Vec::new();
        for (number, case) in cases.iter().enumerate() {
            clients.push(turned_away(&mproxy, number, case).await);
        }
        assert!(broker.is_idle(), "nobody is let in, nobody is dialled for");
        let lines = lines_of(mproxy).await;
        for (number, (case, client)) in cases.iter().zip(&clients).enumerate() {
            let context = format!("{}, access log: {access_log}", case.name);
            let lines = lines.get(client).map_or(&[][..], Vec::as_slice);
            let [line] = lines else {
                panic!("{context}: {} lines: {lines:?}", lines.len());
            };
            assert_eq!(line["level"], "WARN", "{context}: {line}");
            assert_eq!(line["event"], "refuse", "{context}: {line}");
            for (name, value) in case.line {
                match value.strip_suffix(CUT) {
                    Some(begin) => {
                        let text = line[name].as_str().unwrap_or_default();
                        assert!(text.starts_with(begin), "{context}: {name} of {line}");
                        assert!(text.ends_with(CUT), "{context}: {name} of {line}");
                        assert!(text.len() <= 515, "{context}: {name} of {line}");
                    }
                    None => assert_eq!(line[name], *value, "{context}: {name} of {line}"),
                }
            }
            for name in OPTIONAL {
                let said = case.line.iter().any(|(it, _)| *it == name);
                assert_eq!(line[name].is_string(), said, "{context}: {name} of {line}");
            }
            let remedy = case.remedy.replace("NAME", &format!("l{number}"));
            for (name, part) in [("detail", case.detail), ("remedy", &remedy)] {
                let text = line[name].as_str().unwrap_or_default();
                assert!(text.contains(part), "{context}: {name} of {line}");
            }
        }
    }
}

#[tokio::test]
async fn a_version_that_is_not_served_has_a_line() {
    told(&versions()).await;
}

#[tokio::test]
async fn a_connect_that_is_wrong_or_does_not_come_has_a_line() {
    told(&connects()).await;
}

#[tokio::test]
async fn another_protocol_is_named() {
    told(&protocols()).await;
}

/// "raise max_packet_size" was the remedy, and it was 16 MiB already: CONNECT has a limit of its own.
#[tokio::test]
async fn a_connect_that_is_too_large_names_its_limit() {
    let case = |name, listener, detail, remedy| Case {
        name,
        listener,
        bytes: large(),
        answer: NOTHING,
        line: &[
            TOO_LARGE,
            ("protocol_level", "0x04"),
            ("client_id", "big"),
            ("username", "uuuuuuuu…"),
        ],
        detail,
        remedy,
    };
    let cases = [
        case(
            "the default",
            "",
            "120023 bytes is larger than max_connect_size allows: 65536 bytes",
            "raise listeners.NAME.limits.max_connect_size",
        ),
        case(
            "whatever other packets may be",
            "limits.max_packet_size = \"16MiB\"",
            "120023 bytes is larger than max_connect_size allows: 65536 bytes",
            "raise listeners.NAME.limits.max_connect_size",
        ),
        case(
            "the lower of both counts",
            "limits.max_packet_size = \"1KiB\"",
            "120023 bytes is larger than max_packet_size allows: 1024 bytes",
            "raise listeners.NAME.limits.max_packet_size",
        ),
    ];
    told(&cases).await;

    // with more room it is let in, to the last byte
    let broker = FakeBroker::bind().await;
    let setup = Setup::before(&broker.url()).limit("max_connect_size", "128KiB");
    let mproxy = setup.start().await;
    let mut client = Link::tcp(mproxy.addr()).await;
    client.send(&large()).await;
    let mut server = broker.session().await;
    server.expect(&large()).await;
    server.send(&connack(Version::V311, 0)).await;
    client.expect(&connack(Version::V311, 0)).await;
}

/// How a broker treats the CONNECT that it got.
#[derive(Clone, Copy, Debug)]
enum Treatment {
    Answers(&'static [u8]),
    Silent,
    Closes,
    Resets,
}

/// A broker, what the line says of it, and the remedy.
const BROKERS: [(&str, Treatment, &str, &str); 6] = [
    (
        "tls",
        Treatment::Answers(TLS_ALERT),
        "the broker answers CONNECT with a TLS alert",
        "to its port without TLS",
    ),
    (
        "http",
        Treatment::Answers(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        "the broker answers CONNECT with an HTTP response",
        "ws://host:port/path",
    ),
    (
        "ssh",
        Treatment::Answers(SSH),
        "the broker answers CONNECT with SSH",
        "check upstreams.broker.address",
    ),
    (
        "silent",
        Treatment::Silent,
        "the broker did not answer CONNECT in time",
        "raise upstreams.broker.connack_timeout",
    ),
    // one was INFO without a remedy, and the other WARN with one
    (
        "closes",
        Treatment::Closes,
        "the broker closed the connection instead of answering CONNECT",
        "is upstreams.broker.address a port that expects TLS",
    ),
    (
        "resets",
        Treatment::Resets,
        "the broker reset the connection instead of answering CONNECT",
        "is upstreams.broker.address a port that expects TLS",
    ),
];

/// The client is closed without a word, and the line says what the broker did and what to change. With
/// an access log there were two lines, and only one of them had the remedy.
#[tokio::test]
async fn a_broker_that_does_not_answer_has_a_line() {
    for access_log in [false, true] {
        let broker = FakeBroker::bind().await;
        let setup = config(&broker, access_log, &listeners(BROKERS.map(|_| "")));
        let setup = setup.set("upstreams.broker.connack_timeout", "300ms");
        let mproxy = setup.start().await;
        for (number, (client_id, treatment, ..)) in BROKERS.iter().enumerate() {
            let mut client = Link::tcp(mproxy.listener(&format!("l{number}"))).await;
            let connect = Connect::new(Version::V5, client_id).username("alice");
            client.send(&connect.bytes()).await;
            let mut server = broker.session().await;
            server.expect(&connect.bytes()).await;
            match treatment {
                Treatment::Answers(bytes) => server.send(bytes).await,
                Treatment::Silent => {}
                Treatment::Closes => {
                    drop(server);
                    client.closed().await;
                    continue;
                }
                Treatment::Resets => {
                    server.reset();
                    client.closed().await;
                    continue;
                }
            }
            client.closed().await;
            server.closed().await;
        }
        let lines = lines_of(mproxy).await;
        let lines: Vec<_> = lines.into_values().flatten().collect();
        for (client_id, _, detail, remedy) in BROKERS {
            let context = format!("{client_id}, access log: {access_log}");
            let lines: Vec<_> = lines
                .iter()
                .filter(|line| line["client_id"] == client_id)
                .collect();
            let targets: Vec<_> = lines.iter().map(|line| &line["target"]).collect();
            assert_eq!(targets, ["mproxy::session"], "{context}");
            for line in lines {
                for (name, value) in [
                    ("level", "WARN"),
                    ("event", "refuse"),
                    ("username", "alice"),
                    ("version", "5"),
                    ("reason", "upstream_unreachable"),
                ] {
                    assert_eq!(line[name], value, "{context}: {name} of {line}");
                }
                let text = |name: &str| line[name].as_str().unwrap_or_default();
                assert!(text("detail").contains(detail), "{context}: {line}");
                assert!(text("remedy").contains(remedy), "{context}: {line}");
                assert_eq!(line["upstream"], "broker", "{context}: {line}");
            }
        }
    }
}

/// Load balancers connect and close, every second or so. That was a line each, and on a WebSocket
/// listener a refusal each, which fed an alert.
#[tokio::test]
async fn a_connection_without_a_byte_is_no_refusal() {
    const EACH: usize = 50;
    for (access_log, level) in [(false, "info"), (true, "info"), (false, "debug")] {
        let broker = FakeBroker::bind().await;
        let setup = config(&broker, access_log, &listeners(["", WS]));
        let mproxy = setup.log_level(level).start().await;
        let mut clients = Vec::new();
        for listener in ["l0", "l1"] {
            for number in 0..EACH {
                let stream = TcpStream::connect(mproxy.listener(listener)).await;
                let stream = stream.expect("it listens");
                let peer = stream.local_addr().expect("it is connected").to_string();
                clients.push((listener.to_owned(), peer));
                if number % 2 == 0 {
                    stream.set_zero_linger().expect("a TCP connection");
                }
            }
        }
        mproxy
            .metric("mproxy_connections_closed_total", 2.0 * EACH as f64)
            .await;
        for reason in ["eof", "reset"] {
            let closed = format!("mproxy_connections_closed_total{{reason=\"{reason}\"}}");
            mproxy.metric(&closed, EACH as f64).await;
        }
        let metrics = mproxy.metrics().await;
        for refused in [
            "mproxy_connections_refused_total",
            "mproxy_packet_errors_total",
        ] {
            assert!(metrics.sum(refused).abs() < 0.1, "{}", metrics.0);
        }
        let lines = lines_of(mproxy).await;
        for client in &clients {
            let lines = lines.get(client).map_or(&[][..], Vec::as_slice);
            if level == "info" {
                assert!(lines.is_empty(), "{lines:?}");
            } else {
                assert!(!lines.is_empty());
                assert!(
                    lines.iter().all(|line| line["level"] == "DEBUG"),
                    "{lines:?}"
                );
            }
        }
    }
}

/// The documentation told operators to raise the level to see what a session does; nothing came.
#[tokio::test]
async fn a_verbose_log_shows_the_transitions_of_a_session() {
    let broker = FakeBroker::bind().await;
    let dir = tempfile::TempDir::new().expect("a temporary folder can be made");
    let file = dir.path().join("mproxy.toml");
    std::fs::write(&file, Setup::head(&broker.url())).expect("the folder is ours");
    let mut command = Command::new(server_binary());
    command
        .args(["-v", "--log-format", "json", "--config"])
        .arg(&file)
        .env_clear();
    let process = Process::spawn(command);
    let event = |line: &str| serde_json::from_str::<Value>(line).expect("JSON");
    let listening = process.line("it to listen", |line| event(line)["message"] == "listening");
    let listening = event(&listening.await);
    let addr = listening["address"].as_str().expect("an address");
    let addr = addr.parse().expect("a TCP address");

    let (mut client, (mut server, _)) =
        tokio::join!(Link::client(addr, Version::V5, "seen"), broker.accept());
    client.send(&PINGREQ).await;
    server.expect(&PINGREQ).await;
    server.send(&PINGRESP).await;
    client.expect(&PINGRESP).await;
    tokio::join!(client.leave(), server.rest());
    let end = process.line("the end", |line| event(line)["event"] == "disconnect");
    end.await;

    let lines: Vec<_> = process.lines().iter().map(|line| event(line)).collect();
    let session = lines
        .iter()
        .filter(|line| line["target"] == "mproxy::session");
    let session: Vec<_> = session.collect();
    let steps: Vec<_> = session
        .iter()
        .map(|line| (line["level"].as_str(), line["message"].as_str()))
        .collect();
    let debug = |message| (Some("DEBUG"), Some(message));
    let info = |message| (Some("INFO"), Some(message));
    assert_eq!(
        steps,
        [
            debug("accepted"),
            debug("CONNECT read"),
            debug("admitted"),
            debug("broker dialled, CONNECT forwarded"),
            debug("CONNACK"),
            info("client connected"),
            info("client disconnected"),
        ]
    );
    let peer = session[0]["peer"].as_str().expect("an address");
    assert!(peer.starts_with("127.0.0.1:"), "{peer}");
    for line in &session {
        assert_eq!(
            (&line["listener"], &line["peer"]),
            (&"mqtt".into(), &peer.into())
        );
    }
    for line in &session[1..] {
        assert_eq!(line["client_id"], "seen", "{line}");
    }
    assert_eq!(session[4]["reason_code"], "success");
}
