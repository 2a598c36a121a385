//! What logs, metrics and the client learn about a cause.

use std::borrow::Cow;
use std::io;

use mproxy_codec::{Direction, ReasonCode, Version};

use super::{Cause, Change, HookFault, Overdue};
use crate::admit::ConnectRefusal;
use crate::error::Limit;
use crate::handle::Order;
use crate::limits::{Conformance, Limits, WhenUnreachable};
use crate::reply::connack_code;
use crate::summary::{CloseReason, Side};

/// The account of an end: who, why, and which texts.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) side: Side,
    pub(crate) reason: CloseReason,
    code: ReasonCode,
    /// The text for the log, with the broken statement.
    pub(crate) detail: Option<String>,
    /// The field of [`Limits`] that ended the session.
    pub(crate) limit: Option<&'static str>,
    /// Whether to tell the client: it does not know yet, and can receive it.
    is_told: bool,
}

impl Account {
    /// The client is told, if [policy](Self::last_words) allows.
    pub(super) const fn told(side: Side, reason: CloseReason, code: ReasonCode) -> Self {
        Self {
            side,
            reason,
            code,
            detail: None,
            limit: None,
            is_told: true,
        }
    }

    /// The client knows already, or cannot receive anything.
    const fn quiet(side: Side, reason: CloseReason) -> Self {
        Self::told(side, reason, ReasonCode::SUCCESS).only_if(false)
    }

    pub(super) const fn only_if(mut self, is_told: bool) -> Self {
        self.is_told = is_told;
        self
    }

    pub(super) fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into().into_owned());
        self
    }

    pub(super) fn limit(mut self, limit: impl Into<Option<Limit>>) -> Self {
        self.limit = limit.into().and_then(Limit::field);
        self
    }

    /// The broker cannot be reached, or does not answer CONNECT.
    pub(super) fn unreachable(detail: impl Into<Cow<'static, str>>) -> Self {
        let code = ReasonCode::SERVER_UNAVAILABLE;
        Self::told(Side::Upstream, CloseReason::UpstreamUnreachable, code).detail(detail)
    }

    fn hook(detail: Cow<'static, str>) -> Self {
        let code = ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR;
        Self::told(Side::Proxy, CloseReason::HookFailed, code).detail(detail)
    }

    /// The code and text of the proxy's own CONNACK or DISCONNECT, if the client gets one: a CONNACK
    /// if it has none yet (`answered` is false), a DISCONNECT afterwards.
    ///
    /// The proxy sends its own packet if a layer refused, if the client broke the protocol,
    /// and on an operator's order. In all other cases the client sees what it would see from the
    /// broker: the end of the connection. Many clients take a CONNACK or DISCONNECT with an error as
    /// final and never reconnect.
    pub(crate) fn last_words<'a>(
        &'a self,
        cause: &'a Cause,
        answered: bool,
        limits: &Limits,
    ) -> Option<(ReasonCode, Option<&'a str>)> {
        let lets = match (self.side, self.reason) {
            (Side::Upstream, _) | (_, CloseReason::UpstreamUnreachable) => {
                !answered && limits.when_unreachable == WhenUnreachable::Connack
            }
            // brokers close such a client without a packet, and so does a broken cable
            (
                Side::Proxy,
                CloseReason::KeepaliveTimeout
                | CloseReason::PacketTimeout
                | CloseReason::WriteTimeout
                | CloseReason::Internal,
            ) => limits.conformance == Conformance::Strict,
            _ => true,
        };
        (self.is_told && lets).then(|| (self.code, self.text(cause)))
    }

    /// The text for the Reason String: what the client did wrong, but not what is wrong in the proxy, nor
    /// which layer refused it.
    fn text<'a>(&'a self, cause: &'a Cause) -> Option<&'a str> {
        match (cause, self.reason) {
            (Cause::TurnedAway { refusal, .. }, _) => {
                let text = refusal.text.as_deref().filter(|text| !text.is_empty())?;
                Some(&text[..text.floor_char_boundary(u16::MAX.into())])
            }
            // the client may read this version differently: say no more than necessary
            (_, CloseReason::UnsupportedVersion) => None,
            (_, CloseReason::AuthDenied) => self.detail.as_deref(),
            _ => self.detail.as_deref().filter(|_| self.side == Side::Client),
        }
    }
}

impl Cause {
    /// The account of it. `answered` says that the client has a CONNACK, and `version` is the session's,
    /// if it is known.
    pub(crate) fn account(&self, answered: bool, version: Option<Version>) -> Account {
        match self {
            Self::Fault {
                direction: Direction::ToServer,
                packet,
                fault,
            } => fault.of_client(*packet, version),
            Self::Fault { fault, .. } => fault.of_broker(answered, version),
            Self::NotServed { detail, limit } => {
                let code = ReasonCode::UNSUPPORTED_PROTOCOL_VERSION;
                Account::told(Side::Proxy, CloseReason::UnsupportedVersion, code)
                    .detail(detail.clone())
                    .limit(*limit)
            }
            Self::Disconnected { direction, code } => disconnected(*direction, *code),
            Self::RefusedByBroker(_) => refused_by_broker(),
            Self::RefusedOtherwise(code) => match code {
                ..=5 => {
                    refused_by_broker().detail("the broker refused in the format of MQTT 3.1.1")
                }
                6.. => refused_by_broker().detail(format!(
                    "the broker refused with return code {code}, one of its own: MQTT has 1 to 5"
                )),
            },
            Self::Closed(Side::Client) => Account::quiet(Side::Client, CloseReason::Eof),
            Self::Closed(_) if answered => Account::quiet(Side::Upstream, CloseReason::UpstreamEof)
                .detail("the broker closed the connection"),
            Self::Closed(_) => Account::unreachable(
                "the broker closed the connection instead of answering CONNECT",
            ),
            Self::Broke { side, error } => broke(*side, error, answered),
            Self::Busy(busy) => {
                let code = ReasonCode::SERVER_BUSY;
                Account::told(Side::Proxy, CloseReason::UpstreamBusy, code)
                    .only_if(busy.is_told)
                    .detail(busy.why.detail())
                    .limit(busy.why.limit())
            }
            Self::NotDialled(error) => Account::unreachable(error.to_string()),
            Self::RulesChanged(change) => rules_changed(*change),
            Self::TurnedAway { refusal, limit } => turned_away(refusal, *limit, answered),
            Self::Denied { what, code } => what.account(*code),
            Self::Hook { detail, fault } => Account::hook(detail.clone()).limit(match fault {
                HookFault::Late(limit) => Some(*limit),
                HookFault::Failed(_) | HookFault::Panicked => None,
            }),
            Self::Overdue(what) => what.account(),
            Self::Denials(rate) => {
                let (count, period) = (rate.count, rate.period);
                let code = ReasonCode::QUOTA_EXCEEDED;
                Account::told(Side::Proxy, CloseReason::RateLimited, code)
                    .limit(Limit::MaxDenials)
                    .detail(format!(
                        "more than {count} packets of the client were refused in {period:?}"
                    ))
            }
            Self::Ordered(order) => ordered(*order),
            Self::Defect { detail, .. } => {
                let code = ReasonCode::UNSPECIFIED_ERROR;
                Account::told(Side::Proxy, CloseReason::Internal, code).detail(detail.clone())
            }
        }
    }
}

/// The client has the CONNACK.
const fn refused_by_broker() -> Account {
    Account::quiet(Side::Upstream, CloseReason::UpstreamRefused)
}

/// Not told: the client takes that for a network failure, and reconnects.
fn rules_changed(change: Change) -> Account {
    Account::quiet(Side::Proxy, CloseReason::RulesChanged).detail(match change {
        Change::Names => "under the new rules, the client has another client identifier or user name at the broker",
        Change::Will => "the new rules do not allow the client's will",
        Change::Shared => {
            "the rules do not allow a shared subscription of the client any more, or it has too many"
        }
        Change::Alias => {
            "the packet uses a topic alias from before the rules changed, whose topic is not known"
        }
    })
}

fn turned_away(refusal: &ConnectRefusal, limit: Option<Limit>, answered: bool) -> Account {
    let code = match connack_code(refusal.reason) {
        // DISCONNECT has other codes
        _ if answered => match refusal.reason {
            code if code.is_error() && code.is_valid_in_server_disconnect() => code,
            _ => ReasonCode::NOT_AUTHORIZED,
        },
        // CONNACK does not have this code, but it refuses anyway
        ReasonCode::UNSPECIFIED_ERROR if refusal.reason != ReasonCode::UNSPECIFIED_ERROR => {
            ReasonCode::NOT_AUTHORIZED
        }
        code => code,
    };
    let parts = [refusal.text.as_deref(), refusal.by.as_deref()];
    let parts = parts.into_iter().flatten().filter(|part| !part.is_empty());
    let detail = parts.collect::<Vec<_>>().join(": ");
    let mut account = Account::told(Side::Proxy, CloseReason::AuthDenied, code).limit(limit);
    account.detail = Some(detail).filter(|detail| !detail.is_empty());
    account
}

fn ordered(order: Order) -> Account {
    let account = Account::told(Side::Proxy, order.reason, order.reason_code).only_if(order.notice);
    match order.reason {
        CloseReason::Overload => account
            .limit(Limit::Memory)
            .detail("there is no memory left for the connection"),
        _ => account,
    }
}

fn disconnected(direction: Direction, code: ReasonCode) -> Account {
    match (direction, code) {
        (Direction::ToServer, ReasonCode::DISCONNECT_WITH_WILL) => {
            Account::quiet(Side::Client, CloseReason::DisconnectWithWill)
        }
        (Direction::ToServer, _) => Account::quiet(Side::Client, CloseReason::Disconnect),
        (Direction::ToClient, ReasonCode::SESSION_TAKEN_OVER) => {
            Account::quiet(Side::Upstream, CloseReason::SessionTakenOver)
        }
        (Direction::ToClient, _) => Account::quiet(Side::Upstream, CloseReason::UpstreamDisconnect),
    }
}

fn broke(side: Side, error: &io::Error, answered: bool) -> Account {
    // errors of the kernel have a number, errors of the proxy's transports do not
    let is_own = error.raw_os_error().is_none();
    match (side, error.kind()) {
        // a transport closed a peer that does not read
        (_, io::ErrorKind::TimedOut) if is_own => Overdue::Write(match side {
            Side::Upstream => Direction::ToServer,
            _ => Direction::ToClient,
        })
        .account(),
        // a transport closed a client that sends nothing but empty frames
        (Side::Client, io::ErrorKind::QuotaExceeded) if is_own => {
            Account::quiet(Side::Proxy, CloseReason::RateLimited)
                .detail(error.to_string())
                .limit(Limit::MaxDenials)
        }
        // a transport reports errors of its own framing, such as WebSocket's, this way
        (Side::Client, io::ErrorKind::InvalidData) => {
            Account::quiet(side, CloseReason::Malformed).detail(error.to_string())
        }
        (Side::Client, _) => Account::quiet(side, CloseReason::Reset).detail(error.to_string()),
        _ if answered => Account::quiet(side, CloseReason::UpstreamEof).detail(error.to_string()),
        // a broker that breaks before it has answered counts as unreachable
        (_, io::ErrorKind::InvalidData) => {
            Account::unreachable(format!("the broker did not answer CONNECT: {error}"))
        }
        _ => Account::unreachable(format!(
            "the broker reset the connection instead of answering CONNECT: {error}"
        )),
    }
}

impl Overdue {
    fn account(self) -> Account {
        let (reason, detail, limit) = match self {
            Self::Connect => (
                CloseReason::ConnectTimeout,
                "no complete CONNECT came in time",
                Limit::ConnectTimeout,
            ),
            Self::Dial => {
                let account = Account::unreachable("connecting to the broker took too long");
                let side = Side::Proxy;
                return Account { side, ..account }.limit(Limit::DialTimeout);
            }
            Self::Connack => {
                let account = Account::unreachable("the broker did not answer CONNECT in time");
                let side = Side::Proxy;
                return Account { side, ..account }.limit(Limit::ConnackTimeout);
            }
            Self::KeepAlive => {
                let code = ReasonCode::KEEP_ALIVE_TIMEOUT;
                return Account::told(Side::Proxy, CloseReason::KeepaliveTimeout, code);
            }
            Self::Write(direction) => (
                CloseReason::WriteTimeout,
                match direction {
                    Direction::ToServer => "the broker accepts no data",
                    Direction::ToClient => "the client accepts no data",
                },
                Limit::WriteTimeout,
            ),
            Self::Packet(direction) => (
                CloseReason::PacketTimeout,
                match direction {
                    Direction::ToServer => "the client did not finish a packet in time",
                    Direction::ToClient => "the broker did not finish a packet in time",
                },
                Limit::PacketTimeout,
            ),
            Self::Consumer => {
                let code = ReasonCode::QUOTA_EXCEEDED;
                return Account::told(Side::Proxy, CloseReason::SlowConsumer, code)
                    .limit(Limit::SlowConsumer)
                    .detail("the client accepts less than the broker sends");
            }
            Self::Answers => (
                CloseReason::WriteTimeout,
                "the broker does not answer SUBSCRIBE and UNSUBSCRIBE",
                Limit::WriteTimeout,
            ),
        };
        Account::told(Side::Proxy, reason, ReasonCode::UNSPECIFIED_ERROR)
            // a client that does not read, or has not sent its CONNECT, is not told
            .only_if(!matches!(
                self,
                Self::Connect | Self::Write(Direction::ToClient)
            ))
            .detail(detail)
            .limit(limit)
    }
}
