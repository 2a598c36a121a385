//! The bounds of a session, and the few choices an operator has.

use std::time::Duration;

use mproxy_codec::{DecodeError, Version};

/// Bounds and policies of a session. Every buffer, wait and loop has one.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Limits {
    /// From accept to the last byte of CONNECT, whole, not per byte: modems driven by AT commands
    /// take seconds.
    pub connect_timeout: Duration,
    /// The largest CONNECT in bytes: client identifier, will and credentials.
    pub max_connect_size: usize,
    /// How long a hook may take for one packet, CONNECT included. Longer closes the session.
    pub hook_timeout: Duration,
    /// From CONNECT forwarded to the broker's CONNACK.
    pub connack_timeout: Duration,
    /// How long a side may take for the next 512 bytes of a packet, or for its end. Not less than a
    /// gap in radio coverage that the broker bears: 1.5 times the usual keep alive of 60 seconds.
    pub packet_timeout: Duration,
    /// How long a side may take nothing of what is written to it.
    pub write_timeout: Duration,
    /// How long a closed connection is read from, so that what was written last arrives.
    pub linger: Duration,
    /// The largest packet of a client in bytes; [`Limits::NO_PACKET_LIMIT`], the default, sets none.
    ///
    /// A client of MQTT 5.0 is told a smaller value, unless the broker takes no more either. Without
    /// a limit the broker's CONNACK goes to the client as it is. A large PUBLISH streams through and
    /// costs no memory.
    pub max_packet_size: usize,
    /// The largest packet in bytes that must be in memory whole: SUBSCRIBE, UNSUBSCRIBE, everything
    /// else but PUBLISH, and a PUBLISH of which a hook wants to read the payload. A PUBLISH that
    /// is larger, and whose payload a hook wants, is refused.
    pub max_held_packet: usize,
    /// How strictly the standard is kept where a slip has one meaning only.
    pub conformance: Conformance,
    /// Whether mosquitto bridges are let in that say so in their protocol level.
    pub bridges: Bridges,
    /// Who keeps a client to the Receive Maximum that the broker announced.
    pub receive_maximum: ReceiveMaximum,
    /// What a client sees when the broker does not answer its CONNECT.
    pub when_unreachable: WhenUnreachable,
    /// After how many keep-alive intervals of silence a client is gone; the standard says 1.5.
    ///
    /// The broker judges the keep alive that the client told it. Unless
    /// [`max_keep_alive`](Self::max_keep_alive) or [`Conformance::Strict`] makes it the proxy's own,
    /// the proxy waits 30 seconds longer, so that the broker is the first to close.
    pub keep_alive_grace: f64,
    /// The longest keep alive in seconds; 0 leaves it to the client. Who asks for more, or for none,
    /// holds a connection for as long without saying a word.
    ///
    /// A client of MQTT 5.0 is told by Server Keep Alive, and the broker gets the lower value. MQTT
    /// 3.x has no word for it: such a client is closed after [`keep_alive_grace`](Self::keep_alive_grace)
    /// times this silence.
    pub max_keep_alive: u16,
    /// What becomes of a Server Reference with which the broker sends a client elsewhere.
    pub server_reference: ServerReference,
    /// What becomes of a packet in which a name, a topic or a topic filter holds control characters.
    pub control_characters: ControlCharacters,
    /// The protocol versions that are served.
    pub versions: Versions,
    /// What a client of MQTT 3.x is told when its PUBLISH is refused.
    pub refused_publish: RefusedPublish,
    /// How many topic aliases a tapped direction may bind; a larger announcement is lowered.
    pub max_topic_aliases: u16,
    /// Answers of the proxy that may wait for a side, in bytes, before the other is not read.
    pub max_replies: usize,
}

impl Limits {
    /// A [`max_packet_size`](Self::max_packet_size) that no packet exceeds: one byte, four bytes of
    /// length, and the 268,435,455 bytes that they can say.
    pub const NO_PACKET_LIMIT: usize = LARGEST_PACKET as usize;
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(30),
            max_connect_size: 64 * 1024,
            hook_timeout: Duration::from_secs(5),
            connack_timeout: Duration::from_secs(30),
            packet_timeout: Duration::from_secs(120),
            write_timeout: Duration::from_secs(120),
            linger: Duration::from_secs(2),
            max_packet_size: Self::NO_PACKET_LIMIT,
            max_held_packet: 1024 * 1024,
            conformance: Conformance::Tolerant,
            bridges: Bridges::Pass,
            receive_maximum: ReceiveMaximum::Pass,
            when_unreachable: WhenUnreachable::Close,
            keep_alive_grace: 1.5,
            max_keep_alive: 0,
            server_reference: ServerReference::Strip,
            control_characters: ControlCharacters::Refuse,
            versions: Versions::ALL,
            refused_publish: RefusedPublish::Acknowledge,
            max_topic_aliases: 16,
            max_replies: 64 * 1024,
        }
    }
}

/// The largest packet that MQTT can express.
pub(crate) const LARGEST_PACKET: u32 = 268_435_460;

/// How strictly the standard is kept where a slip has one meaning only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(clippy::exhaustive_enums)] // complete: a slip is repaired or it is an error
pub enum Conformance {
    /// What a client would have seen from the broker is what it sees. Small slips that no two
    /// readers understand differently are [repaired](mproxy_codec::tolerance) on the way; a side
    /// that vanished or is stuck is closed without a DISCONNECT. Everything else that breaks the
    /// standard ends the session, as in [`Strict`](Self::Strict).
    #[default]
    Tolerant,
    /// The standard to the letter.
    Strict,
}

/// Whether mosquitto bridges are let in: they set bit 7 of the protocol level (0x83, 0x84), and the
/// broker treats them as bridges because of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(clippy::exhaustive_enums)] // complete: they are let in or not
pub enum Bridges {
    /// They are clients like any other. The bit goes to the broker as it came, and hooks see it:
    /// [`SessionInfo::is_bridge`](crate::SessionInfo::is_bridge).
    #[default]
    Pass,
    /// They are refused with return code 1, after which mosquitto tries again without the bit.
    Refuse,
}

/// Who keeps a client of MQTT 5.0 to the broker's Receive Maximum (section 3.2.2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(clippy::exhaustive_enums)] // complete: the broker does it or the proxy
pub enum ReceiveMaximum {
    /// The broker, which announced it.
    #[default]
    Pass,
    /// The proxy: one PUBLISH too many ends the session with 0x93. A repetition of one that waits
    /// for its answer is not one more.
    Enforce,
}

/// What a client sees when the broker cannot be reached, stays silent, or closes before CONNACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(clippy::exhaustive_enums)] // complete: it is told or not
pub enum WhenUnreachable {
    /// Its connection is closed, as if it had connected to the broker itself; it tries again.
    #[default]
    Close,
    /// A CONNACK with 3 (MQTT 3.x) or 0x88 (MQTT 5.0), which some clients take as final.
    Connack,
}

/// What a client of MQTT 3.x is told when its PUBLISH is refused: that version has no word for no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(clippy::exhaustive_enums)] // complete: [MQTT-3.3.5-2] of 3.1.1 leaves these two
pub enum RefusedPublish {
    /// The PUBLISH is acknowledged and dropped; closing makes naive devices loop.
    #[default]
    Acknowledge,
    /// The connection is closed.
    Disconnect,
}

/// What becomes of a Server Reference in a CONNACK or DISCONNECT of the broker (MQTT 5.0, section
/// 4.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(clippy::exhaustive_enums)] // complete: it goes on or it does not
pub enum ServerReference {
    /// It is taken out: an address behind the proxy is of no use before it, and a client that could
    /// reach it would walk around the proxy.
    #[default]
    Strip,
    /// It goes to the client.
    Pass,
}

/// What becomes of a packet in which a client identifier, a user name, a topic name or a topic
/// filter holds a [control character](mproxy_codec::topic::has_control): a receiver may refuse it
/// (MQTT 3.1.1, section 1.5.3; MQTT 5.0, section 1.5.4). Hooks cannot bring them into a packet that
/// has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(clippy::exhaustive_enums)] // complete: it goes on or it does not
pub enum ControlCharacters {
    /// It ends the session of whoever sent it: such names are for confusing whoever reads a log or
    /// a screen, and not every receiver takes them.
    #[default]
    Refuse,
    /// It goes on.
    Pass,
}

impl ControlCharacters {
    /// Judges a packet that is valid apart from this.
    pub(crate) fn check(self, has_control: bool) -> Result<(), DecodeError> {
        if has_control && self == Self::Refuse {
            Err(DecodeError::ControlCharacter)
        } else {
            Ok(())
        }
    }
}

/// A set of protocol versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    v31: bool,
    v311: bool,
    v5: bool,
}

impl Versions {
    /// All three.
    pub const ALL: Self = Self {
        v31: true,
        v311: true,
        v5: true,
    };
    /// None; add with [`with`](Self::with).
    pub const NONE: Self = Self {
        v31: false,
        v311: false,
        v5: false,
    };

    /// Adds a version.
    #[must_use]
    pub const fn with(mut self, version: Version) -> Self {
        match version {
            Version::V31 => self.v31 = true,
            Version::V311 => self.v311 = true,
            Version::V5 => self.v5 = true,
        }
        self
    }

    /// True when the version is in the set.
    #[must_use]
    pub const fn contains(self, version: Version) -> bool {
        match version {
            Version::V31 => self.v31,
            Version::V311 => self.v311,
            Version::V5 => self.v5,
        }
    }
}
