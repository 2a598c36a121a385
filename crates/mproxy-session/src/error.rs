//! Why a pipe stops, before it becomes a summary.

use std::any::Any;
use std::borrow::Cow;
use std::{fmt, io};

use mproxy_codec::{DecodeError, Direction, Foreign, Kind, ReasonCode, Version};

use crate::admit::ConnectRefusal;
use crate::control::Order;
use crate::limits::{Conformance, Limits, Rate, WhenUnreachable};
use crate::reply::connack_code;
use crate::summary::{CloseReason, Side};

macro_rules! violations {
    ($($name:ident, $v5:literal, $v311:literal, $v31:literal, $text:literal;)*) => {
        /// A rule of the protocol that a packet broke by when it came, not by how it looked.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
        pub(crate) enum Violation {
            $(#[error($text)] $name,)*
        }

        impl Violation {
            /// The statement of this version that was broken, or the section.
            const fn statement(self, version: Version) -> &'static str {
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
    SessionExpiryRaised, "3.14.2.2.2", "3.14", "3.14", "session expiry is raised from 0 by DISCONNECT";
    TopicAliasTooLarge, "MQTT-3.3.2-9", "3.3", "3.3", "topic alias is larger than the announced maximum";
    TopicAliasUnknown, "3.3.2.3.4", "3.3", "3.3", "topic alias is not bound to a topic name";
    TopicAliasMemory, "3.3.2.3.4", "3.3", "3.3", "the topic names behind the topic aliases are too long together";
    ReceiveMaximum, "MQTT-3.3.4-7", "3.3", "3.3", "more publications than the receive maximum wait for an answer";
    AuthMethod, "MQTT-4.12.0-5", "2.2.1", "2.1", "not the authentication method of CONNECT";
    CodeCount, "MQTT-3.9.3-1", "MQTT-3.9.3-1", "3.9", "the answer has another number of codes than the request had filters";
}

impl Violation {
    const fn reason(self) -> ReasonCode {
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

/// The longest message of a panic that a line shows, in bytes.
const SHOWN_PANIC: usize = 200;

/// What lies behind an end, beyond its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    None,
    /// A rule that a packet broke by how it looked. Which statement says so depends on the
    /// session's version.
    Format(DecodeError),
    /// A rule that a packet broke by when it came.
    Order(Violation),
    /// Another protocol that came where MQTT is spoken.
    Foreign(Foreign),
    Limit(Limit),
    /// A layer that refused CONNECT. The client is told only so many bytes of the detail: the rest
    /// says which layer it was, and why.
    Layer {
        told: u16,
        limit: Option<Limit>,
    },
}

/// A field of [`Limits`], or another bound: with another value the session would have gone on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    Bridges,
    ConnackTimeout,
    ConnectTimeout,
    HookTimeout,
    MaxConnectSize,
    MaxDenials,
    MaxFilters,
    MaxHeldPacket,
    MaxPacketSize,
    MaxTopicLevels,
    Memory,
    /// Not the proxy's: what the broker announced, or less.
    Announced,
    PacketTimeout,
    PermitTimeout,
    RefusedWill,
    Versions,
    WriteTimeout,
}

impl Limit {
    /// The name of the field; `None` when it is the broker's.
    const fn field(self) -> Option<&'static str> {
        Some(match self {
            Self::Bridges => "bridges",
            Self::ConnackTimeout => "connack_timeout",
            Self::ConnectTimeout => "connect_timeout",
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

/// The end of a session: who, why, what the wire is told, and the details for the log.
#[derive(Debug, Clone)]
pub(crate) struct End {
    pub(crate) side: Side,
    pub(crate) reason: CloseReason,
    pub(crate) code: ReasonCode,
    pub(crate) detail: Option<Cow<'static, str>>,
    cause: Cause,
    /// Whether there is something to tell the client: see [`End::tells`].
    pub(crate) tell_client: bool,
    /// The broker is told to forget the will.
    pub(crate) suppress_will: bool,
    /// A hook or the session itself panicked.
    pub(crate) panicked: bool,
    /// What waits to be written is thrown away.
    pub(crate) at_once: bool,
}

impl End {
    /// An end that the client is not told: it knows, or cannot hear.
    pub(crate) const fn quiet(side: Side, reason: CloseReason) -> Self {
        Self {
            side,
            reason,
            code: ReasonCode::SUCCESS,
            detail: None,
            cause: Cause::None,
            tell_client: false,
            suppress_will: false,
            panicked: false,
            at_once: false,
        }
    }

    /// An end that the client is told, if [policy](Self::tells) lets it be.
    pub(crate) const fn told(side: Side, reason: CloseReason, code: ReasonCode) -> Self {
        let mut end = Self::quiet(side, reason);
        end.code = code;
        end.tell_client = true;
        end
    }

    pub(crate) fn with_detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// What a layer said when it refused CONNECT, and for the log who it was.
    pub(crate) fn refused(mut self, text: Option<Box<str>>, by: Option<&str>) -> Self {
        let mut detail = text.map(String::from).unwrap_or_default();
        let told = u16::try_from(detail.len()).unwrap_or(u16::MAX);
        self.cause = Cause::Layer { told, limit: None };
        if let Some(by) = by {
            if !detail.is_empty() {
                detail.push_str(": ");
            }
            detail.push_str(by);
        }
        self.detail = (!detail.is_empty()).then_some(Cow::Owned(detail));
        self
    }

    /// The part of the detail that the client may be told; `None` if there is nothing to say.
    pub(crate) fn told_of<'a>(&self, detail: &'a str) -> Option<&'a str> {
        match self.cause {
            Cause::Layer { told, .. } => {
                let told = &detail[..detail.floor_char_boundary(usize::from(told))];
                Some(told).filter(|told| !told.is_empty())
            }
            _ => Some(detail),
        }
    }

    pub(crate) const fn with_limit(mut self, limit: Limit) -> Self {
        self.cause = match self.cause {
            // what the client may be told of the detail stays as it is
            Cause::Layer { told, .. } => Cause::Layer {
                told,
                limit: Some(limit),
            },
            _ => Cause::Limit(limit),
        };
        self
    }

    pub(crate) const fn panicked(mut self) -> Self {
        self.panicked = true;
        self
    }

    /// Says whether the client hears of this end from the proxy: a CONNACK while it has none
    /// (`answered` is false), a DISCONNECT afterwards.
    ///
    /// The proxy speaks in its own voice when a layer refused, when the client broke the protocol,
    /// and on an operator's order. For everything else the client sees what it would see from the
    /// broker: the end of the connection. Many clients take a CONNACK or DISCONNECT with an error as
    /// final and never come back.
    pub(crate) fn tells(&self, answered: bool, limits: &Limits) -> bool {
        if !self.tell_client {
            return false;
        }
        match (self.side, self.reason) {
            (Side::Upstream, _) | (_, CloseReason::UpstreamUnreachable) => {
                !answered && limits.when_unreachable == WhenUnreachable::Connack
            }
            // brokers close such a client without a word, and so does a cable
            (
                Side::Proxy,
                CloseReason::KeepaliveTimeout
                | CloseReason::PacketTimeout
                | CloseReason::WriteTimeout
                | CloseReason::Internal,
            ) => limits.conformance == Conformance::Strict,
            _ => true,
        }
    }

    /// The reason code of the packet by which a side ended the session; `None` for every other end.
    pub(crate) fn received(&self) -> Option<ReasonCode> {
        let by_packet = matches!(
            self.reason,
            CloseReason::Disconnect
                | CloseReason::DisconnectWithWill
                | CloseReason::SessionTakenOver
                | CloseReason::UpstreamDisconnect
                | CloseReason::UpstreamRefused
        );
        (by_packet && self.side != Side::Proxy).then_some(self.code)
    }

    /// The detail for the log and for Reason Strings, with the statement that was broken.
    pub(crate) fn describe(&self, version: Option<Version>) -> Option<String> {
        let detail = self.detail.as_deref()?;
        let version = version.unwrap_or(Version::V311);
        let statement = match self.cause {
            Cause::Format(error) => error.statement(version),
            Cause::Order(violation) => violation.statement(version),
            Cause::None | Cause::Foreign(_) | Cause::Limit(_) | Cause::Layer { .. } => {
                return Some(detail.to_owned());
            }
        };
        Some(format!("{detail} [{statement}]"))
    }

    /// The field of [`Limits`] that ended it, by its name.
    pub(crate) fn limit(&self, version: Option<Version>) -> Option<&'static str> {
        match self.cause {
            Cause::Limit(limit)
            | Cause::Layer {
                limit: Some(limit), ..
            } => limit.field(),
            Cause::Format(DecodeError::ControlCharacter) => Some("control_characters"),
            // slips that are repaired otherwise: see the codec's `tolerance`
            Cause::Format(
                DecodeError::WillQosWithoutWill
                | DecodeError::WillRetainWithoutWill
                | DecodeError::ReservedFlags,
            ) => (version == Some(Version::V31)).then_some("conformance"),
            Cause::Format(DecodeError::DupQosZero | DecodeError::SessionPresentOnFailure)
            | Cause::Order(Violation::UnexpectedSession) => Some("conformance"),
            Cause::Order(Violation::ReceiveMaximum) => Some("receive_maximum"),
            _ => None,
        }
    }

    /// True for a packet that is valid apart from a control character.
    pub(crate) fn is_control_character(&self) -> bool {
        self.cause == Cause::Format(DecodeError::ControlCharacter)
    }

    /// Another protocol that came where MQTT is spoken.
    pub(crate) const fn foreign_protocol(&self) -> Option<Foreign> {
        match self.cause {
            Cause::Foreign(foreign) => Some(foreign),
            _ => None,
        }
    }

    /// A packet that could not be parsed.
    #[cold]
    pub(crate) fn malformed(direction: Direction, error: DecodeError) -> Self {
        let reason = match (direction, error) {
            (Direction::ToClient, _) => CloseReason::UpstreamProtocolError,
            (Direction::ToServer, DecodeError::PacketTooLarge) => CloseReason::PacketTooLarge,
            (
                Direction::ToServer,
                DecodeError::ProtocolLevel
                | DecodeError::ProtocolMismatch
                | DecodeError::ProtocolName,
            ) => CloseReason::UnsupportedVersion,
            (Direction::ToServer, error) if error.reason() == ReasonCode::MALFORMED_PACKET => {
                CloseReason::Malformed
            }
            (Direction::ToServer, _) => CloseReason::ProtocolError,
        };
        let mut end = Self::guilty(direction, reason, error.reason());
        end.cause = Cause::Format(error);
        end.with_detail(error.to_string())
    }

    /// A packet of `size` bytes that is larger than a limit allows.
    #[cold]
    pub(crate) fn too_large(
        direction: Direction,
        what: &str,
        size: usize,
        (limit, value): (Limit, usize),
    ) -> Self {
        let name = limit.field().unwrap_or("what CONNACK announced");
        // no statement: it would be about what CONNACK announced, which this need not be
        Self::malformed(direction, DecodeError::PacketTooLarge)
            .with_limit(limit)
            .with_detail(format!(
                "{what} of {size} bytes is larger than {name} allows: {value} bytes"
            ))
    }

    /// A request with more topic filters, or a topic with more levels, than hooks are to judge.
    #[cold]
    pub(crate) fn too_long(what: &str, code: ReasonCode, (limit, value): (Limit, usize)) -> Self {
        let name = limit.field().unwrap_or_default();
        Self::told(Side::Client, CloseReason::PacketTooLarge, code)
            .with_limit(limit)
            .with_detail(format!("{what} than {name} allows: {value}"))
    }

    /// More packets of the client were refused than may be.
    #[cold]
    pub(crate) fn denials(rate: Rate) -> Self {
        let Rate { count, period } = rate;
        Self::told(
            Side::Proxy,
            CloseReason::RateLimited,
            ReasonCode::QUOTA_EXCEEDED,
        )
        .with_limit(Limit::MaxDenials)
        .with_detail(format!(
            "more than {count} packets of the client were refused in {period:?}"
        ))
    }

    /// There is no memory for what the connection holds.
    #[cold]
    pub(crate) fn overload() -> Self {
        Order::overload().into()
    }

    /// A packet that was not allowed when it came.
    #[cold]
    pub(crate) fn violation(direction: Direction, violation: Violation) -> Self {
        let reason = match direction {
            Direction::ToServer => CloseReason::ProtocolError,
            Direction::ToClient => CloseReason::UpstreamProtocolError,
        };
        let mut end = Self::guilty(direction, reason, violation.reason());
        end.cause = Cause::Order(violation);
        end.with_detail(violation.to_string())
    }

    const fn guilty(direction: Direction, reason: CloseReason, code: ReasonCode) -> Self {
        match direction {
            Direction::ToServer => Self::told(Side::Client, reason, code),
            // the client did nothing wrong: if it is told, that something else failed
            Direction::ToClient => {
                Self::told(Side::Upstream, reason, ReasonCode::UNSPECIFIED_ERROR)
            }
        }
    }

    /// Another protocol than MQTT: what came first from a side.
    #[cold]
    pub(crate) fn foreign(direction: Direction, foreign: Foreign) -> Self {
        let mut end = match direction {
            // it would not understand
            Direction::ToServer => {
                let end = Self::quiet(Side::Client, CloseReason::ProtocolError);
                end.with_detail(format!("{foreign} instead of CONNECT"))
            }
            Direction::ToClient => {
                Self::unreachable(format!("the broker answers CONNECT with {foreign}"))
            }
        };
        end.cause = Cause::Foreign(foreign);
        end
    }

    /// The broker cannot be reached, or does not answer CONNECT.
    pub(crate) fn unreachable(detail: impl Into<Cow<'static, str>>) -> Self {
        let code = ReasonCode::SERVER_UNAVAILABLE;
        Self::told(Side::Upstream, CloseReason::UpstreamUnreachable, code).with_detail(detail)
    }

    /// A hook that failed, panicked or took too long.
    #[cold]
    pub(crate) fn hook(detail: impl Into<Cow<'static, str>>) -> Self {
        let code = ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR;
        Self::told(Side::Proxy, CloseReason::HookFailed, code).with_detail(detail)
    }

    /// A defect of the proxy.
    #[cold]
    pub(crate) fn internal(detail: impl Into<Cow<'static, str>>) -> Self {
        let code = ReasonCode::UNSPECIFIED_ERROR;
        Self::told(Side::Proxy, CloseReason::Internal, code).with_detail(detail)
    }

    /// The hooks turn a client away.
    #[cold]
    pub(crate) fn denied(refusal: ConnectRefusal) -> Self {
        let ConnectRefusal { reason, text, by } = refusal;
        let code = match connack_code(reason) {
            // no CONNACK has the word: no is what it says all the same
            ReasonCode::UNSPECIFIED_ERROR if reason != ReasonCode::UNSPECIFIED_ERROR => {
                ReasonCode::NOT_AUTHORIZED
            }
            code => code,
        };
        Self::told(Side::Proxy, CloseReason::AuthDenied, code).refused(text, by.as_deref())
    }

    /// A hook panicked over a packet.
    #[cold]
    pub(crate) fn panic(what: impl fmt::Display, panic: &(dyn Any + Send)) -> Self {
        let what = format!("a hook panicked over {what}");
        Self::hook(with_message(what, panic)).panicked()
    }

    /// The session itself, or what dials for it, panicked while it did something.
    #[cold]
    pub(crate) fn defect(doing: &str, panic: &(dyn Any + Send)) -> Self {
        let what = format!("mproxy panicked while {doing}");
        Self::internal(with_message(what, panic)).panicked()
    }

    /// The connection to a side broke.
    #[cold]
    pub(crate) fn io(side: Side, error: &io::Error) -> Self {
        // a transport that gave up a peer which takes nothing; the kernel's own error has a number
        if error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none() {
            let mut end = Self::quiet(Side::Proxy, CloseReason::WriteTimeout);
            end.code = ReasonCode::UNSPECIFIED_ERROR;
            // who does not read is not told
            end.tell_client = side == Side::Upstream;
            return end
                .with_detail(match side {
                    Side::Upstream => "the broker takes no bytes",
                    _ => "the client takes no bytes",
                })
                .with_limit(Limit::WriteTimeout);
        }
        // and one that gave up a client which keeps it busy with nothing
        if (side, error.kind()) == (Side::Client, io::ErrorKind::QuotaExceeded)
            && error.raw_os_error().is_none()
        {
            return Self::quiet(Side::Proxy, CloseReason::RateLimited)
                .with_detail(error.to_string())
                .with_limit(Limit::MaxDenials);
        }
        let reason = match (side, error.kind()) {
            // a transport reports a breach of its own framing, WebSocket's for example, this way
            (Side::Client, io::ErrorKind::InvalidData) => CloseReason::Malformed,
            (Side::Client, _) => CloseReason::Reset,
            (_, _) => CloseReason::UpstreamEof,
        };
        Self::quiet(side, reason).with_detail(error.to_string())
    }
}

/// Adds the message of a panic, if it is a text, cut to a length that fits a line.
fn with_message(mut what: String, panic: &(dyn Any + Send)) -> String {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    if let Some(message) = message {
        let end = message.floor_char_boundary(SHOWN_PANIC);
        what.push_str(": ");
        what.push_str(&message[..end]);
    }
    what
}
