//! The hostile cases, for every test that plays them: codec, session, transport, end to end.
//!
//! It knows no type of the project, so that each crate may include it.

#![allow(dead_code)] // each test binary uses its part

use serde_json::Value;

/// How many cases there are, of MQTT and of what carries it.
pub(crate) const MQTT_CASES: usize = 338;
pub(crate) const TRANSPORT_CASES: usize = 24;

/// Cases for listeners that do not exist yet, by the state that they need.
const NOT_APPLICABLE: &[(&str, &str, &str)] = &[
    ("T-003", "tls", "there is no TLS listener"),
    ("T-005", "tls", "there is no TLS listener"),
];

/// Who sends the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sender {
    Client,
    Broker,
}

/// Bytes, when they come, and what a proxy must do.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) name: String,
    /// Where the connection stands when the bytes come.
    pub(crate) state: String,
    pub(crate) verdict: String,
    /// The protocol level of the session; 0 for cases of the transport.
    pub(crate) level: u8,
    pub(crate) sender: Sender,
    pub(crate) bytes: Vec<u8>,
    /// Reason codes with which MQTT 5.0 may answer.
    pub(crate) reasons: Vec<u8>,
    /// The CONNECT of the session, where it is not the usual one.
    pub(crate) before: Option<Vec<u8>>,
}

/// The cases about MQTT.
pub(crate) fn mqtt() -> Vec<Case> {
    let cases: Vec<_> = all().into_iter().filter(|case| case.level > 0).collect();
    assert_eq!(cases.len(), MQTT_CASES);
    cases
}

/// The cases about what carries MQTT, for listeners that exist.
pub(crate) fn transport() -> Vec<Case> {
    let mut cases: Vec<_> = all().into_iter().filter(|case| case.level == 0).collect();
    assert_eq!(cases.len(), TRANSPORT_CASES);
    let is_for =
        |case: &Case, (id, state, _): &(&str, &str, &str)| case.id == *id && case.state == *state;
    for skipped in NOT_APPLICABLE {
        assert!(
            cases.iter().any(|case| is_for(case, skipped)),
            "{skipped:?}"
        );
    }
    cases.retain(|case| !NOT_APPLICABLE.iter().any(|skipped| is_for(case, skipped)));
    let states = ["tcp", "ws", "ws_open", "proxy"];
    assert!(cases.iter().all(|case| states.contains(&&*case.state)));
    cases
}

fn all() -> Vec<Case> {
    let cases: Vec<Value> = serde_json::from_str(include_str!("hostile.json")).expect("valid JSON");
    cases.iter().map(Case::read).collect()
}

impl Case {
    fn read(case: &Value) -> Self {
        let text = |key: &str| case[key].as_str().expect("a string").to_owned();
        let reason = |code: &Value| {
            let code = code.as_str().expect("a string");
            unhex(code.trim_start_matches("0x"))[0]
        };
        let (sender, level) = match (case["dir"].as_str(), case["version"].as_str()) {
            (Some("transport"), None) => (Sender::Client, 0),
            (Some(dir), Some(version)) => (
                match dir {
                    "c2s" => Sender::Client,
                    "s2c" => Sender::Broker,
                    _ => panic!("direction {dir}"),
                },
                match version {
                    "3.1" => 3,
                    "3.1.1" => 4,
                    "5.0" => 5,
                    _ => panic!("version {version}"),
                },
            ),
            other => panic!("direction and version {other:?}"),
        };
        let reasons = case["reason_v5"].as_array();
        Self {
            id: text("id"),
            name: text("name"),
            state: text("state"),
            verdict: text("verdict"),
            level,
            sender,
            bytes: bytes_of(case),
            reasons: reasons.map_or_else(Vec::new, |codes| codes.iter().map(reason).collect()),
            before: case["pre"][0].as_str().map(unhex),
        }
    }
}

fn bytes_of(case: &Value) -> Vec<u8> {
    let Some(parts) = case["parts"].as_array() else {
        return unhex(case["hex"].as_str().unwrap_or_default());
    };
    let part = |part: &Value| {
        let times = part[1]
            .as_u64()
            .and_then(|times| usize::try_from(times).ok());
        let times = times.expect("a number of repetitions");
        unhex(part[0].as_str().expect("hex")).repeat(times)
    };
    parts.iter().flat_map(part).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).expect("ASCII"), 16).expect("hex"))
        .collect()
}

/// How bytes are cut when they are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    Whole,
    ByteByByte,
    /// Into pieces of any size, which the seed decides.
    Random(u64),
}

impl Cut {
    /// One of another seed each time; what fails must print it.
    pub(crate) fn random() -> Self {
        Self::Random(fastrand::u64(..))
    }

    /// The sizes of the pieces of so many bytes.
    pub(crate) fn sizes(self, len: usize) -> Vec<usize> {
        let mut random = match self {
            Self::Whole => return vec![len],
            Self::ByteByByte => return vec![1; len],
            Self::Random(seed) => fastrand::Rng::with_seed(seed),
        };
        let mut sizes = Vec::new();
        let mut left = len;
        while left > 0 {
            // short ones more often than long ones, or a long case is hardly cut
            let scale = [4, 16, 64, 1024, 16_384][random.usize(..5)];
            let size = 1 + random.usize(..scale).min(left - 1);
            sizes.push(size);
            left -= size;
        }
        sizes
    }

    /// The pieces.
    pub(crate) fn pieces(self, bytes: &[u8]) -> Vec<&[u8]> {
        let mut rest = bytes;
        let cut = self.sizes(bytes.len()).into_iter().map(|size| {
            let (piece, behind) = rest.split_at(size);
            rest = behind;
            piece
        });
        cut.collect()
    }
}
