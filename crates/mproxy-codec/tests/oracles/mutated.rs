//! Packets that were valid and are not quite any more: who refuses one that another reads, or reads
//! something else, does so for a reason that is known. [`KNOWN`] has them all.
//!
//! The ordinary run makes a few; `MPROXY_MUTATIONS=10000000` makes ten million, in which every
//! row of the table must show itself. `MPROXY_SEED` makes others.

use std::collections::BTreeMap;
use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};

use mproxy_codec::{Direction, Head, Version, View};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::rmqtt_v5::sorted;
use super::{mqtt_protocol, rmqtt, rmqtt_v5};
use crate::support::model::{Body, Packet, varint};
use crate::support::{from_view, strategies};

/// How many in the ordinary run.
const FEW: usize = 50_000;

/// How many in which everything shows itself.
const ALL: usize = 10_000_000;

/// How many of each valid packet.
const EACH: usize = 10;

/// Longer packets take time, and have the same fields.
const LONGEST: usize = 300;

const MQTT_PROTOCOL: &str = "mqtt-protocol 0.12";
const RMQTT: &str = "rmqtt-codec 0.3 v3";
const RMQTT_V5: &str = "rmqtt-codec 0.3 v5";

/// A difference: the other decoder, what it or this crate says (the beginning is enough for theirs),
/// and why. Where this crate refuses, its error names the statement that is broken.
const KNOWN: &[(&str, Says, &str)] = &[
    (MQTT_PROTOCOL, Theirs("incomplete utf-8"), PASSWORD),
    (MQTT_PROTOCOL, Theirs("invalid utf-8"), PASSWORD),
    (MQTT_PROTOCOL, Theirs("invalid flag for"), DUP_OF_3_1),
    (
        MQTT_PROTOCOL,
        Theirs("invalid reserved flags"),
        BIT_0_OF_3_1,
    ),
    (MQTT_PROTOCOL, Ours("DupQosZero"), NOT_CHECKED),
    (MQTT_PROTOCOL, Ours("EmptyClientId"), NOT_CHECKED),
    (
        MQTT_PROTOCOL,
        Ours("InvalidReasonCode"),
        "any return code of CONNACK is read as reserved",
    ),
    (MQTT_PROTOCOL, Ours("NoTopicFilter"), NOT_CHECKED),
    (MQTT_PROTOCOL, Ours("NulCharacter"), NOT_CHECKED),
    (MQTT_PROTOCOL, Ours("PacketIdZero"), NOT_CHECKED),
    (MQTT_PROTOCOL, Ours("PasswordWithoutUserName"), NOT_CHECKED),
    (MQTT_PROTOCOL, Ours("WillQosThree"), NOT_CHECKED),
    (MQTT_PROTOCOL, Ours("SessionPresentOnFailure"), NOT_CHECKED),
    (MQTT_PROTOCOL, Ours("SharedFilter"), SHARED),
    (
        MQTT_PROTOCOL,
        Ours("Truncated"),
        "a field that is longer than the packet is cut at its end",
    ),
    (MQTT_PROTOCOL, Ours("WillQosWithoutWill"), NOT_CHECKED),
    (MQTT_PROTOCOL, Ours("WillRetainWithoutWill"), NOT_CHECKED),
    (MQTT_PROTOCOL, Ours("WrongDirection"), DIRECTION),
    (RMQTT, Theirs("ConnectReservedFlagSet"), BIT_0_OF_3_1),
    (RMQTT, Theirs("UnsupportedPacketType"), DUP_OF_3_1),
    (RMQTT, Ours("DupQosZero"), NOT_CHECKED),
    (
        RMQTT,
        Ours("EmptyClientId"),
        "of MQTT 3.1, which knows none",
    ),
    (RMQTT, Ours("EmptyTopic"), "of a will"),
    (
        RMQTT,
        Ours("InvalidReasonCode"),
        "any return code of CONNACK is read as reserved",
    ),
    (RMQTT, Ours("MisplacedWildcard"), NOT_CHECKED),
    (RMQTT, Ours("NulCharacter"), NOT_CHECKED),
    (RMQTT, Ours("PasswordWithoutUserName"), NOT_CHECKED),
    (RMQTT, Ours("SessionPresentOnFailure"), NOT_CHECKED),
    (RMQTT, Ours("SharedFilter"), SHARED),
    (
        RMQTT,
        Ours("SubscriptionOptions"),
        "the upper six bits are not looked at",
    ),
    (RMQTT, Ours("TrailingBytes"), LEFT_OVER),
    (RMQTT, Ours("Truncated"), "a SUBACK without codes"),
    (RMQTT, Ours("WildcardInTopicName"), NOT_CHECKED),
    (RMQTT, Ours("WildcardInWillTopic"), NOT_CHECKED),
    (RMQTT, Ours("WrongDirection"), DIRECTION),
    (
        RMQTT_V5,
        Theirs("InvalidClientId"),
        "an empty one without Clean Start, for which the broker of MQTT 5.0 assigns one",
    ),
    (
        RMQTT_V5,
        Theirs("MalformedPacket"),
        "0x95 in PUBACK or PUBREC: not in the list of section 3.4.2.1, but said by mosquitto; or a \
         Message Expiry Interval of 0, which is only a message that has expired",
    ),
    (RMQTT_V5, Ours("AuthDataWithoutMethod"), NOT_CHECKED),
    (RMQTT_V5, Ours("DupQosZero"), NOT_CHECKED),
    (RMQTT_V5, Ours("EmptyTopic"), NOT_CHECKED),
    (
        RMQTT_V5,
        Ours("InvalidReasonCode"),
        "whoever sends it, and AUTH may say anything",
    ),
    (RMQTT_V5, Ours("MisplacedWildcard"), NOT_CHECKED),
    (RMQTT_V5, Ours("NoLocalShared"), NOT_CHECKED),
    (
        RMQTT_V5,
        Ours("NotMinimal"),
        "a variable byte integer may be longer than it has to be",
    ),
    (RMQTT_V5, Ours("NulCharacter"), NOT_CHECKED),
    (RMQTT_V5, Ours("PropertyNotAllowed"), DIRECTION),
    (RMQTT_V5, Ours("PropertyValue"), NOT_CHECKED),
    (RMQTT_V5, Ours("SessionPresentOnFailure"), NOT_CHECKED),
    (RMQTT_V5, Ours("SharedFilter"), SHARED),
    (RMQTT_V5, Ours("SubscriptionIdFromClient"), DIRECTION),
    (RMQTT_V5, Ours("TrailingBytes"), LEFT_OVER),
    (
        RMQTT_V5,
        Ours("Truncated"),
        "a SUBACK or UNSUBACK without codes",
    ),
    (RMQTT_V5, Ours("WildcardInTopicName"), NOT_CHECKED),
    (RMQTT_V5, Ours("WildcardInWillTopic"), NOT_CHECKED),
    (RMQTT_V5, Ours("WillQosWithoutWill"), NOT_CHECKED),
    (RMQTT_V5, Ours("WillRetainWithoutWill"), NOT_CHECKED),
    (RMQTT_V5, Ours("WrongDirection"), DIRECTION),
];

const NOT_CHECKED: &str = "not looked at there";
const PASSWORD: &str = "a password is a string there, and any bytes by the standard";
const DUP_OF_3_1: &str = "MQTT 3.1 sets DUP on PUBREL, SUBSCRIBE and UNSUBSCRIBE that come again";
const BIT_0_OF_3_1: &str = "MQTT 3.1 does not use bit 0 of the connect flags";
const DIRECTION: &str = "it does not ask who sends a packet";
const SHARED: &str = "a shared subscription is a filter as any other there";
const LEFT_OVER: &str = "what is behind the last field is dropped";

/// Who refuses what the other reads.
#[derive(Clone, Copy, Debug)]
enum Says {
    Ours(&'static str),
    Theirs(&'static str),
}
use Says::{Ours, Theirs};

/// Who refuses, and how.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Seen {
    Ours(String),
    Theirs(String),
    /// Both read it, and not the same.
    Other,
}

impl Seen {
    fn is(&self, known: Says) -> bool {
        match (self, known) {
            (Self::Ours(error), Ours(known)) => error == known,
            (Self::Theirs(error), Theirs(known)) => error.starts_with(known),
            _ => false,
        }
    }
}

fn below(rng: &mut TestRng, limit: usize) -> usize {
    rng.next_u32() as usize % limit.max(1)
}

/// Changes a byte or a few. The length that the fixed header says is true: a wrong one is another
/// packet, or none that is whole.
fn mutate(packet: &[u8], rng: &mut TestRng) -> Vec<u8> {
    let head = Head::parse(packet).expect("valid").expect("whole");
    let (mut first, mut body) = (packet[0], packet[head.len()..].to_vec());
    for _ in 0..=below(rng, 2) {
        let at = below(rng, body.len());
        let byte = rng.next_u32() as u8;
        match below(rng, 8) {
            0 => first ^= 1 << below(rng, 8),
            1 | 2 if !body.is_empty() => body[at] ^= 1 << below(rng, 8),
            3 if !body.is_empty() => body[at] = byte,
            4 if byte < 0x40 && at + 1 < body.len() => body[at..at + 2].fill(0),
            4 if !body.is_empty() => body[at] = [0, 1, 2, 4, 0x7f, 0x80, 0xff][below(rng, 7)],
            5 if !body.is_empty() => drop(body.remove(at)),
            6 if !body.is_empty() => {
                let end = at + 1 + below(rng, body.len() - at);
                let copy = body[at..end].to_vec();
                body.splice(end..end, copy);
            }
            _ => body.insert(at, byte),
        }
    }
    let mut mutated = vec![first];
    varint(body.len(), &mut mutated);
    mutated.append(&mut body);
    mutated
}

fn ours(version: Version, direction: Direction, bytes: &[u8]) -> Result<Packet, String> {
    match View::parse(version, direction, bytes) {
        Ok(Some(View::Connect(connect))) if connect.version() != version => {
            Err("another version".to_owned())
        }
        Ok(Some(view)) => Ok(from_view::packet(version, direction, &view)),
        Ok(None) => panic!("the length is true: {bytes:02x?}"),
        Err(error) => Err(format!("{error:?}")),
    }
}

fn theirs(oracle: &str, version: Version, bytes: &[u8]) -> Result<Body, String> {
    let read = AssertUnwindSafe(|| match oracle {
        MQTT_PROTOCOL => mqtt_protocol::read(version, bytes),
        RMQTT => rmqtt::read(version, bytes),
        _ => rmqtt_v5::read(bytes),
    });
    catch_unwind(read).unwrap_or_else(|_| Err("a panic".to_owned()))
}

/// What one makes of the packet and the other does not.
fn difference(packet: &Packet, bytes: &[u8], oracle: &str) -> Option<Seen> {
    let ours = ours(packet.version, packet.direction, bytes);
    match (ours, theirs(oracle, packet.version, bytes)) {
        (Err(_), Err(_)) => None,
        (Err(error), Ok(_)) => Some(Seen::Ours(error)),
        (Ok(_), Err(error)) => Some(Seen::Theirs(error)),
        (Ok(ours), Ok(body)) => {
            let theirs = Packet {
                body,
                ..packet.clone()
            };
            (sorted(theirs) != sorted(ours)).then_some(Seen::Other)
        }
    }
}

#[test]
fn every_difference_is_explained() {
    let number = |name| {
        env::var(name)
            .ok()
            .map(|it| it.parse::<usize>().expect("a number"))
    };
    let all = number("MPROXY_MUTATIONS");
    let seed = number("MPROXY_SEED").unwrap_or(1);
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let packets = (strategies::version(), strategies::direction())
        .prop_flat_map(|(version, direction)| strategies::packet_of(version, direction));
    let mut known = [0; KNOWN.len()];
    let mut unexplained = BTreeMap::new();
    let mut left = all.unwrap_or(FEW);
    while left > 0 {
        let mut packet = packets.new_tree(&mut runner).expect("a packet").current();
        let valid = packet.bytes();
        if valid.len() > LONGEST {
            continue;
        }
        for _ in 0..EACH.min(left) {
            left -= 1;
            let bytes = mutate(&valid, runner.rng());
            if below(runner.rng(), 16) == 0 {
                packet.direction = match packet.direction {
                    Direction::ToServer => Direction::ToClient,
                    Direction::ToClient => Direction::ToServer,
                };
            }
            let oracles: &[&str] = if packet.version.is_v5() {
                &[RMQTT_V5]
            } else {
                &[RMQTT, MQTT_PROTOCOL]
            };
            for oracle in oracles {
                let Some(difference) = difference(&packet, &bytes, oracle) else {
                    continue;
                };
                let row = KNOWN
                    .iter()
                    .position(|it| it.0 == *oracle && difference.is(it.1));
                match row {
                    Some(row) => known[row] += 1,
                    None => {
                        let entry = unexplained.entry((*oracle, difference));
                        entry.or_insert_with(|| bytes.clone());
                    }
                }
            }
        }
    }
    for ((oracle, says, why), times) in KNOWN.iter().zip(known) {
        println!("{times} x {oracle}, {says:?}: {why}");
    }
    assert!(unexplained.is_empty(), "{unexplained:02x?}");
    let hidden = known.iter().filter(|times| **times == 0).count();
    let rare = if all.is_some_and(|all| all >= ALL) {
        0
    } else {
        KNOWN.len() / 2
    };
    assert!(hidden <= rare, "{hidden} are explained, and not there");
}
