//! Protocol rules about when packets may come, and the names of the limits.

use mproxy_codec::{Kind, ReasonCode, Version};

macro_rules! violations {
    ($($name:ident, $v5:literal, $v311:literal, $v31:literal, $text:literal;)*) => {
        /// A broken protocol rule about when a packet may come, as opposed to its form.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
        pub(crate) enum Violation {
            $(#[error($text)] $name,)*
        }

        impl Violation {
            /// The broken statement of this version, or the section.
            pub(crate) const fn statement(self, version: Version) -> &'static str {
                match version {
                    Version::V5 => match self { $(Self::$name => $v5,)* },
                    Version::V311 => match self { $(Self::$name => $v311,)* },
                    Version::V31 => match self { $(Self::$name => $v31,)* },
                }
            }
        }
    };
}

violations! {
    NotConnect, "MQTT-3.1.0-1", "MQTT-3.1.0-1", "3.1", "the first packet is not CONNECT";
    SecondConnect, "MQTT-3.1.0-2", "MQTT-3.1.0-2", "3.1", "second CONNECT";
    NotConnack, "MQTT-3.2.0-1", "MQTT-3.2.0-1", "3.2", "the broker's first packet is not CONNACK";
    SecondConnack, "MQTT-3.2.0-2", "3.2", "3.2", "second CONNACK";
    UnexpectedSession, "MQTT-3.2.2-2", "MQTT-3.2.2-1", "3.2", "session present although a clean session was asked for";
    BeforeConnack, "MQTT-3.1.2-30", "3.1.4", "3.1", "only AUTH or DISCONNECT may come before CONNACK";
    AuthWithoutMethod, "MQTT-4.12.0-6", "2.2.1", "2.1", "AUTH without an authentication method in CONNECT";
    SessionExpiryRaised, "3.14.2.2.2", "3.14", "3.14", "DISCONNECT raises the session expiry interval from 0";
    TopicAliasTooLarge, "MQTT-3.3.2-9", "3.3", "3.3", "topic alias is larger than the announced maximum";
    TopicAliasUnknown, "3.3.2.3.4", "3.3", "3.3", "topic alias is not bound to a topic name";
    TopicAliasMemory, "3.3.2.3.4", "3.3", "3.3", "the topic names of all topic aliases take too much memory";
    ReceiveMaximum, "MQTT-3.3.4-7", "3.3", "3.3", "more unanswered publications than the receive maximum";
    AuthMethod, "MQTT-4.12.0-5", "2.2.1", "2.1", "not the authentication method of CONNECT";
    CodeCount, "MQTT-3.9.3-1", "MQTT-3.9.3-1", "3.9", "the answer has another number of codes than the request had filters";
}

impl Violation {
    pub(crate) const fn reason(self) -> ReasonCode {
        match self {
            Self::TopicAliasTooLarge => ReasonCode::TOPIC_ALIAS_INVALID,
            Self::TopicAliasMemory => ReasonCode::QUOTA_EXCEEDED,
            Self::ReceiveMaximum => ReasonCode::RECEIVE_MAXIMUM_EXCEEDED,
            _ => ReasonCode::PROTOCOL_ERROR,
        }
    }
}

/// A packet type as the standard and every other message of the proxy spell it.
#[cold]
pub(crate) fn packet_name(kind: Kind) -> String {
    kind.as_str().to_ascii_uppercase()
}

/// An enum of which each variant has a name for logs and metrics.
macro_rules! names {
    ($(#[$outer:meta])* $vis:vis enum $enum:ident { $($(#[$doc:meta])* $name:ident = $text:literal,)* }) => {
        $(#[$outer])*
        $vis enum $enum { $($(#[$doc])* $name,)* }

        impl $enum {
            /// All of them, in the order of declaration.
            #[allow(dead_code)] // of the private ones
            $vis const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The name that logs and metrics use.
            #[must_use]
            $vis const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}
pub(crate) use names;

names! {
    /// A field of [`Limits`](crate::Limits), or another bound: with another value the session would have
    /// gone on.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) enum Limit {
        Bridges = "bridges",
        ConnackTimeout = "connack_timeout",
        ConnectTimeout = "connect_timeout",
        DialTimeout = "dial_timeout",
        HookTimeout = "hook_timeout",
        MaxConnectSize = "max_connect_size",
        MaxDenials = "max_denials",
        MaxFilters = "max_filters",
        MaxHeldPacket = "max_held_packet",
        MaxPacketSize = "max_packet_size",
        MaxTopicLevels = "max_topic_levels",
        Memory = "memory",
        /// Not the proxy's: what the broker announced, or less.
        Announced = "",
        PacketTimeout = "packet_timeout",
        PermitTimeout = "permit_timeout",
        /// Of what gives [turns](crate::Turns).
        Queue = "queue",
        /// As above.
        QueueTimeout = "queue_timeout",
        RefusedWill = "refused_will",
        SlowConsumer = "slow_consumer",
        Versions = "versions",
        WriteTimeout = "write_timeout",
    }
}

impl Limit {
    /// The name of the field; `None` when it is the broker's.
    pub(crate) fn field(self) -> Option<&'static str> {
        Some(self.as_str()).filter(|name| !name.is_empty())
    }
}
