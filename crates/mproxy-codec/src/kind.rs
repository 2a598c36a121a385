//! The fifteen packet types, and sets of them.

use core::fmt;

/// The direction in which a packet travels through the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)] // complete: a pipe has two ends
pub enum Direction {
    /// Sent by the client, on its way to the broker.
    ToServer,
    /// Sent by the broker, on its way to the client.
    ToClient,
}

impl Direction {
    /// The other direction.
    #[inline]
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::ToServer => Self::ToClient,
            Self::ToClient => Self::ToServer,
        }
    }
}

/// An MQTT control packet type (MQTT 5.0 section 2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(clippy::exhaustive_enums)] // complete: the standard has four bits and uses fifteen values
#[allow(missing_docs)] // the names are the standard's
#[repr(u8)]
pub enum Kind {
    Connect = 1,
    Connack = 2,
    Publish = 3,
    Puback = 4,
    Pubrec = 5,
    Pubrel = 6,
    Pubcomp = 7,
    Subscribe = 8,
    Suback = 9,
    Unsubscribe = 10,
    Unsuback = 11,
    Pingreq = 12,
    Pingresp = 13,
    Disconnect = 14,
    Auth = 15,
}

impl Kind {
    /// All packet types in the order of their numbers.
    pub const ALL: [Self; 15] = [
        Self::Connect,
        Self::Connack,
        Self::Publish,
        Self::Puback,
        Self::Pubrec,
        Self::Pubrel,
        Self::Pubcomp,
        Self::Subscribe,
        Self::Suback,
        Self::Unsubscribe,
        Self::Unsuback,
        Self::Pingreq,
        Self::Pingresp,
        Self::Disconnect,
        Self::Auth,
    ];

    /// The packet type of a fixed header's first byte, `None` for the reserved value 0.
    #[inline]
    #[must_use]
    pub const fn from_first_byte(first: u8) -> Option<Self> {
        match first >> 4 {
            1 => Some(Self::Connect),
            2 => Some(Self::Connack),
            3 => Some(Self::Publish),
            4 => Some(Self::Puback),
            5 => Some(Self::Pubrec),
            6 => Some(Self::Pubrel),
            7 => Some(Self::Pubcomp),
            8 => Some(Self::Subscribe),
            9 => Some(Self::Suback),
            10 => Some(Self::Unsubscribe),
            11 => Some(Self::Unsuback),
            12 => Some(Self::Pingreq),
            13 => Some(Self::Pingresp),
            14 => Some(Self::Disconnect),
            15 => Some(Self::Auth),
            _ => None,
        }
    }

    /// The number of the packet type, 1 to 15.
    #[inline]
    #[must_use]
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// The name in lower case, as metrics and logs print it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Connack => "connack",
            Self::Publish => "publish",
            Self::Puback => "puback",
            Self::Pubrec => "pubrec",
            Self::Pubrel => "pubrel",
            Self::Pubcomp => "pubcomp",
            Self::Subscribe => "subscribe",
            Self::Suback => "suback",
            Self::Unsubscribe => "unsubscribe",
            Self::Unsuback => "unsuback",
            Self::Pingreq => "pingreq",
            Self::Pingresp => "pingresp",
            Self::Disconnect => "disconnect",
            Self::Auth => "auth",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A set of packet types, as a tap names the packets it wants to see.
///
/// ```
/// use mproxy_codec::{Kind, KindSet};
/// let set = KindSet::PUBLISH | KindSet::SUBSCRIBE;
/// assert!(set.contains(Kind::Publish));
/// assert!(!set.contains(Kind::Pingreq));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct KindSet(u16);

impl KindSet {
    /// No packet type.
    pub const NONE: Self = Self(0);
    /// Every packet type.
    pub const ALL: Self = Self(0xfffe);
    /// CONNACK.
    pub const CONNACK: Self = Self::of(Kind::Connack);
    /// PUBLISH.
    pub const PUBLISH: Self = Self::of(Kind::Publish);
    /// SUBSCRIBE.
    pub const SUBSCRIBE: Self = Self::of(Kind::Subscribe);
    /// SUBACK.
    pub const SUBACK: Self = Self::of(Kind::Suback);
    /// UNSUBSCRIBE.
    pub const UNSUBSCRIBE: Self = Self::of(Kind::Unsubscribe);
    /// UNSUBACK.
    pub const UNSUBACK: Self = Self::of(Kind::Unsuback);
    /// DISCONNECT.
    pub const DISCONNECT: Self = Self::of(Kind::Disconnect);
    /// AUTH.
    pub const AUTH: Self = Self::of(Kind::Auth);

    /// The set of one packet type.
    #[must_use]
    pub const fn of(kind: Kind) -> Self {
        Self(1 << kind as u16)
    }

    /// True when `kind` is in the set.
    #[inline]
    #[must_use]
    pub const fn contains(self, kind: Kind) -> bool {
        self.0 & (1 << kind as u16) != 0
    }

    /// The packet types of both sets.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True for the empty set.
    #[inline]
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl core::ops::BitOr for KindSet {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl fmt::Debug for KindSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(Kind::ALL.into_iter().filter(|kind| self.contains(*kind)))
            .finish()
    }
}
