//! The identifiers of properties: which type of value belongs to each, and which places may carry it.

use crate::kind::{Direction, Kind};

/// Where a property block stands: in a packet of one direction, or in a will.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)] // complete: section 2.2.2.2 knows packets and the will
pub enum Place {
    /// The property block of a packet.
    Packet(Kind, Direction),
    /// The will properties of CONNECT.
    Will,
}

impl Place {
    const fn bit(self) -> u16 {
        match self {
            Self::Packet(kind, _) => 1 << kind as u16,
            Self::Will => WILL,
        }
    }
}

const WILL: u16 = 1; // bit 0: no packet type has the number 0
const CONNECT: u16 = 1 << Kind::Connect as u16;
const CONNACK: u16 = 1 << Kind::Connack as u16;
const PUBLISH: u16 = 1 << Kind::Publish as u16;
const SUBSCRIBE: u16 = 1 << Kind::Subscribe as u16;
const DISCONNECT: u16 = 1 << Kind::Disconnect as u16;
const AUTH: u16 = 1 << Kind::Auth as u16;
/// Every packet that has properties, except those that only a client sends as requests.
const ANSWERS: u16 = CONNACK
    | 1 << Kind::Puback as u16
    | 1 << Kind::Pubrec as u16
    | 1 << Kind::Pubrel as u16
    | 1 << Kind::Pubcomp as u16
    | 1 << Kind::Suback as u16
    | 1 << Kind::Unsuback as u16
    | DISCONNECT
    | AUTH;
const ALL: u16 = ANSWERS | WILL | CONNECT | PUBLISH | SUBSCRIBE | 1 << Kind::Unsubscribe as u16;

/// The types of values; see [`Value`](super::Value).
#[derive(Clone, Copy)]
pub(super) enum Shape {
    Byte,
    U16,
    U32,
    Varint,
    Binary,
    Str,
    Pair,
}

/// A property identifier (MQTT 5.0 table 2-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums)] // complete: table 2-4
#[allow(missing_docs)] // the names are the standard's
#[repr(u8)]
pub enum PropertyId {
    PayloadFormatIndicator = 0x01,
    MessageExpiryInterval = 0x02,
    ContentType = 0x03,
    ResponseTopic = 0x08,
    CorrelationData = 0x09,
    SubscriptionIdentifier = 0x0b,
    SessionExpiryInterval = 0x11,
    AssignedClientIdentifier = 0x12,
    ServerKeepAlive = 0x13,
    AuthenticationMethod = 0x15,
    AuthenticationData = 0x16,
    RequestProblemInformation = 0x17,
    WillDelayInterval = 0x18,
    RequestResponseInformation = 0x19,
    ResponseInformation = 0x1a,
    ServerReference = 0x1c,
    ReasonString = 0x1f,
    ReceiveMaximum = 0x21,
    TopicAliasMaximum = 0x22,
    TopicAlias = 0x23,
    MaximumQos = 0x24,
    RetainAvailable = 0x25,
    UserProperty = 0x26,
    MaximumPacketSize = 0x27,
    WildcardSubscriptionAvailable = 0x28,
    SubscriptionIdentifierAvailable = 0x29,
    SharedSubscriptionAvailable = 0x2a,
}

impl PropertyId {
    /// The identifier with this value, if there is one.
    #[must_use]
    pub const fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            0x01 => Self::PayloadFormatIndicator,
            0x02 => Self::MessageExpiryInterval,
            0x03 => Self::ContentType,
            0x08 => Self::ResponseTopic,
            0x09 => Self::CorrelationData,
            0x0b => Self::SubscriptionIdentifier,
            0x11 => Self::SessionExpiryInterval,
            0x12 => Self::AssignedClientIdentifier,
            0x13 => Self::ServerKeepAlive,
            0x15 => Self::AuthenticationMethod,
            0x16 => Self::AuthenticationData,
            0x17 => Self::RequestProblemInformation,
            0x18 => Self::WillDelayInterval,
            0x19 => Self::RequestResponseInformation,
            0x1a => Self::ResponseInformation,
            0x1c => Self::ServerReference,
            0x1f => Self::ReasonString,
            0x21 => Self::ReceiveMaximum,
            0x22 => Self::TopicAliasMaximum,
            0x23 => Self::TopicAlias,
            0x24 => Self::MaximumQos,
            0x25 => Self::RetainAvailable,
            0x26 => Self::UserProperty,
            0x27 => Self::MaximumPacketSize,
            0x28 => Self::WildcardSubscriptionAvailable,
            0x29 => Self::SubscriptionIdentifierAvailable,
            0x2a => Self::SharedSubscriptionAvailable,
            _ => return None,
        })
    }

    /// The type of the value.
    pub(super) const fn shape(self) -> Shape {
        match self {
            Self::PayloadFormatIndicator
            | Self::RequestProblemInformation
            | Self::RequestResponseInformation
            | Self::MaximumQos
            | Self::RetainAvailable
            | Self::WildcardSubscriptionAvailable
            | Self::SubscriptionIdentifierAvailable
            | Self::SharedSubscriptionAvailable => Shape::Byte,
            Self::ServerKeepAlive
            | Self::ReceiveMaximum
            | Self::TopicAliasMaximum
            | Self::TopicAlias => Shape::U16,
            Self::MessageExpiryInterval
            | Self::SessionExpiryInterval
            | Self::WillDelayInterval
            | Self::MaximumPacketSize => Shape::U32,
            Self::SubscriptionIdentifier => Shape::Varint,
            Self::CorrelationData | Self::AuthenticationData => Shape::Binary,
            Self::ContentType
            | Self::ResponseTopic
            | Self::AssignedClientIdentifier
            | Self::AuthenticationMethod
            | Self::ResponseInformation
            | Self::ServerReference
            | Self::ReasonString => Shape::Str,
            Self::UserProperty => Shape::Pair,
        }
    }

    /// The places that may carry the property, a bit per packet type and bit 0 for the will.
    const fn places(self) -> u16 {
        match self {
            Self::PayloadFormatIndicator
            | Self::MessageExpiryInterval
            | Self::ContentType
            | Self::ResponseTopic
            | Self::CorrelationData => PUBLISH | WILL,
            Self::SubscriptionIdentifier => PUBLISH | SUBSCRIBE,
            Self::SessionExpiryInterval => CONNECT | CONNACK | DISCONNECT,
            Self::AuthenticationMethod | Self::AuthenticationData => CONNECT | CONNACK | AUTH,
            Self::RequestProblemInformation | Self::RequestResponseInformation => CONNECT,
            Self::WillDelayInterval => WILL,
            Self::ServerReference => CONNACK | DISCONNECT,
            Self::ReasonString => ANSWERS,
            Self::ReceiveMaximum | Self::TopicAliasMaximum | Self::MaximumPacketSize => {
                CONNECT | CONNACK
            }
            Self::TopicAlias => PUBLISH,
            Self::UserProperty => ALL,
            Self::AssignedClientIdentifier
            | Self::ServerKeepAlive
            | Self::ResponseInformation
            | Self::MaximumQos
            | Self::RetainAvailable
            | Self::WildcardSubscriptionAvailable
            | Self::SubscriptionIdentifierAvailable
            | Self::SharedSubscriptionAvailable => CONNACK,
        }
    }

    /// True when `place` may carry the property, the direction included.
    #[must_use]
    pub const fn is_allowed_in(self, place: Place) -> bool {
        if self.places() & place.bit() == 0 {
            return false;
        }
        match (self, place) {
            // [MQTT-3.3.4-6]: only the server says which subscription matched
            (Self::SubscriptionIdentifier, Place::Packet(Kind::Publish, direction)) => {
                matches!(direction, Direction::ToClient)
            }
            // [MQTT-3.14.2-2]
            (Self::SessionExpiryInterval, Place::Packet(Kind::Disconnect, direction)) => {
                matches!(direction, Direction::ToServer)
            }
            // section 3.14.2.2.5: sent by the server
            (Self::ServerReference, Place::Packet(Kind::Disconnect, direction)) => {
                matches!(direction, Direction::ToClient)
            }
            _ => true,
        }
    }

    /// True when the property may be given more than once.
    pub(super) const fn may_repeat(self, place: Place) -> bool {
        match self {
            Self::UserProperty => true,
            Self::SubscriptionIdentifier => matches!(place, Place::Packet(Kind::Publish, _)),
            _ => false,
        }
    }
}
