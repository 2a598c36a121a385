//! Hostile and malformed packets, one per known bug of some broker, client or proxy.
//!
//! `data/hostile.json` says for each case what a proxy must do with the bytes. The codec judges the
//! packets one by one; what takes the memory of a connection is listed in [`SESSION`].

#[path = "data/hostile.rs"]
mod data;

use std::collections::BTreeMap;

use data::{Case, Cut, Sender};
use mproxy_codec::{DecodeError, Direction, Head, Version, View};

/// Cases whose packets are all well-formed on their own: what is wrong with them, or what is to be
/// done, depends on what came before. The tests of the session judge these.
const SESSION: &[(&str, &str)] = &[
    ("C31-003", "size limit of CONNECT"),
    ("C31-005", "first packet is not CONNECT"),
    ("C31-006", "first packet is not CONNECT"),
    ("C31-008", "first packet is not CONNECT"),
    ("C31-035", "second CONNECT"),
    ("C31-036", "second CONNECT"),
    ("C31-060", "policy on $CONTROL"),
    ("C31-062", "time limit of a started packet"),
    ("C311-003", "size limit of CONNECT"),
    ("C311-004", "first packet is not CONNECT"),
    ("C311-006", "first packet is not CONNECT"),
    ("C311-008", "first packet is not CONNECT"),
    ("C311-036", "second CONNECT"),
    ("C311-069", "policy on $CONTROL"),
    ("C311-071", "time limit of a started packet"),
    ("C50-004", "first packet is not CONNECT"),
    ("C50-006", "first packet is not CONNECT"),
    ("C50-007", "first packet is not CONNECT"),
    ("C50-036", "second CONNECT"),
    ("C50-037", "a hook refuses CONNECT"),
    ("C50-100", "policy on $CONTROL"),
    ("C50-102", "time limit of a started packet"),
    ("C50-105", "topic alias table"),
    ("C50-107", "topic alias table and a hook"),
    ("C50-108", "topic alias table and a hook"),
    ("C50-158", "session expiry interval of CONNECT"),
    ("C50-160", "authentication method of CONNECT"),
    ("C50-199", "a hook refuses a filter"),
    ("C50-201", "policy on $exclusive and $delayed"),
    ("S31-001", "first packet is not CONNACK"),
    ("S31-005", "broker closes before CONNACK"),
    ("S31-006", "broker closes within CONNACK"),
    ("S31-013", "second CONNACK"),
    ("S31-023", "size limit of the upstream"),
    ("S31-026", "SUBACK without SUBSCRIBE"),
    ("S31-028", "filters of the SUBSCRIBE"),
    ("S31-031", "SUBACK without SUBSCRIBE"),
    ("S311-005", "broker closes before CONNACK"),
    ("S311-007", "time limit of CONNACK"),
    ("S311-012", "nothing is relayed behind a refusal"),
    ("S311-013", "session present against clean session"),
    ("S311-025", "broker closes within PUBLISH"),
    ("S311-027", "SUBACK without SUBSCRIBE"),
    ("S311-032", "SUBACK without SUBSCRIBE"),
    ("S50-001", "first packet is not CONNACK"),
    ("S50-006", "broker closes within CONNACK"),
    ("S50-013", "session present against clean start"),
    ("S50-014", "second CONNACK"),
    ("S50-024", "size limit of the upstream"),
    ("S50-029", "filters of the SUBSCRIBE"),
    ("S50-046", "policy on Server Reference"),
    ("S50-048", "authentication method of CONNECT"),
    ("S50-049", "Topic Alias Maximum of CONNECT"),
    ("S50-051", "topic alias table"),
    ("S50-056", "nothing is relayed behind DISCONNECT"),
    ("S50-061", "Maximum Packet Size of CONNECT"),
];

/// What the data leaves to the implementation and the codec refuses.
const REFUSED_BY_CHOICE: &[(&str, DecodeError)] = &[
    // MQTT 3.1 says "not used" of these flags; no client is known to set them
    ("C31-010", DecodeError::ReservedFlags),
    ("C31-069", DecodeError::ReservedFlags),
    ("C31-077", DecodeError::ReservedFlags),
    ("C31-086", DecodeError::ReservedFlags),
    ("C31-087", DecodeError::ReservedFlags),
    ("S31-010", DecodeError::ReservedFlags),
    ("S31-025", DecodeError::ReservedFlags),
    ("C31-042", DecodeError::DupQosZero),
    ("C31-021", DecodeError::WillQosWithoutWill),
    // a set flag without its field must never make a field of what follows
    ("C31-025", DecodeError::Truncated),
    // MQTT 3.1 strings are held to the rules of 3.1.1
    ("C31-030", DecodeError::InvalidUtf8),
    ("C31-031", DecodeError::InvalidUtf8),
    ("C31-052", DecodeError::InvalidUtf8),
    ("C31-053", DecodeError::NulCharacter),
    ("C31-103", DecodeError::InvalidUtf8),
    ("C31-111", DecodeError::InvalidUtf8),
    ("S31-021", DecodeError::InvalidUtf8),
    // line breaks in a client identifier
    ("C31-033", DecodeError::ControlCharacter),
    ("C311-033", DecodeError::ControlCharacter),
    ("S31-033", DecodeError::InvalidReasonCode),
    // a broker without MQTT 5.0 answers in the form of 3.1.1: the session expects it there
    ("S50-033", DecodeError::InvalidReasonCode),
];

/// How far the codec comes through the bytes of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// All packets are whole and well-formed.
    Read,
    /// The last packet is not whole.
    Incomplete,
    Refused(DecodeError),
}

/// As a receiver that refuses control characters, which it may.
fn parse(
    version: Version,
    direction: Direction,
    bytes: &[u8],
) -> Result<Option<View<'_>>, DecodeError> {
    match View::parse(version, direction, bytes) {
        Ok(Some(view)) if view.has_control() => Err(DecodeError::ControlCharacter),
        parsed => parsed,
    }
}

fn read(version: Version, direction: Direction, mut bytes: &[u8]) -> Outcome {
    loop {
        match parse(version, direction, bytes) {
            Ok(Some(_)) => {
                let head = Head::parse(bytes).expect("parsed").expect("whole");
                bytes = &bytes[head.total_len()..];
            }
            Ok(None) if bytes.is_empty() => return Outcome::Read,
            Ok(None) => return Outcome::Incomplete,
            Err(error) => return Outcome::Refused(error),
        }
    }
}

/// Feeds the bytes in pieces, as they come from a network.
fn read_cut(version: Version, direction: Direction, bytes: &[u8], cut: Cut) -> Outcome {
    let (mut start, mut end) = (0, 0);
    for size in cut.sizes(bytes.len()) {
        end += size;
        loop {
            match parse(version, direction, &bytes[start..end]) {
                Ok(Some(_)) => {
                    let head = Head::parse(&bytes[start..end]).expect("parsed");
                    start += head.expect("whole").total_len();
                }
                Ok(None) => break,
                Err(error) => return Outcome::Refused(error),
            }
        }
    }
    if start == bytes.len() {
        Outcome::Read
    } else {
        Outcome::Incomplete
    }
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

#[test]
fn every_case_holds() {
    let session: BTreeMap<_, _> = SESSION.iter().copied().collect();
    let by_choice: BTreeMap<_, _> = REFUSED_BY_CHOICE.iter().copied().collect();
    let cases = data::mqtt();
    let mut wrong = Vec::new();
    for case in &cases {
        let outcome = read(version(case), direction(case), &case.bytes);
        let holds = if session.contains_key(case.id.as_str()) {
            // else the codec alone could judge it, and would not be in the list
            !matches!(outcome, Outcome::Refused(_))
        } else if let Some(&error) = by_choice.get(case.id.as_str()) {
            case.verdict != "reject" && outcome == Outcome::Refused(error)
        } else {
            match case.verdict.as_str() {
                "reject" => matches!(outcome, Outcome::Refused(_)),
                "accept" | "pass" | "policy" => outcome == Outcome::Read,
                _ => false,
            }
        };
        if !holds {
            wrong.push(format!("{} {}: {outcome:?}", case.id, case.verdict));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    for id in session.keys().chain(by_choice.keys()) {
        assert!(cases.iter().any(|case| case.id == *id), "no case {id}");
    }
}

#[test]
fn no_cut_makes_a_difference() {
    let random = std::iter::repeat_with(Cut::random).take(20);
    for cut in random.chain([Cut::ByteByByte]) {
        for case in data::mqtt() {
            let (version, direction) = (version(&case), direction(&case));
            assert_eq!(
                read_cut(version, direction, &case.bytes, cut),
                read(version, direction, &case.bytes),
                "{} {cut:?}",
                case.id
            );
        }
    }
}

#[test]
fn the_reason_is_one_that_the_case_allows() {
    let mut wrong = Vec::new();
    for case in data::mqtt() {
        if !version(&case).is_v5() || case.reasons.is_empty() {
            continue;
        }
        if let Outcome::Refused(error) = read(Version::V5, direction(&case), &case.bytes) {
            let reason = error.reason();
            if !case.reasons.contains(&reason.as_u8()) {
                wrong.push(format!(
                    "{}: {error:?} says {reason:?}, not one of {:x?}",
                    case.id, case.reasons
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
