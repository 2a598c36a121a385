//! Why a pipe stops, before it becomes a summary.

use std::borrow::Cow;
use std::io;

use mproxy_codec::{DecodeError, Direction, ReasonCode};

use crate::summary::{CloseReason, Side};

/// A rule of the protocol that a packet broke by when it came, not by how it looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    #[error("the first packet is not CONNECT [MQTT-3.1.0-1]")]
    NotConnect,
    #[error("second CONNECT [MQTT-3.1.0-2]")]
    SecondConnect,
    #[error("the broker's first packet is not CONNACK [MQTT-3.2.0-1]")]
    NotConnack,
    #[error("second CONNACK [MQTT-3.2.0-2]")]
    SecondConnack,
    #[error("session present although a clean session was asked for [MQTT-3.2.2-2]")]
    UnexpectedSession,
    #[error("only AUTH or DISCONNECT may come before CONNACK [MQTT-3.1.2-30]")]
    BeforeConnack,
    #[error("AUTH without an authentication method in CONNECT [MQTT-4.12.0-6]")]
    AuthWithoutMethod,
    #[error("session expiry is raised from 0 by DISCONNECT, section 3.14.2.2.2")]
    SessionExpiryRaised,
    #[error("topic alias is larger than the announced maximum [MQTT-3.3.2-9]")]
    TopicAliasTooLarge,
    #[error("topic alias is not bound to a topic name, section 3.3.2.3.4")]
    TopicAliasUnknown,
    #[error("the topic names behind the topic aliases are too long together")]
    TopicAliasMemory,
    #[error("more publications than the receive maximum wait for an answer [MQTT-3.3.4-7]")]
    ReceiveMaximum,
    #[error("not the authentication method of CONNECT [MQTT-4.12.0-5]")]
    AuthMethod,
    #[error("packet identifier is in use by a request that is not answered [MQTT-2.2.1-3]")]
    PacketIdInUse,
    #[error("too many requests wait for an answer")]
    TooManyRequests,
    #[error("the answer has another number of codes than the request had filters [MQTT-3.9.3-1]")]
    CodeCount,
}

impl Violation {
    const fn reason(self) -> ReasonCode {
        match self {
            Self::TopicAliasTooLarge => ReasonCode::TOPIC_ALIAS_INVALID,
            Self::TooManyRequests | Self::TopicAliasMemory => ReasonCode::QUOTA_EXCEEDED,
            Self::ReceiveMaximum => ReasonCode::RECEIVE_MAXIMUM_EXCEEDED,
            _ => ReasonCode::PROTOCOL_ERROR,
        }
    }
}

/// The end of a session: who, why, what the wire is told, and the details for the log.
#[derive(Debug, Clone)]
pub(crate) struct End {
    pub(crate) side: Side,
    pub(crate) reason: CloseReason,
    pub(crate) code: ReasonCode,
    pub(crate) detail: Option<Cow<'static, str>>,
    /// Whether the client still has to hear of it: a CONNACK or DISCONNECT with `code`.
    pub(crate) tell_client: bool,
    /// The broker is told to forget the will.
    pub(crate) suppress_will: bool,
    /// A hook or the session itself panicked.
    pub(crate) panicked: bool,
}

impl End {
    /// An end that the client is not told: it knows, or cannot hear.
    pub(crate) const fn quiet(side: Side, reason: CloseReason) -> Self {
        let code = ReasonCode::SUCCESS;
        Self {
            side,
            reason,
            code,
            detail: None,
            tell_client: false,
            suppress_will: false,
            panicked: false,
        }
    }

    /// An end that the client is told.
    pub(crate) const fn told(side: Side, reason: CloseReason, code: ReasonCode) -> Self {
        Self {
            side,
            reason,
            code,
            detail: None,
            tell_client: true,
            suppress_will: false,
            panicked: false,
        }
    }

    pub(crate) fn with_detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    pub(crate) const fn panicked(mut self) -> Self {
        self.panicked = true;
        self
    }

    /// A packet that could not be parsed.
    #[cold]
    pub(crate) fn malformed(direction: Direction, error: DecodeError) -> Self {
        let statement = match (direction, error) {
            // the codec names the limit of a client; this is what CONNACK told it of the server's
            (Direction::ToServer, DecodeError::PacketTooLarge) => "MQTT-3.2.2-15",
            (_, error) => error.statement(),
        };
        let detail = format!("{error} [{statement}]");
        let reason = match (direction, error) {
            (Direction::ToClient, _) => CloseReason::UpstreamProtocolError,
            (Direction::ToServer, DecodeError::PacketTooLarge) => CloseReason::PacketTooLarge,
            (Direction::ToServer, DecodeError::ProtocolLevel | DecodeError::ProtocolName) => {
                CloseReason::UnsupportedVersion
            }
            (Direction::ToServer, error) if error.reason() == ReasonCode::MALFORMED_PACKET => {
                CloseReason::Malformed
            }
            (Direction::ToServer, _) => CloseReason::ProtocolError,
        };
        Self::guilty(direction, reason, error.reason()).with_detail(detail)
    }

    /// A packet that was not allowed when it came.
    #[cold]
    pub(crate) fn violation(direction: Direction, violation: Violation) -> Self {
        let reason = match direction {
            Direction::ToServer => CloseReason::ProtocolError,
            Direction::ToClient => CloseReason::UpstreamProtocolError,
        };
        Self::guilty(direction, reason, violation.reason()).with_detail(violation.to_string())
    }

    const fn guilty(direction: Direction, reason: CloseReason, code: ReasonCode) -> Self {
        match direction {
            Direction::ToServer => Self::told(Side::Client, reason, code),
            // the client did nothing wrong: it is told that something else failed
            Direction::ToClient => {
                Self::told(Side::Upstream, reason, ReasonCode::UNSPECIFIED_ERROR)
            }
        }
    }

    /// A hook that failed, panicked or took too long.
    #[cold]
    pub(crate) fn hook(detail: impl Into<Cow<'static, str>>) -> Self {
        let code = ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR;
        Self::told(Side::Proxy, CloseReason::HookFailed, code).with_detail(detail)
    }

    /// The connection to a side broke.
    #[cold]
    pub(crate) fn io(side: Side, error: &io::Error) -> Self {
        let end = match (side, error.kind()) {
            // a transport reports a breach of its own framing, WebSocket's for example, this way
            (Side::Client, io::ErrorKind::InvalidData) => Self::quiet(side, CloseReason::Malformed),
            (Side::Client, _) => Self::quiet(side, CloseReason::Reset),
            (_, _) => Self::told(
                side,
                CloseReason::UpstreamEof,
                ReasonCode::UNSPECIFIED_ERROR,
            ),
        };
        end.with_detail(error.to_string())
    }
}
