//! What happens to a session, as bytes say it.

use libfuzzer_sys::arbitrary::{Arbitrary, Result, Unstructured};
use mproxy_codec::Version;

/// The most that happens in one play.
const MAX_OPS: usize = 64;

/// What a topic begins with, which is what becomes of it. The rest is in `world.rs`.
pub(crate) const LEVELS: [&str; 10] = [
    "allowed",
    "denied",
    "dropped",
    "from",
    "held",
    "held-denied",
    "moody",
    "closed",
    "failed",
    "$x",
];

/// One session.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) version: Version,
    /// Whether CONNECT and CONNACK are over when it begins.
    pub(crate) connected: bool,
    /// Whether hooks are content with the head of a PUBLISH.
    pub(crate) head_only: bool,
    /// Whether the refused PUBLISH of MQTT 3.x closes the session.
    pub(crate) disconnect: bool,
    /// Whether the standard is kept to the letter; otherwise slips are repaired.
    pub(crate) strict: bool,
    /// Whether the proxy keeps the client to the Receive Maximum of the broker.
    pub(crate) enforce: bool,
    /// Whether a client is told that its broker does not answer.
    pub(crate) tells: bool,
    /// Receive Maximum of both ends.
    pub(crate) receive_maximum: u16,
    /// Topic Alias Maximum of both ends.
    pub(crate) aliases: u16,
    pub(crate) ops: Vec<Op>,
}

/// One thing that happens. `true` is the client.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Raw(bool, Vec<u8>),
    Say(bool, Say),
    /// The end answers so many of the packets that want an answer.
    Answer(bool, u8),
    /// So many hooks of this end's direction go on.
    Open(bool, u8),
    /// What this end sends from now on is read in such pieces.
    Pieces(bool, [u8; 4]),
    /// So many bytes wait for this end at most.
    Capacity(bool, u8),
    Finish(bool),
    Reset(bool),
    /// Milliseconds.
    Advance(u32),
    /// The process sends the client away, and may tell it.
    Stop {
        told: bool,
    },
    /// The session is judged again.
    Renew(Rules),
}

/// What a session is judged by from when it is renewed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Whether hooks are content with the head of a PUBLISH.
    pub(crate) head_only: bool,
    /// Whether the client is turned away.
    pub(crate) refuses: bool,
    /// Whether the stage waits at the client's gate.
    pub(crate) waits: bool,
    /// Whether PUBLISH, and SUBSCRIBE and UNSUBSCRIBE, are offered: of the client, and of the broker.
    pub(crate) offered: [[bool; 2]; 2],
}

impl Rules {
    /// All is offered, and nothing refused.
    pub(crate) const fn of(script: &Script) -> Self {
        Self {
            head_only: script.head_only,
            refuses: false,
            waits: false,
            offered: [[true; 2]; 2],
        }
    }
}

impl Arbitrary<'_> for Rules {
    fn arbitrary(u: &mut Unstructured<'_>) -> Result<Self> {
        let byte: u8 = u.arbitrary()?;
        let bit = |bit: u8| byte & (1 << bit) != 0;
        // half of them judge as before, by other hooks
        let is_all = bit(7);
        let [up, down] = [2, 4].map(|at| [at, at + 1].map(|at| is_all || bit(at)));
        Ok(Self {
            head_only: bit(0),
            refuses: byte & 0x7f == 0x7f,
            waits: bit(1),
            offered: [up, down],
        })
    }
}

/// A packet that is well-formed, and need not be right.
#[derive(Clone, Debug)]
pub(crate) enum Say {
    Publish {
        level: u8,
        name: u8,
        qos: u8,
        id: u8,
        /// At QoS 0 a slip.
        dup: bool,
        /// With 0, none; from 8 on without the topic.
        alias: u8,
        payload: u8,
    },
    Subscribe(u8, Vec<u8>),
    Unsubscribe(u8, Vec<u8>),
    Ack(u8, u8, u8),
    Ping,
    Connect,
    Connack(u8),
    Suback(u8, Vec<u8>),
    Disconnect,
    /// The same with these flags of the first byte turned over: of MQTT 3.1 a slip, of later versions
    /// an error.
    Flags(u8, Box<Self>),
}

impl Arbitrary<'_> for Script {
    fn arbitrary(u: &mut Unstructured<'_>) -> Result<Self> {
        let [version, flags, maxima]: [u8; 3] = u.arbitrary()?;
        let mut ops = Vec::new();
        while !u.is_empty() && ops.len() < MAX_OPS {
            ops.push(u.arbitrary()?);
        }
        Ok(Self {
            version: [Version::V31, Version::V311, Version::V5][usize::from(version % 3)],
            connected: flags & 1 == 0,
            head_only: flags & 2 != 0,
            disconnect: flags & 4 != 0,
            strict: flags & 8 != 0,
            enforce: flags & 16 != 0,
            tells: flags & 32 != 0,
            receive_maximum: 1 + u16::from(maxima / 20),
            aliases: u16::from(maxima % 20),
            ops,
        })
    }
}

impl Arbitrary<'_> for Op {
    fn arbitrary(u: &mut Unstructured<'_>) -> Result<Self> {
        let first: u8 = u.arbitrary()?;
        let client = first & 0x80 == 0;
        Ok(match first & 0x1f {
            0 | 1 => {
                let len = usize::from(u.arbitrary::<u8>()?);
                Self::Raw(client, u.bytes(len.min(u.len()))?.to_vec())
            }
            2 => {
                let len = usize::from(u.arbitrary::<u16>()?);
                Self::Raw(client, u.bytes(len.min(u.len()))?.to_vec())
            }
            3 => Self::Open(client, u.arbitrary()?),
            4 => Self::Pieces(client, u.arbitrary()?),
            5 => Self::Capacity(client, u.arbitrary()?),
            6 => Self::Finish(client),
            7 => Self::Reset(client),
            8 => Self::Advance(u.arbitrary::<u16>()?.into()),
            9 => Self::Advance(u.arbitrary::<u32>()? % 200_000),
            10 if first & 0x60 == 0 => Self::Stop { told: client },
            10 => Self::Renew(u.arbitrary()?),
            11..=15 => Self::Answer(client, u.arbitrary()?),
            _ => Self::Say(client, u.arbitrary()?),
        })
    }
}

impl Arbitrary<'_> for Say {
    fn arbitrary(u: &mut Unstructured<'_>) -> Result<Self> {
        let short = |u: &mut Unstructured<'_>| -> Result<Vec<u8>> {
            let len = usize::from(u.arbitrary::<u8>()? % 6);
            Ok(u.bytes(len.min(u.len()))?.to_vec())
        };
        Ok(match u.arbitrary::<u8>()? % 16 {
            0..=5 => {
                let [level, name, flags, id, alias, payload]: [u8; 6] = u.arbitrary()?;
                Self::Publish {
                    level,
                    name: name % 4,
                    qos: flags % 3,
                    id,
                    dup: flags & 0x80 != 0,
                    alias: alias % 16,
                    payload,
                }
            }
            6 | 7 => Self::Subscribe(u.arbitrary()?, short(u)?),
            8 => Self::Unsubscribe(u.arbitrary()?, short(u)?),
            9 => Self::Ping,
            10 => Self::Connect,
            11 => Self::Connack(u.arbitrary()?),
            12 => Self::Suback(u.arbitrary()?, short(u)?),
            13 => Self::Disconnect,
            14 => {
                let flags = u.arbitrary::<u8>()? & 0x0f;
                let ack = [u.arbitrary()?, u.arbitrary()?, u.arbitrary()?];
                Self::Flags(
                    flags,
                    Box::new(match flags % 4 {
                        0 => Self::Ping,
                        1 => Self::Disconnect,
                        2 => Self::Subscribe(ack[0], ack[1..].to_vec()),
                        _ => Self::Ack(ack[0], ack[1], ack[2]),
                    }),
                )
            }
            _ => Self::Ack(u.arbitrary()?, u.arbitrary()?, u.arbitrary()?),
        })
    }
}
