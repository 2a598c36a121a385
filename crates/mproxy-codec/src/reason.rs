//! Reason codes of MQTT 5.0 and return codes of MQTT 3.x.

use core::fmt;

macro_rules! reason_codes {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        impl ReasonCode {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// The standard's name in snake case, as metrics and logs print it;
            /// `unknown` for a value without a name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self.0 {
                    $($value => $text,)*
                    _ => "unknown",
                }
            }
        }
    };
}

/// A reason code (MQTT 5.0 section 2.4). Values of 0x80 and above are failures.
///
/// The same value has different names in different packets (0x00 is also Granted QoS 0 and Normal
/// disconnection); the constants carry the common one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReasonCode(u8);

reason_codes! {
    /// The operation succeeded.
    SUCCESS = 0x00, "success";
    /// Granted QoS 1.
    GRANTED_QOS_1 = 0x01, "granted_qos_1";
    /// Granted QoS 2.
    GRANTED_QOS_2 = 0x02, "granted_qos_2";
    /// The client disconnects and wants its will to be published.
    DISCONNECT_WITH_WILL = 0x04, "disconnect_with_will_message";
    /// The message was accepted but nobody subscribes to it.
    NO_MATCHING_SUBSCRIBERS = 0x10, "no_matching_subscribers";
    /// No such subscription existed.
    NO_SUBSCRIPTION_EXISTED = 0x11, "no_subscription_existed";
    /// Continue the authentication with another step.
    CONTINUE_AUTHENTICATION = 0x18, "continue_authentication";
    /// Start a re-authentication.
    REAUTHENTICATE = 0x19, "re_authenticate";
    /// A failure without a more specific code, or whose reason is not disclosed.
    UNSPECIFIED_ERROR = 0x80, "unspecified_error";
    /// The packet could not be parsed.
    MALFORMED_PACKET = 0x81, "malformed_packet";
    /// The packet is well-formed but not allowed here.
    PROTOCOL_ERROR = 0x82, "protocol_error";
    /// Valid, but not accepted by this implementation.
    IMPLEMENTATION_SPECIFIC_ERROR = 0x83, "implementation_specific_error";
    /// The protocol version is not supported.
    UNSUPPORTED_PROTOCOL_VERSION = 0x84, "unsupported_protocol_version";
    /// The client identifier is valid but not allowed.
    CLIENT_IDENTIFIER_NOT_VALID = 0x85, "client_identifier_not_valid";
    /// User name or password are not accepted.
    BAD_USER_NAME_OR_PASSWORD = 0x86, "bad_user_name_or_password";
    /// The client is not authorized.
    NOT_AUTHORIZED = 0x87, "not_authorized";
    /// The server is not available.
    SERVER_UNAVAILABLE = 0x88, "server_unavailable";
    /// The server is busy; try again later.
    SERVER_BUSY = 0x89, "server_busy";
    /// The client has been banned by an administrator.
    BANNED = 0x8a, "banned";
    /// The server is shutting down.
    SERVER_SHUTTING_DOWN = 0x8b, "server_shutting_down";
    /// The authentication method is not supported or not the current one.
    BAD_AUTHENTICATION_METHOD = 0x8c, "bad_authentication_method";
    /// Nothing was received for 1.5 times the keep alive.
    KEEP_ALIVE_TIMEOUT = 0x8d, "keep_alive_timeout";
    /// Another connection uses the same client identifier.
    SESSION_TAKEN_OVER = 0x8e, "session_taken_over";
    /// The topic filter is well-formed but not accepted.
    TOPIC_FILTER_INVALID = 0x8f, "topic_filter_invalid";
    /// The topic name is well-formed but not accepted.
    TOPIC_NAME_INVALID = 0x90, "topic_name_invalid";
    /// The packet identifier is in use.
    PACKET_IDENTIFIER_IN_USE = 0x91, "packet_identifier_in_use";
    /// The packet identifier is not known.
    PACKET_IDENTIFIER_NOT_FOUND = 0x92, "packet_identifier_not_found";
    /// More publications than Receive Maximum are in flight.
    RECEIVE_MAXIMUM_EXCEEDED = 0x93, "receive_maximum_exceeded";
    /// The topic alias is zero, too large or unknown.
    TOPIC_ALIAS_INVALID = 0x94, "topic_alias_invalid";
    /// The packet is larger than Maximum Packet Size.
    PACKET_TOO_LARGE = 0x95, "packet_too_large";
    /// The message rate is too high.
    MESSAGE_RATE_TOO_HIGH = 0x96, "message_rate_too_high";
    /// An imposed limit was exceeded.
    QUOTA_EXCEEDED = 0x97, "quota_exceeded";
    /// Closed by an administrator.
    ADMINISTRATIVE_ACTION = 0x98, "administrative_action";
    /// The payload is not what Payload Format Indicator says.
    PAYLOAD_FORMAT_INVALID = 0x99, "payload_format_invalid";
    /// Retained messages are not supported.
    RETAIN_NOT_SUPPORTED = 0x9a, "retain_not_supported";
    /// The QoS is not supported.
    QOS_NOT_SUPPORTED = 0x9b, "qos_not_supported";
    /// Use another server for now.
    USE_ANOTHER_SERVER = 0x9c, "use_another_server";
    /// Use another server from now on.
    SERVER_MOVED = 0x9d, "server_moved";
    /// Shared subscriptions are not supported.
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9e, "shared_subscriptions_not_supported";
    /// Too many connections in a short time.
    CONNECTION_RATE_EXCEEDED = 0x9f, "connection_rate_exceeded";
    /// The maximum connection time was reached.
    MAXIMUM_CONNECT_TIME = 0xa0, "maximum_connect_time";
    /// Subscription identifiers are not supported.
    SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED = 0xa1, "subscription_identifiers_not_supported";
    /// Wildcard subscriptions are not supported.
    WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xa2, "wildcard_subscriptions_not_supported";
}

impl ReasonCode {
    /// Wraps a value from the wire, known or not.
    #[inline]
    #[must_use]
    pub const fn new(value: u8) -> Self {
        Self(value)
    }

    /// The value on the wire.
    #[inline]
    #[must_use]
    pub const fn as_u8(self) -> u8 {
        self.0
    }

    /// True for codes that say the operation failed (0x80 and above).
    #[inline]
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.0 >= 0x80
    }

    /// True when CONNACK may carry the code (MQTT 5.0 table 3-1, [MQTT-3.2.2-8]).
    #[must_use]
    pub const fn is_valid_in_connack(self) -> bool {
        matches!(self.0, 0x00 | 0x80..=0x8a | 0x8c | 0x90 | 0x95 | 0x97 | 0x99..=0x9d | 0x9f)
    }

    /// True when DISCONNECT sent by the server may carry the code (MQTT 5.0 table 3-10, and table
    /// 2-6 for 0x8c, Bad authentication method, the answer to a failed re-authentication).
    #[must_use]
    pub const fn is_valid_in_server_disconnect(self) -> bool {
        matches!(self.0,
            0x00 | 0x80..=0x83 | 0x87 | 0x89 | 0x8b..=0x90 | 0x93..=0xa2)
    }

    /// True when DISCONNECT sent by the client may carry the code (MQTT 5.0 table 3-10).
    #[must_use]
    pub const fn is_valid_in_client_disconnect(self) -> bool {
        matches!(self.0, 0x00 | 0x04 | 0x80..=0x83 | 0x90 | 0x93..=0x99)
    }

    /// True when PUBACK and PUBREC may carry the code (MQTT 5.0 tables 3-4, 3-5).
    #[must_use]
    pub const fn is_valid_in_puback(self) -> bool {
        matches!(
            self.0,
            0x00 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99
        )
    }

    /// True when PUBREL and PUBCOMP may carry the code (MQTT 5.0 tables 3-6, 3-7).
    #[must_use]
    pub const fn is_valid_in_pubrel(self) -> bool {
        matches!(self.0, 0x00 | 0x92)
    }

    /// True when SUBACK of MQTT 5.0 may carry the code (table 3-8, [MQTT-3.9.3-2]).
    #[must_use]
    pub const fn is_valid_in_suback(self) -> bool {
        matches!(
            self.0,
            0x00..=0x02 | 0x80 | 0x83 | 0x87 | 0x8f | 0x91 | 0x97 | 0x9e | 0xa1 | 0xa2
        )
    }

    /// True when UNSUBACK may carry the code (MQTT 5.0 table 3-9).
    #[must_use]
    pub const fn is_valid_in_unsuback(self) -> bool {
        matches!(self.0, 0x00 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8f | 0x91)
    }

    /// The equivalent return code in an MQTT 3.x CONNACK (MQTT 3.1.1 table 3.1).
    ///
    /// Codes without a counterpart become 3, server unavailable, which makes a device try again.
    #[must_use]
    pub const fn as_connect_return_code(self) -> u8 {
        match self.0 {
            0x00 => 0,
            0x84 => 1,
            0x85 => 2,
            0x86 | 0x8c => 4,
            0x87 | 0x8a | 0x90 | 0x95 | 0x99..=0x9b => 5,
            _ => 3,
        }
    }

    /// The equivalent of the return code in an MQTT 3.x CONNACK (MQTT 3.1.1 table 3.1).
    ///
    /// The codes that are reserved there become [`UNSPECIFIED_ERROR`](Self::UNSPECIFIED_ERROR).
    #[must_use]
    pub const fn of_connect_return_code(code: u8) -> Self {
        match code {
            0 => Self::SUCCESS,
            1 => Self::UNSUPPORTED_PROTOCOL_VERSION,
            2 => Self::CLIENT_IDENTIFIER_NOT_VALID,
            3 => Self::SERVER_UNAVAILABLE,
            4 => Self::BAD_USER_NAME_OR_PASSWORD,
            5 => Self::NOT_AUTHORIZED,
            _ => Self::UNSPECIFIED_ERROR,
        }
    }
}

impl fmt::Debug for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:02x})", self.as_str(), self.0)
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
