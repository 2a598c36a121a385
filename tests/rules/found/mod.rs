//! What clients and brokers of other makers send, and fault reports of other projects tell of: each
//! input byte by byte, and some that are like it.
//!
//! Every input is tried without a layer and behind `acl`, in one write, a byte a write, right behind
//! CONNECT and over WebSocket: see [`PLACES`]. `C` is for clients that stopped working when a proxy
//! was put before their broker, `O` for what an operator was told wrongly, or not at all.

use mproxy_tests::wire::{Version, connack};
use mproxy_tests::{Link, Mproxy, Setup};

use crate::ground::Ground;

pub(crate) mod ends;
pub(crate) mod limits;
pub(crate) mod messages;
pub(crate) mod requests;
pub(crate) mod slips;
pub(crate) mod told;

/// An input.
#[derive(Debug)]
pub(crate) struct Input {
    /// What tests call it.
    pub(crate) id: &'static str,
    pub(crate) what: &'static str,
    pub(crate) right: &'static str,
    /// Tests of the whole way, with real clients and brokers or the kernel: file and function.
    pub(crate) elsewhere: &'static [(&'static str, &'static str)],
}

const fn input(
    id: &'static str,
    what: &'static str,
    right: &'static str,
    elsewhere: &'static [(&'static str, &'static str)],
) -> Input {
    Input {
        id,
        what,
        right,
        elsewhere,
    }
}

const E2E_WEBSOCKET: &str = "tests/e2e/websocket.rs";
const E2E_LIMITS: &str = "tests/e2e/limits.rs";
const E2E_ACCESS_LOG: &str = "tests/e2e/access_log.rs";

/// See the [module](self).
pub(crate) const INPUTS: &[Input] = &[
    input(
        "c1",
        "the broker is stopped and started while clients come back",
        "the connection is closed without CONNACK, and the client gets in when the broker is back",
        &[],
    ),
    input(
        "c2",
        "the broker stops while clients of MQTT 5 are in",
        "closed without DISCONNECT",
        &[],
    ),
    input(
        "c3",
        "mproxy is stopped and started",
        "closed without DISCONNECT",
        &[],
    ),
    input(
        "c4",
        "a session is taken over, and the broker just closes the old one",
        "closed",
        &[],
    ),
    input(
        "c5",
        "21 PUBLISH of QoS 1 in one write, where the broker's Receive Maximum is 20",
        "21 PUBACK",
        &[],
    ),
    input(
        "c6",
        "a mosquitto bridge of MQTT 5 with 300 messages in its queue",
        "300 messages, one connection",
        &[],
    ),
    input(
        "c7",
        "one identifier for all SUBSCRIBE",
        "each is answered, in order",
        &[],
    ),
    input(
        "c8",
        "MQTT 3.1 repeats SUBSCRIBE and UNSUBSCRIBE with DUP",
        "each is answered",
        &[],
    ),
    input(
        "c9",
        "the SUBACK takes long, and the client repeats its SUBSCRIBE",
        "two SUBACK",
        &[],
    ),
    input(
        "c10",
        "5,000 and 14,000 SUBSCRIBE at once",
        "all are granted, in bounded memory",
        &[],
    ),
    input(
        "c11",
        "a mosquitto bridge with its level of 0x83 or 0x84",
        "CONNACK 0; the level goes on as it came",
        &[],
    ),
    input(
        "c12",
        "CONNECT comes 12 seconds after the connection",
        "accepted",
        &[],
    ),
    input(
        "c13",
        "DUP on QoS 0, from either side",
        "delivered, the bit cleared (strict: closed)",
        &[],
    ),
    input(
        "c14",
        "flag bits and will flags that MQTT 3.1 does not use",
        "taken; `E1 00` is a DISCONNECT (strict: closed)",
        &[],
    ),
    input(
        "c15",
        "the broker says that a clean session is present",
        "cleared (strict: closed)",
        &[],
    ),
    input(
        "c16",
        "WebSocket paths `/`, `/ws` and `/mqtt/`",
        "any path, unless some are configured",
        &[(E2E_WEBSOCKET, "what_brokers_serve_is_served_by_default")],
    ),
    input(
        "c17",
        "a CONNECT of 120 kB",
        "a limit of its own, which the line names",
        &[],
    ),
    input(
        "c18",
        "a PUBLISH of 1,100,000 bytes",
        "delivered, and acknowledged",
        &[],
    ),
    input(
        "c19",
        "a client with keep alive 0 vanishes",
        "TCP finds it",
        &[(E2E_LIMITS, "the_kernel_looks_after_silent_clients")],
    ),
    input(
        "o1",
        "a CONNECT that is not let in, with an access-log layer",
        "one WARN line with level, client id and remedy",
        &[],
    ),
    input(
        "o2",
        "TLS, PROXY protocol, HTTP and SSH at an MQTT port",
        "a line that says what arrived and what to change",
        &[],
    ),
    input(
        "o3",
        "8 KiB of cookies at the upgrade",
        "101; beyond `max_header_size` the line names the key",
        &[(E2E_WEBSOCKET, "what_brokers_serve_is_served_by_default")],
    ),
    input(
        "o5",
        "the broker resets the connection before CONNACK",
        "told like a broker that closes it",
        &[],
    ),
    input(
        "o6",
        "300 TCP probes",
        "DEBUG lines, and none is counted as refused",
        &[(E2E_WEBSOCKET, "a_connection_without_a_byte_is_not_refused")],
    ),
    input(
        "o9",
        "a client id with a backslash",
        "one spelling in all lines",
        &[(E2E_ACCESS_LOG, "a_name_reads_the_same_in_every_line")],
    ),
];

/// How bytes reach the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// In one write, after CONNACK.
    Tcp,
    /// A byte a write.
    Dripped,
    /// In one write with CONNECT.
    Pipelined,
    /// In one frame of WebSocket.
    Ws,
}

/// A way and the listener that it leads to.
pub(super) type Place = (Way, &'static str);

/// Each way, without a layer and behind `acl`.
pub(super) const PLACES: [Place; 8] = [
    (Way::Tcp, "mqtt"),
    (Way::Tcp, "acl"),
    (Way::Dripped, "mqtt"),
    (Way::Dripped, "acl"),
    (Way::Pipelined, "mqtt"),
    (Way::Pipelined, "acl"),
    (Way::Ws, "ws"),
    (Way::Ws, "ws-acl"),
];

impl Way {
    pub(super) async fn send(self, link: &mut Link, bytes: &[u8]) {
        if self == Self::Dripped {
            for byte in bytes {
                link.send(&[*byte]).await;
            }
        } else {
            link.send(bytes).await;
        }
    }
}

/// A proxy with one more listener: WebSocket behind `acl`.
pub(super) async fn ground(change: impl FnOnce(Setup) -> Setup) -> Ground {
    Ground::with(|setup| {
        change(setup.toml(
            "[[listeners]]\nname = \"ws-acl\"\nbind = \"127.0.0.1:0\"\nprotocol = \"ws\"\n\
             chain = \"acl\"\n",
        ))
    })
    .await
}

/// Bytes from digits, with blanks where they help.
pub(super) fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<_> = digits.chars().filter(|it| !it.is_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&String::from_iter(pair), 16).expect("two digits"))
        .collect()
}

/// A CONNECT that every broker accepts.
pub(super) fn hello(version: Version) -> Vec<u8> {
    hex(match version {
        Version::V31 => "101400064d51497364700302003c0006633030303030",
        Version::V311 => "101200044d5154540402003c0006633030303030",
        Version::V5 => "101300044d5154540502003c000006633030303030",
    })
}

/// A client that connects and says this, and its broker, which has read CONNECT.
pub(super) async fn say(ground: &Ground, place: Place, version: Version, bytes: &[u8]) -> Said {
    Said::new(
        ground,
        place,
        version,
        &hello(version),
        &connack(version, 0),
        bytes,
    )
    .await
}

/// Both ends of a session.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) client: Link,
    pub(super) server: Link,
    /// CONNECT as the broker got it.
    pub(super) connect: Vec<u8>,
    /// The answer as the client got it.
    pub(super) connack: Vec<u8>,
}

impl Said {
    pub(super) async fn new(
        ground: &Ground,
        (way, listener): Place,
        version: Version,
        hello: &[u8],
        answer: &[u8],
        bytes: &[u8],
    ) -> Self {
        let mut client = link(&ground.mproxy, (way, listener), version).await;
        if way == Way::Pipelined {
            client.send(&[hello, bytes].concat()).await;
        } else {
            way.send(&mut client, hello).await;
        }
        let mut server = ground.broker.session().await;
        server.speak(version);
        let connect = server.packet().await.bytes().to_vec();
        server.send(answer).await;
        let connack = client.packet().await.bytes().to_vec();
        if way != Way::Pipelined {
            way.send(&mut client, bytes).await;
        }
        Self {
            client,
            server,
            connect,
            connack,
        }
    }
}

/// A connection at the start of a way.
pub(super) async fn link(mproxy: &Mproxy, (way, listener): Place, version: Version) -> Link {
    let addr = mproxy.listener(listener);
    let mut link = if way == Way::Ws {
        Link::ws(addr).await
    } else {
        Link::tcp(addr).await
    };
    link.speak(version);
    link
}

/// Each of several packets arrives.
pub(super) async fn arrive(link: &mut Link, packets: &[Vec<u8>]) {
    for packet in packets {
        link.expect(packet).await;
    }
}
