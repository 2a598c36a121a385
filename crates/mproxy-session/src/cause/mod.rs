//! Why a session ended, with the error behind it. Side, reason, code, last packets and log line all
//! follow from the cause ([`Account`]), so that they cannot contradict each other.

mod account;
mod denial;
mod fault;

use std::any::Any;
use std::borrow::Cow;
use std::error::Error;
use std::sync::Arc;
use std::{fmt, io};

use mproxy_codec::{DecodeError, Direction, EncodeError, Foreign, Kind, ReasonCode};

pub(crate) use self::account::Account;
pub(crate) use self::denial::Denial;
use crate::BoxError;
use crate::admit::ConnectRefusal;
use crate::error::{Limit, Violation};
use crate::handle::{Order, When};
use crate::limits::Rate;
use crate::session::Busy;
use crate::summary::Side;

/// The error behind a cause. Shared, because a [`Summary`](crate::Summary) can be cloned.
pub(crate) type Source = Arc<dyn Error + Send + Sync>;

/// A cause as an error type: one word, because every packet's functions return it.
pub(crate) type End = Box<Cause>;

/// Maximum bytes of a panic message in a log line.
const SHOWN_PANIC: usize = 200;

/// Why a session ended.
#[derive(Debug, Clone)]
pub(crate) enum Cause {
    /// The sender in this direction broke the protocol, with a packet of this type if known.
    Fault {
        direction: Direction,
        packet: Option<Kind>,
        fault: Fault,
    },
    /// A client whose version is not served, or a bridge that is not let in.
    NotServed { detail: String, limit: Limit },
    /// A side sent DISCONNECT.
    Disconnected {
        direction: Direction,
        code: ReasonCode,
    },
    /// The broker's CONNACK refuses.
    RefusedByBroker(ReasonCode),
    /// The same with a return code of MQTT 3.1.1 that the client's version does not have.
    RefusedOtherwise(u8),
    /// A side closed its connection.
    Closed(Side),
    /// The connection to a side broke.
    Broke { side: Side, error: Arc<io::Error> },
    /// The client's turn at the broker did not come.
    Busy(Busy),
    /// The broker could not be dialled.
    NotDialled(Source),
    /// The hooks refused the client: at CONNECT, for its will, or after a change of rules.
    TurnedAway {
        refusal: ConnectRefusal,
        limit: Option<Limit>,
    },
    /// The rules have changed, and the session cannot go on under the new ones.
    RulesChanged(Change),
    /// A refused packet was one without which the session cannot go on.
    Denied { what: Denial, code: ReasonCode },
    /// A hook failed, panicked or took too long.
    Hook {
        detail: Cow<'static, str>,
        fault: HookFault,
    },
    /// Something did not happen in time.
    Overdue(Overdue),
    /// Too many packets of the client were refused.
    Denials(Rate),
    /// It was ordered from outside.
    Ordered(Order),
    /// A bug in the proxy.
    Defect { detail: String, panicked: bool },
}

/// How a packet broke the protocol.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// It is malformed. `detail` says more than the error.
    Format {
        error: DecodeError,
        detail: Option<String>,
    },
    /// It came when it was not allowed.
    Order(Violation),
    /// It belongs to another protocol.
    Foreign(Foreign),
    /// It has more bytes than a limit allows.
    TooLarge {
        what: &'static str,
        size: usize,
        limit: (Limit, usize),
    },
    /// It has more filters or topic levels than hooks may be asked about.
    TooMany {
        what: String,
        code: ReasonCode,
        limit: (Limit, usize),
    },
}

/// Why a running session cannot follow new rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// The broker knows the client by other names.
    Names,
    /// The hooks refuse the will that the broker has.
    Will,
    /// The hooks refuse a shared subscription that the broker has granted.
    Shared,
    /// The topic of an alias was not remembered, because no hook looked at topics.
    Alias,
}

/// How a hook failed.
#[derive(Debug, Clone)]
pub(crate) enum HookFault {
    /// It returned an error, or a packet that must not be sent.
    Failed(Option<Source>),
    Panicked,
    Late(Limit),
}

/// What did not happen in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overdue {
    /// The client's CONNECT.
    Connect,
    /// The connection to the broker.
    Dial,
    /// The broker's CONNACK.
    Connack,
    /// Any packet of the client.
    KeepAlive,
    /// A write to the receiver of this direction.
    Write(Direction),
    /// The rest of a packet from the sender of this direction.
    Packet(Direction),
    /// The broker's answers to SUBSCRIBE and UNSUBSCRIBE.
    Answers,
    /// The client to accept all that waits for it.
    Consumer,
}

impl Cause {
    /// A packet that could not be parsed.
    #[cold]
    pub(crate) fn malformed(
        direction: Direction,
        packet: impl Into<Option<Kind>>,
        error: DecodeError,
    ) -> End {
        let detail = None;
        Self::fault(direction, packet, Fault::Format { error, detail })
    }

    /// A packet that came when it was not allowed.
    #[cold]
    pub(crate) fn violation(
        direction: Direction,
        packet: impl Into<Option<Kind>>,
        violation: Violation,
    ) -> End {
        Self::fault(direction, packet, Fault::Order(violation))
    }

    #[cold]
    pub(crate) fn fault(
        direction: Direction,
        packet: impl Into<Option<Kind>>,
        fault: Fault,
    ) -> End {
        Box::new(Self::Fault {
            direction,
            packet: packet.into(),
            fault,
        })
    }

    /// A packet of the client with more filters or levels than a limit allows.
    #[cold]
    pub(crate) fn too_many(
        packet: Kind,
        what: String,
        code: ReasonCode,
        limit: (Limit, usize),
    ) -> End {
        let fault = Fault::TooMany { what, code, limit };
        Self::fault(Direction::ToServer, packet, fault)
    }

    /// A refusal after which the session cannot go on.
    #[cold]
    pub(crate) fn denied(what: Denial, code: ReasonCode) -> End {
        Box::new(Self::Denied { what, code })
    }

    /// The hooks refuse a client, because of this field of [`Limits`](crate::Limits) if there is one.
    #[cold]
    pub(crate) fn turned_away(refusal: ConnectRefusal, limit: impl Into<Option<Limit>>) -> End {
        let limit = limit.into();
        Box::new(Self::TurnedAway { refusal, limit })
    }

    /// The broker could not be dialled.
    #[cold]
    pub(crate) fn not_dialled(error: BoxError) -> End {
        Box::new(Self::NotDialled(error.into()))
    }

    /// A hook returned a packet that must not be sent.
    #[cold]
    pub(crate) fn hook(detail: impl Into<Cow<'static, str>>) -> End {
        let (detail, fault) = (detail.into(), HookFault::Failed(None));
        Box::new(Self::Hook { detail, fault })
    }

    /// A hook returned an error.
    #[cold]
    pub(crate) fn hook_failed(what: impl fmt::Display, error: BoxError) -> End {
        let detail = format!("{what}: {error}").into();
        let fault = HookFault::Failed(Some(error.into()));
        Box::new(Self::Hook { detail, fault })
    }

    /// A hook took longer than this limit.
    #[cold]
    pub(crate) fn hook_late(detail: impl Into<Cow<'static, str>>, limit: Limit) -> End {
        let (detail, fault) = (detail.into(), HookFault::Late(limit));
        Box::new(Self::Hook { detail, fault })
    }

    /// A hook panicked at a packet.
    #[cold]
    pub(crate) fn panic(what: impl fmt::Display, panic: &(dyn Any + Send)) -> End {
        let detail = with_message(format!("a hook panicked over {what}"), panic).into();
        let fault = HookFault::Panicked;
        Box::new(Self::Hook { detail, fault })
    }

    /// The session itself, or code of others that is no hook, panicked.
    #[cold]
    pub(crate) fn defect(who_and_when: &str, panic: &(dyn Any + Send)) -> End {
        Box::new(Self::Defect {
            detail: with_message(who_and_when.to_owned(), panic),
            panicked: true,
        })
    }

    /// Something that should be impossible.
    #[cold]
    pub(crate) fn internal(detail: impl Into<String>) -> End {
        Box::new(Self::Defect {
            detail: detail.into(),
            panicked: false,
        })
    }

    /// Two sessions were given one handle. What is counted, ordered and noticed through it would be of both.
    #[cold]
    pub(crate) fn handle_in_use() -> End {
        Self::internal("its SessionHandle belongs to another session: make one for each session")
    }

    /// The proxy could not write a packet that it has read.
    #[cold]
    pub(crate) fn encode(error: EncodeError) -> End {
        Self::internal(error.to_string())
    }

    /// The connection to a side broke.
    #[cold]
    pub(crate) fn broke(side: Side, error: io::Error) -> End {
        let error = Arc::new(error);
        Box::new(Self::Broke { side, error })
    }

    /// The memory budget has no room for the connection.
    #[cold]
    pub(crate) fn overload() -> End {
        Order::overload().into()
    }
}

impl From<Order> for End {
    fn from(order: Order) -> Self {
        Self::new(Cause::Ordered(order))
    }
}

impl Cause {
    /// The reason code of the packet by which a side ended the session.
    pub(crate) const fn received(&self) -> Option<ReasonCode> {
        match self {
            Self::Disconnected { code, .. } | Self::RefusedByBroker(code) => Some(*code),
            Self::RefusedOtherwise(code) => Some(ReasonCode::of_connect_return_code(*code)),
            _ => None,
        }
    }

    /// The type of the packet that ended it.
    pub(crate) const fn packet(&self) -> Option<Kind> {
        match self {
            Self::Fault { packet, .. } => *packet,
            Self::Disconnected { .. } => Some(Kind::Disconnect),
            Self::RefusedByBroker(_) | Self::RefusedOtherwise(_) => Some(Kind::Connack),
            Self::Denied { what, .. } => what.packet(),
            _ => None,
        }
    }

    /// The error behind it.
    pub(crate) fn source(&self) -> Option<Source> {
        match self {
            Self::Fault { fault, .. } => match fault {
                Fault::Format { error, .. } => Some(Arc::new(*error)),
                Fault::Order(violation) => Some(Arc::new(*violation)),
                _ => None,
            },
            Self::Broke { error, .. } => Some(error.clone()),
            Self::NotDialled(error) => Some(error.clone()),
            Self::TurnedAway { refusal, .. } => Some(Arc::new(refusal.clone())),
            Self::Hook {
                fault: HookFault::Failed(source),
                ..
            } => source.clone(),
            _ => None,
        }
    }

    /// True for a CONNECT that is valid apart from a control character.
    pub(crate) const fn is_control_character(&self) -> bool {
        matches!(
            self,
            Self::Fault {
                fault: Fault::Format {
                    error: DecodeError::ControlCharacter,
                    ..
                },
                ..
            }
        )
    }

    /// Another protocol that a side used instead of MQTT.
    pub(crate) const fn foreign(&self) -> Option<Foreign> {
        match self {
            Self::Fault {
                fault: Fault::Foreign(foreign),
                ..
            } => Some(*foreign),
            _ => None,
        }
    }

    /// True when a hook or the session itself panicked.
    pub(crate) const fn panicked(&self) -> bool {
        matches!(
            self,
            Self::Hook {
                fault: HookFault::Panicked,
                ..
            } | Self::Defect { panicked: true, .. }
        )
    }

    /// How long the rest may take to be written.
    pub(crate) const fn when(&self) -> When {
        match self {
            Self::Ordered(order) => order.when,
            _ => When::Border,
        }
    }

    /// True if the broker must discard the will. A client that new rules refuse must not publish
    /// one either: its will was judged by the old rules.
    pub(crate) const fn suppresses_will(&self) -> bool {
        match self {
            Self::Ordered(order) => order.suppress_will,
            Self::TurnedAway { .. } | Self::RulesChanged(_) => true,
            _ => false,
        }
    }
}

/// Adds the message of a panic, if it is text, cut to fit a log line.
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

#[cfg(test)]
mod tests;
