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

/// The field of [`Limits`](crate::Limits), or other bound, that ended a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    Bridges,
    ConnackTimeout,
    ConnectTimeout,
    DialTimeout,
    HookTimeout,
    MaxConnectSize,
    MaxDenials,
    MaxFilters,
    MaxHeldPacket,
    MaxPacketSize,
    MaxTopicLevels,
    Memory,
    /// Not a limit of the proxy: what the broker announced, or less.
    Announced,
    PacketTimeout,
    PermitTimeout,
    RefusedWill,
    Versions,
    WriteTimeout,
}

impl Limit {
    /// The name of the field; `None` when it is the broker's.
    pub(crate) const fn field(self) -> Option<&'static str> {
        Some(match self {
            Self::Bridges => "bridges",
            Self::ConnackTimeout => "connack_timeout",
            Self::ConnectTimeout => "connect_timeout",
            Self::DialTimeout => "dial_timeout",
            Self::HookTimeout => "hook_timeout",
            Self::MaxConnectSize => "max_connect_size",
            Self::MaxDenials => "max_denials",
            Self::MaxFilters => "max_filters",
            Self::MaxHeldPacket => "max_held_packet",
            Self::MaxPacketSize => "max_packet_size",
            Self::MaxTopicLevels => "max_topic_levels",
            Self::Memory => "memory",
            Self::Announced => return None,
            Self::PacketTimeout => "packet_timeout",
            Self::PermitTimeout => "permit_timeout",
            Self::RefusedWill => "refused_will",
            Self::Versions => "versions",
            Self::WriteTimeout => "write_timeout",
        })
    }
}
