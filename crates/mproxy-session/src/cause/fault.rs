//! What logs, metrics and the client learn about a packet that broke the protocol.

use mproxy_codec::{DecodeError, Kind, ReasonCode, Version};

use super::Fault;
use super::account::Account;
use crate::error::Violation;
use crate::summary::{CloseReason, Side};

impl Fault {
    pub(super) fn of_client(&self, packet: Option<Kind>, version: Option<Version>) -> Account {
        let (reason, code) = match self {
            Self::Format { error, .. } => {
                let reason = match error {
                    DecodeError::PacketTooLarge => CloseReason::PacketTooLarge,
                    DecodeError::ProtocolLevel
                    | DecodeError::ProtocolMismatch
                    | DecodeError::ProtocolName => CloseReason::UnsupportedVersion,
                    error if error.reason() == ReasonCode::MALFORMED_PACKET => {
                        CloseReason::Malformed
                    }
                    _ => CloseReason::ProtocolError,
                };
                (reason, error.reason())
            }
            Self::Order(violation) => (CloseReason::ProtocolError, violation.reason()),
            Self::Foreign(_) => (CloseReason::ProtocolError, ReasonCode::SUCCESS),
            Self::TooLarge { .. } => {
                let code = DecodeError::PacketTooLarge.reason();
                (CloseReason::PacketTooLarge, code)
            }
            Self::TooMany { code, .. } => (CloseReason::PacketTooLarge, *code),
        };
        let is_told = match self {
            // MQTT 3.x has codes for these only; everything else just closes
            Self::Format { error, .. } if packet == Some(Kind::Connect) => {
                version.is_some_and(Version::is_v5)
                    || matches!(
                        error,
                        DecodeError::ProtocolLevel
                            | DecodeError::ProtocolMismatch
                            | DecodeError::EmptyClientId
                    )
            }
            // it would not understand a CONNACK
            Self::Foreign(_) => false,
            _ => true,
        };
        let account = Account::told(Side::Client, reason, code).only_if(is_told);
        self.describe(account, "instead of CONNECT", version)
    }

    pub(super) fn of_broker(&self, answered: bool, version: Option<Version>) -> Account {
        if let Self::Foreign(foreign) = self {
            return Account::unreachable(format!("the broker answers CONNECT with {foreign}"));
        }
        // the client did nothing wrong: if it is told, then that something else failed
        let code = if answered {
            ReasonCode::UNSPECIFIED_ERROR
        } else {
            ReasonCode::SERVER_UNAVAILABLE
        };
        let account = Account::told(Side::Upstream, CloseReason::UpstreamProtocolError, code);
        self.describe(account, "", version)
    }

    fn describe(&self, account: Account, place: &str, version: Option<Version>) -> Account {
        let statement_of = version.unwrap_or(Version::V311);
        match self {
            Self::Format { error, detail } => {
                let text = detail.clone().unwrap_or_else(|| error.to_string());
                let mut account =
                    account.detail(format!("{text} [{}]", error.statement(statement_of)));
                account.limit = field_of(*error, version);
                account
            }
            Self::Order(violation) => {
                let statement = violation.statement(statement_of);
                let mut account = account.detail(format!("{violation} [{statement}]"));
                account.limit = match violation {
                    Violation::UnexpectedSession => Some("conformance"),
                    Violation::ReceiveMaximum => Some("receive_maximum"),
                    _ => None,
                };
                account
            }
            Self::Foreign(foreign) => account.detail(format!("{foreign} {place}")),
            // no statement: it is about what CONNACK announced, which may not be the cause
            Self::TooLarge { what, size, limit } => {
                let (name, value) = (limit.0.field().unwrap_or("what CONNACK announced"), limit.1);
                let allows = format!("is larger than {name} allows: {value} bytes");
                account
                    .detail(format!("{what} of {size} bytes {allows}"))
                    .limit(limit.0)
            }
            Self::TooMany { what, limit, .. } => {
                let (name, value) = (limit.0.field().unwrap_or_default(), limit.1);
                account
                    .detail(format!("{what} than {name} allows: {value}"))
                    .limit(limit.0)
            }
        }
    }
}

/// The field of [`Limits`](crate::Limits) that makes this an error.
fn field_of(error: DecodeError, version: Option<Version>) -> Option<&'static str> {
    match error {
        DecodeError::ControlCharacter => Some("control_characters"),
        // slips that `Tolerant` repairs: see the codec's `tolerance`
        DecodeError::WillQosWithoutWill
        | DecodeError::WillRetainWithoutWill
        | DecodeError::ReservedFlags => (version == Some(Version::V31)).then_some("conformance"),
        DecodeError::DupQosZero | DecodeError::SessionPresentOnFailure => Some("conformance"),
        _ => None,
    }
}
