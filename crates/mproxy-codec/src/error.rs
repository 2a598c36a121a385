//! Errors of packets, with the broken statement and the reason code for the other side.

use crate::reason::ReasonCode;
use crate::version::Version;

macro_rules! decode_errors {
    ($($(#[$doc:meta])* $name:ident, $reason:ident, $v5:literal, $v311:literal, $v31:literal, $text:literal;)*) => {
        /// A packet that breaks the standard.
        ///
        /// An incomplete packet is not an error: the scanner returns `Ok(None)` and needs more bytes.
        /// Each variant names the statement it enforces ([`statement`](Self::statement)) and maps
        /// to the reason code that DISCONNECT or CONNACK of MQTT 5.0 carries
        /// ([`reason`](Self::reason)).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
        #[non_exhaustive]
        pub enum DecodeError {
            $($(#[$doc])* #[error($text)] $name,)*
        }

        impl DecodeError {
            /// Every error, in the order of declaration: for tables and metrics labels.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The normative statement of this version that the packet breaks, or the section where
            /// there is no statement. MQTT 3.1 has only sections; rules that exist only in MQTT 5.0 have
            /// the number of that version.
            #[must_use]
            pub const fn statement(self, version: Version) -> &'static str {
                match version {
                    Version::V5 => match self { $(Self::$name => $v5,)* },
                    Version::V311 => match self { $(Self::$name => $v311,)* },
                    Version::V31 => match self { $(Self::$name => $v31,)* },
                }
            }

            /// The reason code for the other side: that of the DISCONNECT or CONNACK that ends
            /// the connection.
            #[must_use]
            pub const fn reason(self) -> ReasonCode {
                match self { $(Self::$name => ReasonCode::$reason,)* }
            }
        }
    };
}

decode_errors! {
    /// The fourth length byte announces a fifth.
    RemainingLength, MALFORMED_PACKET, "MQTT-1.5.5-1", "2.2.3", "2.1", "variable byte integer does not end within four bytes";
    /// A variable byte integer uses more bytes than needed.
    NotMinimal, MALFORMED_PACKET, "MQTT-1.5.5-1", "2.2.3", "2.1", "variable byte integer is not minimal";
    /// The packet is larger than the limit in force.
    PacketTooLarge, PACKET_TOO_LARGE, "MQTT-3.1.2-24", "2.2.3", "2.1", "packet is larger than the maximum packet size";
    /// Packet type 0, or AUTH before MQTT 5.0.
    ReservedType, MALFORMED_PACKET, "2.1.2", "2.2.1", "2.1", "reserved packet type";
    /// Flag bits of the fixed header that must have a fixed value.
    ReservedFlags, MALFORMED_PACKET, "MQTT-2.1.3-1", "MQTT-2.2.2-2", "2.1", "reserved flags of the fixed header are set wrongly";
    /// The packet type does not travel in this direction.
    WrongDirection, PROTOCOL_ERROR, "2.1.2", "2.2.1", "2.1", "packet type is not allowed in this direction";
    /// The first packet of a client is not CONNECT; see [`Framer`](crate::Framer).
    NotConnect, PROTOCOL_ERROR, "MQTT-3.1.0-1", "MQTT-3.1.0-1", "3.1", "the first packet is not CONNECT";
    /// A client sends CONNECT again.
    SecondConnect, PROTOCOL_ERROR, "MQTT-3.1.0-2", "MQTT-3.1.0-2", "3.1", "second CONNECT";
    /// A field runs past the end of the packet.
    Truncated, MALFORMED_PACKET, "1.2 malformed packet", "MQTT-4.8.0-1", "2.1", "a field runs past the end of the packet";
    /// Bytes are left over after the last field.
    TrailingBytes, MALFORMED_PACKET, "1.2 malformed packet", "MQTT-4.8.0-1", "2.1", "bytes are left over after the last field";
    /// A string is not UTF-8.
    InvalidUtf8, MALFORMED_PACKET, "MQTT-1.5.4-1", "MQTT-1.5.3-1", "2.5", "string is not well-formed UTF-8";
    /// A string holds U+0000.
    NulCharacter, MALFORMED_PACKET, "MQTT-1.5.4-2", "MQTT-1.5.3-2", "2.5", "string contains U+0000";
    /// A string that names something holds a control character or a noncharacter, and the receiver
    /// refuses those; see [`View::has_control`](crate::View::has_control).
    ControlCharacter, MALFORMED_PACKET, "1.5.4", "1.5.3", "2.5", "string contains a control character or a noncharacter";
    /// QoS bits 11 of a PUBLISH.
    QosThree, MALFORMED_PACKET, "MQTT-3.3.1-4", "MQTT-3.3.1-4", "2.1", "QoS 3";
    /// DUP on a QoS 0 PUBLISH.
    DupQosZero, MALFORMED_PACKET, "MQTT-3.3.1-2", "MQTT-3.3.1-2", "2.1", "DUP is set on a QoS 0 PUBLISH";
    /// Packet identifier 0.
    PacketIdZero, PROTOCOL_ERROR, "MQTT-2.2.1-3", "MQTT-2.3.1-1", "2.4", "packet identifier is 0";
    /// A zero-length topic name without a topic alias, or a zero-length topic filter.
    EmptyTopic, PROTOCOL_ERROR, "MQTT-4.7.3-1", "MQTT-4.7.3-1", "Appendix A", "topic is empty";
    /// The topic name of a PUBLISH with `+` or `#`.
    WildcardInTopicName, TOPIC_NAME_INVALID, "MQTT-3.3.2-2", "MQTT-3.3.2-2", "3.3", "topic name contains a wildcard";
    /// A wildcard that does not stand alone in its level, or `#` that is not last.
    MisplacedWildcard, TOPIC_FILTER_INVALID, "MQTT-4.7.1-1", "MQTT-4.7.1-2", "Appendix A", "wildcard of the topic filter is misplaced";
    /// `$share` without a group or without a filter.
    SharedFilter, TOPIC_FILTER_INVALID, "MQTT-4.8.2-1", "MQTT-4.8.2-1", "MQTT-4.8.2-1", "shared subscription is not $share/group/filter";
    /// Topic alias 0.
    TopicAliasZero, TOPIC_ALIAS_INVALID, "MQTT-3.3.2-8", "MQTT-3.3.2-8", "MQTT-3.3.2-8", "topic alias is 0";
    /// A property identifier that does not exist.
    UnknownProperty, MALFORMED_PACKET, "2.2.2.2", "2.2.2.2", "2.2.2.2", "unknown property";
    /// A property that this packet may not carry.
    PropertyNotAllowed, MALFORMED_PACKET, "2.2.2.2", "2.2.2.2", "2.2.2.2", "property is not allowed in this packet";
    /// A Subscription Identifier in a PUBLISH of a client.
    SubscriptionIdFromClient, PROTOCOL_ERROR, "MQTT-3.3.4-6", "MQTT-3.3.4-6", "MQTT-3.3.4-6", "a client's PUBLISH has a subscription identifier";
    /// A property that may appear only once appears twice.
    DuplicateProperty, PROTOCOL_ERROR, "2.2.2.2", "2.2.2.2", "2.2.2.2", "property is given twice";
    /// A property value outside its range.
    PropertyValue, PROTOCOL_ERROR, "2.2.2.2", "2.2.2.2", "2.2.2.2", "property value is out of range";
    /// Authentication Data without Authentication Method.
    AuthDataWithoutMethod, PROTOCOL_ERROR, "3.1.2.11.10", "3.1.2.11.10", "3.1.2.11.10", "authentication data without an authentication method";
    /// The protocol name is neither `MQTT` nor `MQIsdp`.
    ProtocolName, UNSUPPORTED_PROTOCOL_VERSION, "MQTT-3.1.2-1", "MQTT-3.1.2-1", "3.1", "unknown protocol name";
    /// The protocol level belongs to none of the supported versions.
    ProtocolLevel, UNSUPPORTED_PROTOCOL_VERSION, "MQTT-3.1.2-2", "MQTT-3.1.2-2", "3.1", "unsupported protocol level";
    /// The protocol name and the level belong to different versions: `MQTT` with 3, or
    /// `MQIsdp` with 4 or 5.
    ProtocolMismatch, UNSUPPORTED_PROTOCOL_VERSION, "MQTT-3.1.2-2", "MQTT-3.1.2-2", "3.1", "protocol name and level do not go together";
    /// Bit 0 of the connect flags.
    ConnectFlagReserved, MALFORMED_PACKET, "MQTT-3.1.2-3", "MQTT-3.1.2-3", "3.1", "reserved connect flag is set";
    /// Will QoS without a will.
    WillQosWithoutWill, MALFORMED_PACKET, "MQTT-3.1.2-11", "MQTT-3.1.2-13", "3.1", "will QoS is set without a will";
    /// Will retain without a will.
    WillRetainWithoutWill, MALFORMED_PACKET, "MQTT-3.1.2-13", "MQTT-3.1.2-15", "3.1", "will retain is set without a will";
    /// Will QoS bits 11.
    WillQosThree, MALFORMED_PACKET, "MQTT-3.1.2-12", "MQTT-3.1.2-14", "3.1", "will QoS is 3";
    /// A will topic with `+` or `#`.
    WildcardInWillTopic, TOPIC_NAME_INVALID, "MQTT-4.7.0-1", "MQTT-4.7.1-1", "Appendix A", "will topic contains a wildcard";
    /// A password without a user name, before MQTT 5.0.
    PasswordWithoutUserName, MALFORMED_PACKET, "3.1.2.9", "MQTT-3.1.2-22", "3.1", "password without a user name";
    /// An empty client identifier where none may be assigned.
    EmptyClientId, CLIENT_IDENTIFIER_NOT_VALID, "3.1.3.1", "MQTT-3.1.3-8", "3.1", "client identifier is empty, which MQTT 3.1 forbids, and 3.1.1 without a clean session";
    /// SUBSCRIBE or UNSUBSCRIBE without a topic filter.
    NoTopicFilter, PROTOCOL_ERROR, "MQTT-3.8.3-2", "MQTT-3.8.3-3", "3.8", "no topic filter";
    /// Reserved bits or values of the subscription options.
    SubscriptionOptions, PROTOCOL_ERROR, "MQTT-3.8.3-5", "MQTT-3-8.3-4", "3.8", "reserved subscription options are set";
    /// No Local on a shared subscription.
    NoLocalShared, PROTOCOL_ERROR, "MQTT-3.8.3-4", "MQTT-3.8.3-4", "MQTT-3.8.3-4", "No Local is set on a shared subscription";
    /// A reason code that this packet may not carry.
    InvalidReasonCode, PROTOCOL_ERROR, "2.4", "MQTT-3.9.3-2", "3.9", "reason code is not allowed in this packet";
    /// Reserved bits of the connect acknowledge flags.
    ConnackFlags, MALFORMED_PACKET, "MQTT-3.2.2-1", "3.2.2.1", "3.2", "reserved connect acknowledge flags are set";
    /// Session Present together with a failure.
    SessionPresentOnFailure, PROTOCOL_ERROR, "MQTT-3.2.2-6", "MQTT-3.2.2-4", "3.2", "session present is set on a refusal";
}

/// A packet that cannot be built from the given fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// A string or binary field of more than 65,535 bytes.
    #[error("field is longer than 65,535 bytes")]
    FieldTooLong,
    /// More than 268,435,455 bytes after the fixed header.
    #[error("packet is longer than 268,435,455 bytes")]
    PacketTooLarge,
    /// A field breaks a rule of the standard.
    #[error("field is not valid: {0}")]
    Invalid(#[from] DecodeError),
    /// The field does not exist in this packet or this protocol version.
    #[error("the packet has no such field")]
    NoSuchField,
}
