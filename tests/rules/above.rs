//! What stands above the rules: mproxy is between a client and a broker that worked together
//! yesterday, and does what a cable does unless a layer refused something, a side broke the protocol
//! in a way that two readers could understand differently, or an operator ordered it.
//!
//! Each choice says what happens by default, which key chooses otherwise, and above which rules it
//! stands. [`registry`](crate::registry) demands a test of every value for each of these rules.

/// A choice.
#[derive(Debug)]
pub(crate) struct Choice {
    /// What the table calls it.
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) default: &'static str,
    /// The last part of the key, if there is one.
    pub(crate) key: Option<&'static str>,
    /// What the key's other value does.
    pub(crate) other: &'static str,
    pub(crate) rules: &'static [u8],
}

const CONFORMANCE: Option<&str> = Some("conformance");

/// See the [module](self).
pub(crate) const CHOICES: &[Choice] = &[
    Choice {
        name: "T1",
        what: "an unknown protocol level, and mosquitto's bridge bit",
        default: "MQTT 6 to 0x7F: `20 03 00 84 00`; other levels and names: `20 02 00 01`; 0x83 and 0x84 are 3.1 and 3.1.1, and the byte goes on as it came",
        key: Some("bridges"),
        other: "`\"refuse\"`: a bridge gets `20 02 00 01`, and a log line says what to do",
        rules: &[27],
    },
    Choice {
        name: "T2",
        what: "the broker cannot be reached, is silent, closes, or breaks the protocol before CONNACK",
        default: "the client's connection is closed, without a CONNACK",
        key: Some("when_unreachable"),
        other: "`\"connack\"`: `20 02 00 03` or `20 03 00 88 00`",
        rules: &[
            7, 8, 9, 14, 15, 16, 21, 26, 28, 35, 40, 47, 52, 54, 121, 122, 124, 125, 127,
        ],
    },
    Choice {
        name: "T3",
        what: "the broker closes, or breaks the protocol, after CONNACK",
        default: "the client's connection is closed without a DISCONNECT, and no partial packet is passed; what the broker itself says passes",
        key: None,
        other: "",
        rules: &[
            1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 14, 15, 16, 22, 31, 35, 36, 60, 61, 78, 81, 82, 87, 88,
            89, 92, 114, 121, 122, 124,
        ],
    },
    Choice {
        name: "T4",
        what: "a side is silent within a packet",
        default: "closed without a word",
        key: CONFORMANCE,
        other: "`\"strict\"`: DISCONNECT 0x80 to a client of 5.0",
        rules: &[34, 40],
    },
    Choice {
        name: "T5",
        what: "mproxy is stopped",
        default: "clients are closed without a word",
        key: Some("drain_notice"),
        other: "`\"disconnect\"`: DISCONNECT 0x8B to clients of 5.0; CONNACK 3 or 0x88 to those that wait for one",
        rules: &[28, 34, 36],
    },
    Choice {
        name: "T6",
        what: "more messages under way than the broker's Receive Maximum",
        default: "they pass: the broker announced it, and judges it",
        key: Some("receive_maximum"),
        other: "`\"enforce\"`: DISCONNECT 0x93; a repetition of a message that waits is not one more",
        rules: &[71],
    },
    Choice {
        name: "T7",
        what: "SUBSCRIBE and UNSUBSCRIBE with an identifier in use, and more of them than are remembered",
        default: "they are forwarded, and answered in order, by type; the client is not read until answers have made room",
        key: None,
        other: "",
        rules: &[96],
    },
    Choice {
        name: "T8",
        what: "DUP with QoS 0, in either direction",
        default: "the bit is cleared, and the PUBLISH goes on",
        key: CONFORMANCE,
        other: "`\"strict\"`: closed; DISCONNECT 0x81 to a client of 5.0 that sent it",
        rules: &[3, 60, 110],
    },
    Choice {
        name: "T9",
        what: "flag bits that MQTT 3.1 does not use, and will flags without a will there",
        default: "they are put right, and the packet goes on; `E1 00` is a DISCONNECT",
        key: CONFORMANCE,
        other: "`\"strict\"`: closed",
        rules: &[3, 4, 41],
    },
    Choice {
        name: "T10",
        what: "the broker says Session Present to a clean session, or in a refusal",
        default: "the bit is cleared",
        key: CONFORMANCE,
        other: "`\"strict\"`: the broker counts as unavailable: T2",
        rules: &[26, 47],
    },
    Choice {
        name: "T11",
        what: "the size of a packet",
        default: "no limit: CONNACK passes byte for byte, and a PUBLISH streams; only what must be held whole has limits, `max_connect_size` and `max_held_packet`",
        key: Some("max_packet_size"),
        other: "less than 256MiB: told in CONNACK, and enforced with DISCONNECT 0x95",
        rules: &[1, 55, 119],
    },
    Choice {
        name: "T12",
        what: "a packet that mproxy did not change, larger than its receiver announced",
        default: "it passes: the receiver judges it",
        key: CONFORMANCE,
        other: "`\"strict\"`: DISCONNECT 0x95 to a client, a delivery is dropped and acknowledged",
        rules: &[55, 115, 117],
    },
    Choice {
        name: "T13",
        what: "silence longer than the keep alive that the client asked for",
        default: "the broker judges it; mproxy closes 30 seconds later, without a word. With `max_keepalive` it closes at 1.5 times that",
        key: CONFORMANCE,
        other: "`\"strict\"`: closed at 1.5 times the keep alive, with DISCONNECT 0x8D in 5.0",
        rules: &[39],
    },
    Choice {
        name: "T14",
        what: "topic aliases",
        default: "where no layer looks at messages they pass, as many as the two sides agree on; elsewhere 16",
        key: None,
        other: "",
        rules: &[55, 87],
    },
    Choice {
        name: "T15",
        what: "an answer of the broker with another number of codes than the request had filters",
        default: "it passes, unless codes of a layer have to be put into it: T3",
        key: CONFORMANCE,
        other: "`\"strict\"`: T3 in any case",
        rules: &[92],
    },
    Choice {
        name: "T16",
        what: "a CONNACK without the Authentication Method of CONNECT",
        default: "it passes",
        key: CONFORMANCE,
        other: "`\"strict\"`: the broker counts as unavailable: T2",
        rules: &[122],
    },
    Choice {
        name: "T17",
        what: "a broker that refuses 5.0 in the format of 3.1.1",
        default: "its bytes pass to the client",
        key: None,
        other: "",
        rules: &[57],
    },
    Choice {
        name: "T18",
        what: "a broker that refuses 3.1 or 3.1.1 with a return code of its own, 6 or more",
        default: "it passes to the client, which is refused whatever the code means",
        key: CONFORMANCE,
        other: "`\"strict\"`: the broker counts as unavailable: T2",
        rules: &[35, 57],
    },
];
