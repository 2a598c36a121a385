//! The bounds of a session, and the few choices an operator has.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use mproxy_codec::{DecodeError, Version};

use crate::error::Limit;

macro_rules! limits {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $default:expr;)*) => {
        /// Bounds and policies of a session. Every buffer, wait and loop has one.
        ///
        /// ```
        /// use std::time::Duration;
        /// use mproxy_session::{Conformance, Limits};
        ///
        /// let limits = Limits::default()
        ///     .hook_timeout(Duration::from_secs(1))
        ///     .conformance(Conformance::Strict);
        /// # let _ = limits;
        /// ```
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub struct Limits {
            $(
                $(#[$doc])*
                #[doc = concat!("\n\nDefault: `", stringify!($default), "`.")]
                pub $name: $type,
            )*
        }

        /// Each field has a setter of its name.
        impl Limits {
            $(
                #[doc = concat!("Sets [`", stringify!($name), "`](field@Self::", stringify!($name), ").")]
                #[must_use]
                pub const fn $name(mut self, $name: $type) -> Self {
                    self.$name = $name;
                    self
                }
            )*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }
    };
}

limits! {
    /// From accept to the last byte of CONNECT, whole, not per byte: modems driven by AT commands
    /// take seconds.
    connect_timeout: Duration = Duration::from_secs(30);
    /// The largest CONNECT in bytes: client identifier, will and credentials.
    max_connect_size: usize = 64 * 1024;
    /// How long a hook may take for one packet, CONNECT included. Longer closes the session.
    hook_timeout: Duration = Duration::from_secs(5);
    /// How long a hook may make a packet wait before it takes it: the time in which `poll_ready` of
    /// its service is pending, because a rate or a number is used up. The side that sent the packet is
    /// not read meanwhile, which its keep alive goes on through: a permit that comes later than 1.5
    /// times the keep alive comes too late. Longer closes the session; `None` is as long as it takes,
    /// and before CONNACK as long as [`connect_timeout`](field@Self::connect_timeout).
    permit_timeout: Option<Duration> = None;
    /// How long it may take to connect to the broker, once the client is admitted: all of what `dial` does.
    dial_timeout: Duration = Duration::from_secs(30);
    /// From CONNECT forwarded to the broker's CONNACK.
    connack_timeout: Duration = Duration::from_secs(30);
    /// How long a side may take for the next 512 bytes of a packet, or for its end. Not less than a
    /// gap in radio coverage that the broker bears: 1.5 times the usual keep alive of 60 seconds.
    packet_timeout: Duration = Duration::from_secs(120);
    /// How long a side may take nothing of what is written to it.
    write_timeout: Duration = Duration::from_secs(120);
    /// How long a closed connection is read from, so that what was written last arrives.
    linger: Duration = Duration::from_secs(2);
    /// The largest packet of a client in bytes; [`Limits::NO_PACKET_LIMIT`], the default, sets none.
    ///
    /// A client of MQTT 5.0 is told a smaller value, unless the broker takes no more either. Without
    /// a limit the broker's CONNACK goes to the client as it is. A large PUBLISH streams through and
    /// costs no memory.
    max_packet_size: usize = Self::NO_PACKET_LIMIT;
    /// The largest packet in bytes that must be in memory whole: SUBSCRIBE, UNSUBSCRIBE, everything
    /// else but PUBLISH, and a PUBLISH of which a hook wants to read the payload. A PUBLISH that
    /// is larger, and whose payload a hook wants, is refused.
    max_held_packet: usize = 1024 * 1024;
    /// How strictly the standard is kept where a slip has one meaning only.
    conformance: Conformance = Conformance::Tolerant;
    /// Whether mosquitto bridges are let in that say so in their protocol level.
    bridges: Bridges = Bridges::Pass;
    /// Who keeps a client to the Receive Maximum that the broker announced.
    receive_maximum: ReceiveMaximum = ReceiveMaximum::Pass;
    /// What a client sees when the broker does not answer its CONNECT.
    when_unreachable: WhenUnreachable = WhenUnreachable::Close;
    /// After how many keep-alive intervals of silence a client is gone; the standard says 1.5.
    ///
    /// The broker judges the keep alive that the client told it. Unless
    /// [`max_keep_alive`](field@Self::max_keep_alive) or [`Conformance::Strict`] makes it the proxy's own,
    /// the proxy waits 30 seconds longer, so that the broker is the first to close.
    keep_alive_grace: f64 = 1.5;
    /// The longest keep alive in seconds; 0 leaves it to the client. A longer keep alive, or none, lets a
    /// silent client hold its connection that long.
    ///
    /// A client of MQTT 5.0 is told by Server Keep Alive, and the broker gets the lower value. MQTT
    /// 3.x has no word for it: such a client is closed after [`keep_alive_grace`](field@Self::keep_alive_grace)
    /// times this silence.
    max_keep_alive: u16 = 0;
    /// What is done with a Server Reference by which the broker sends a client elsewhere.
    server_reference: ServerReference = ServerReference::Strip;
    /// What is done with a packet in which a name, a topic or a topic filter holds control characters.
    control_characters: ControlCharacters = ControlCharacters::Refuse;
    /// The protocol versions that are served.
    versions: Versions = Versions::ALL;
    /// What a client of MQTT 3.x is told when its PUBLISH is refused.
    refused_publish: RefusedPublish = RefusedPublish::Acknowledge;
    /// What happens to a client whose will is refused by its hooks.
    refused_will: RefusedWill = RefusedWill::RefuseClient;
    /// How many topic aliases a tapped direction may bind; a larger announcement is lowered.
    max_topic_aliases: u16 = 16;
    /// Answers of the proxy that may wait for a side, in bytes, before the other is not read.
    max_replies: usize = 64 * 1024;
    /// The most levels of a topic name or topic filter that hooks look at, that of a will included: what
    /// it costs to judge one grows with them. A client that sends more is closed, and a delivery of the
    /// broker with more is dropped. Where no hook looks at topics nobody counts.
    max_topic_levels: usize = 128;
    /// The most topic filters of a SUBSCRIBE or UNSUBSCRIBE that hooks look at, which may have four times
    /// as many levels in all. A client that sends more is closed.
    max_filters: usize = 16 * 1024;
    /// How many packets of a client may be refused by hooks, or be discarded, before it is closed: so many
    /// at once, and as many again in each period. `None` sets no limit.
    max_denials: Option<Rate> = Some(Self::DENIALS);
    /// How fast the client may send; `None` = as fast as the broker takes it.
    pace_to_server: Option<Pace> = None;
    /// How fast the broker may send; `None` = as fast as the client takes it.
    pace_to_client: Option<Pace> = None;
}

impl Limits {
    /// A [`max_packet_size`](field@Self::max_packet_size) that no packet exceeds: one byte, four bytes of
    /// length, and the 268,435,455 bytes that they can say.
    pub const NO_PACKET_LIMIT: usize = LARGEST_PACKET as usize;

    /// The default of [`max_denials`](field@Self::max_denials): 600 in a minute.
    pub const DENIALS: Rate = Rate::new(NonZeroU32::new(600).unwrap(), Duration::from_secs(60));

    /// A client that waits for its CONNACK cannot be seen to be gone.
    pub(crate) fn permit_before_connack(&self) -> (Duration, Limit) {
        match self.permit_timeout {
            Some(limit) => (limit, Limit::PermitTimeout),
            None => (self.connect_timeout, Limit::ConnectTimeout),
        }
    }
}

/// A number per time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)] // complete: a number and a time
pub struct Rate {
    /// How many.
    pub count: NonZeroU32,
    /// In which time; zero counts as a nanosecond.
    pub period: Duration,
}

impl Rate {
    /// `count` in each `period`.
    #[must_use]
    pub const fn new(count: NonZeroU32, period: Duration) -> Self {
        Self { count, period }
    }
}

/// `100/s`, `100/m` or `100/h`, and `100 in 5s` for other times.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.period.as_secs() {
            _ if self.period.subsec_nanos() > 0 => None,
            1 => Some("s"),
            60 => Some("m"),
            3600 => Some("h"),
            _ => None,
        };
        match unit {
            Some(unit) => write!(f, "{}/{unit}", self.count),
            None => write!(f, "{} in {:?}", self.count, self.period),
        }
    }
}

/// How fast a side may send: so many packets, and so many bytes. A period's worth may come at once. A side
/// that is faster is not read for a while, so that its network holds it back; nothing is lost, and no
/// time-out of the session runs meanwhile. Payloads that pass in pieces count as they come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pace {
    /// Packets of any type; `None` = unlimited.
    pub packets: Option<Rate>,
    /// Bytes of packets; `None` = unlimited.
    pub bytes: Option<Rate>,
}

/// Those of a client and of its broker.
pub(crate) type Paces = [Option<Pace>; 2];

impl Pace {
    /// Limits packets.
    #[must_use]
    pub const fn packets(mut self, rate: Rate) -> Self {
        self.packets = Some(rate);
        self
    }

    /// Limits bytes.
    #[must_use]
    pub const fn bytes(mut self, rate: Rate) -> Self {
        self.bytes = Some(rate);
        self
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

/// What happens to a client whose will is refused by its hooks: the broker must not publish it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(clippy::exhaustive_enums)] // complete: the client comes in with its will, without, or not
pub enum RefusedWill {
    /// The client is turned away, with the hook's reason.
    #[default]
    RefuseClient,
    /// The client is let in without its will, which it is not told: MQTT has no word for it.
    Strip,
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

/// Whether a Server Reference in a CONNACK or DISCONNECT of the broker reaches the client (MQTT 5.0,
/// section 4.11).
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

/// What is done with a packet in which a client identifier, a user name, a topic name or a topic
/// filter holds a [control character](mproxy_codec::topic::has_control): a receiver may refuse it
/// (MQTT 3.1.1, section 1.5.3; MQTT 5.0, section 1.5.4). Hooks cannot bring them into a packet that
/// has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(clippy::exhaustive_enums)] // complete: it goes on or it does not
pub enum ControlCharacters {
    /// It ends the session of its sender. Such names are used to confuse readers of a log, and some
    /// receivers reject them.
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
