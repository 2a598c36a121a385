//! The limits of a session, and its policies.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use mproxy_codec::{DecodeError, Version};

use crate::error::Limit;

macro_rules! limits {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $default:expr;)*) => {
        /// Limits and policies of a session. Every buffer, wait and loop has a limit.
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

        /// Each field has a setter of the same name.
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
    /// Maximum time from accept to the last byte of CONNECT, in total: modems driven by AT commands
    /// take seconds.
    connect_timeout: Duration = Duration::from_secs(30);
    /// The largest CONNECT in bytes: client identifier, will and credentials.
    max_connect_size: usize = 64 * 1024;
    /// How long a hook may take for one packet, including CONNECT. After it, the session is closed.
    hook_timeout: Duration = Duration::from_secs(5);
    /// How long a hook may let a packet wait before it takes it: the time in which `poll_ready` of
    /// its service is pending, for example because a rate is used up. The sender of the packet is
    /// not read meanwhile, but its keep alive goes on: a permit that comes later than 1.5
    /// times the keep alive comes too late. After it, the session is closed; `None` is unlimited,
    /// but before CONNACK [`connect_timeout`](field@Self::connect_timeout) applies.
    permit_timeout: Option<Duration> = None;
    /// How long it may take to connect to the broker, once the client is admitted: all of `dial`.
    dial_timeout: Duration = Duration::from_secs(30);
    /// Maximum time from forwarding CONNECT to the broker's CONNACK.
    connack_timeout: Duration = Duration::from_secs(30);
    /// How long a side may take for the next 512 bytes of a packet, or for its end. Do not set it below a
    /// gap in radio coverage that the broker tolerates: 1.5 times the usual keep alive of 60 seconds.
    packet_timeout: Duration = Duration::from_secs(120);
    /// How long a side may accept no data while some is waiting for it.
    write_timeout: Duration = Duration::from_secs(120);
    /// What happens to a client that accepts less than what waits for it.
    slow_consumer: SlowConsumer = SlowConsumer::Wait;
    /// How long a client may accept less than what waits for it before
    /// [`slow_consumer`](field@Self::slow_consumer) applies.
    slow_consumer_time: Duration = Duration::from_secs(30);
    /// How long a closed connection is still read, so that the last bytes written to it arrive.
    linger: Duration = Duration::from_secs(2);
    /// The largest packet of a client in bytes; [`Limits::NO_PACKET_LIMIT`], the default, sets none.
    ///
    /// CONNACK tells MQTT 5.0 clients a smaller value, unless the broker's own is not larger. Without
    /// a limit, the broker's CONNACK goes to the client unchanged. A large PUBLISH streams through and
    /// costs no memory.
    max_packet_size: usize = Self::NO_PACKET_LIMIT;
    /// The largest packet in bytes that must be in memory as a whole: all packets except PUBLISH, and a
    /// PUBLISH whose payload a hook reads. A PUBLISH that is larger, and whose payload a hook reads, is
    /// refused.
    max_held_packet: usize = 1024 * 1024;
    /// How strictly the standard is enforced if a slip has only one possible meaning.
    conformance: Conformance = Conformance::Tolerant;
    /// Whether mosquitto bridges are let in, which set a bit in their protocol level.
    bridges: Bridges = Bridges::Pass;
    /// Who enforces the Receive Maximum of the broker.
    receive_maximum: ReceiveMaximum = ReceiveMaximum::Pass;
    /// What a client sees when the broker does not answer its CONNECT.
    when_unreachable: WhenUnreachable = WhenUnreachable::Close;
    /// After how many keep-alive intervals of silence a client is gone; the standard says 1.5.
    ///
    /// The broker enforces the keep alive that the client sent. Unless
    /// [`max_keep_alive`](field@Self::max_keep_alive) or [`Conformance::Strict`] makes the proxy enforce it,
    /// the proxy waits 30 seconds longer, so that the broker closes first.
    keep_alive_grace: f64 = 1.5;
    /// The longest keep alive in seconds; 0 leaves it to the client. A longer keep alive, or none, lets a
    /// silent client hold its connection that long.
    ///
    /// CONNACK tells MQTT 5.0 clients (Server Keep Alive), and the broker gets the lower value. MQTT
    /// 3.x cannot tell the client, which is closed after [`keep_alive_grace`](field@Self::keep_alive_grace)
    /// times this silence.
    max_keep_alive: u16 = 0;
    /// What happens to a Server Reference, with which the broker redirects a client.
    server_reference: ServerReference = ServerReference::Strip;
    /// What happens to a packet with control characters in a name, a topic or a topic filter.
    control_characters: ControlCharacters = ControlCharacters::Refuse;
    /// The protocol versions that are served.
    versions: Versions = Versions::ALL;
    /// What an MQTT 3.x client sees when its PUBLISH is refused.
    refused_publish: RefusedPublish = RefusedPublish::Acknowledge;
    /// What happens to a client whose will is refused by its hooks.
    refused_will: RefusedWill = RefusedWill::RefuseClient;
    /// How many topic aliases a tapped direction may bind; a larger announced maximum is lowered.
    max_topic_aliases: u16 = 16;
    /// Bytes of the proxy's answers that may wait for a side before its packets are no longer read.
    max_replies: usize = 64 * 1024;
    /// Maximum levels of a topic name or topic filter that hooks judge, including that of a will: the
    /// cost of judging one grows with them. A client that sends more is closed, and a delivery of the
    /// broker with more is dropped. If no hook looks at topics, there is no limit.
    max_topic_levels: usize = 128;
    /// Maximum topic filters of a SUBSCRIBE or UNSUBSCRIBE that hooks judge, which may have four times
    /// as many levels in all. A client that sends more is closed.
    max_filters: usize = 16 * 1024;
    /// How many packets of a client may be refused by hooks, or be discarded, before it is closed: this many
    /// at once, and as many again in each period. `None` sets no limit.
    max_denials: Option<Rate> = Some(Self::DENIALS);
    /// Bits of an IPv6 address that are one client, whose sessions take turns as one while they are busy, 0 to 128. A
    /// provider gives each customer at least a /64.
    ipv6_prefix: u8 = 64;
    /// How fast the client may send; `None` = as fast as the broker takes it.
    pace_to_server: Option<Pace> = None;
    /// How fast the broker may send; `None` = as fast as the client takes it.
    pace_to_client: Option<Pace> = None;
}

impl Limits {
    /// A [`max_packet_size`](field@Self::max_packet_size) that no packet exceeds: one byte, four bytes of
    /// length, and the maximum of 268,435,455 bytes.
    pub const NO_PACKET_LIMIT: usize = LARGEST_PACKET as usize;

    /// The default of [`max_denials`](field@Self::max_denials): 600 per minute.
    pub const DENIALS: Rate = Rate::new(NonZeroU32::new(600).unwrap(), Duration::from_secs(60));

    /// While a client waits for its CONNACK, the session cannot notice that it is gone.
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
    /// The number.
    pub count: NonZeroU32,
    /// The time; zero counts as a nanosecond.
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

/// How fast a side may send, in packets and in bytes. One period's worth may come at once. A side
/// that is faster is not read for a while, so that its network slows it down; nothing is lost, and no
/// timeout of the session runs meanwhile. Payloads that pass in pieces count as they come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pace {
    /// Packets of any type; `None` = unlimited.
    pub packets: Option<Rate>,
    /// Bytes of packets; `None` = unlimited.
    pub bytes: Option<Rate>,
}

/// The paces of a client and of its broker.
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

/// How strictly the standard is enforced if a slip has only one possible meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(clippy::exhaustive_enums)] // complete: a slip is repaired or it is an error
pub enum Conformance {
    /// Clients see what they would see from the broker. Small slips with only one possible meaning are
    /// [repaired](mproxy_codec::tolerance) on the way; a side that vanished or is stuck is closed
    /// without a DISCONNECT. A return code that MQTT 3.1.1 reserves passes, as a refusal. Everything else that breaks
    /// the standard ends the session, as in [`Strict`](Self::Strict).
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
    /// They are clients like any other. The broker gets the bit, and hooks see it:
    /// [`SessionInfo::is_bridge`](crate::SessionInfo::is_bridge).
    #[default]
    Pass,
    /// They are refused with return code 1, and mosquitto then reconnects without the bit.
    Refuse,
}

/// Who enforces the broker's Receive Maximum for MQTT 5.0 clients (section 3.2.2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(clippy::exhaustive_enums)] // complete: the broker does it or the proxy
pub enum ReceiveMaximum {
    /// The broker, which announced it.
    #[default]
    Pass,
    /// The proxy: one PUBLISH too many ends the session with 0x93. A repetition of one that waits
    /// for its answer does not count again.
    Enforce,
}

/// What a client sees when the broker cannot be reached, stays silent, or closes before CONNACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(clippy::exhaustive_enums)] // complete: it is told or not
pub enum WhenUnreachable {
    /// Its connection is closed, as by a broker that goes down; it tries again.
    #[default]
    Close,
    /// A CONNACK with 3 (MQTT 3.x) or 0x88 (MQTT 5.0), which some clients take as final.
    Connack,
}

/// What happens to a client that accepts less than what the broker has for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(clippy::exhaustive_enums)] // complete: the broker waits, or a part is lost, or the client is
pub enum SlowConsumer {
    /// The broker is not read meanwhile: its own queue, and its own rules, apply.
    #[default]
    Wait,
    /// QoS 0 messages of the broker are dropped, each as a whole, while anything waits for the client. All
    /// other packets stay in order, and the broker is not read while more than 64 KiB of them wait.
    DropQos0,
    /// The session ends, with 0x97 for an MQTT 5.0 client that can still be told. The broker publishes
    /// the will.
    Disconnect,
}

/// What happens to a client whose will its hooks refuse: the broker must not publish it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(clippy::exhaustive_enums)] // complete: the client comes in with its will, without, or not
pub enum RefusedWill {
    /// The client is refused, with the hook's reason.
    #[default]
    RefuseClient,
    /// The client is let in without its will. It does not learn that: MQTT has no code for it.
    Strip,
}

/// What an MQTT 3.x client sees when its PUBLISH is refused: that version has no code to refuse it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(clippy::exhaustive_enums)] // complete: [MQTT-3.3.5-2] of 3.1.1 leaves these two
pub enum RefusedPublish {
    /// The PUBLISH is acknowledged and dropped: closing would make simple devices reconnect forever.
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
    /// It is removed: clients usually cannot reach an address behind the proxy, and a client that could
    /// reach it would bypass the proxy.
    #[default]
    Strip,
    /// It goes to the client.
    Pass,
}

/// What happens to a packet in which a client identifier, a user name, a topic name or a topic
/// filter contains a [control character](mproxy_codec::topic::has_control): a receiver may refuse it
/// (MQTT 3.1.1, section 1.5.3; MQTT 5.0, section 1.5.4). Hooks cannot add them to a packet that
/// has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(clippy::exhaustive_enums)] // complete: it goes on or it does not
pub enum ControlCharacters {
    /// It ends the session of its sender. Such names can confuse readers of a log, and some
    /// receivers reject them.
    #[default]
    Refuse,
    /// It goes on.
    Pass,
}

impl ControlCharacters {
    /// Judges a packet that is otherwise valid.
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
pub struct Versions(u8);

impl Versions {
    /// All three.
    pub const ALL: Self = Self(0b111);
    /// No version; add some with [`with`](Self::with).
    pub const NONE: Self = Self(0);

    /// Adds a version.
    #[must_use]
    pub const fn with(self, version: Version) -> Self {
        Self(self.0 | Self::bit(version))
    }

    /// True when the version is in the set.
    #[must_use]
    pub const fn contains(self, version: Version) -> bool {
        self.0 & Self::bit(version) != 0
    }

    const fn bit(version: Version) -> u8 {
        match version {
            Version::V31 => 0b1,
            Version::V311 => 0b10,
            Version::V5 => 0b100,
        }
    }
}
