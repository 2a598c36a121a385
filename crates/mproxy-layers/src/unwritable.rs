//! Handles packets that cannot be written as a layer changed them: they would be too large or,
//! against all expectation, not valid. They must not be forwarded unchanged.

use mproxy_codec::{EncodeError, Kind, ReasonCode};
use mproxy_session::{ConnectRefusal, HeadOnly, PacketHead, Verdict};

use crate::{Action, Observer};

/// For what a client sends, including wills.
#[cold]
pub(crate) fn refuse(
    observer: &impl Observer,
    what: Sent,
    error: EncodeError,
) -> Verdict<HeadOnly> {
    what.count(observer);
    Verdict::Refuse(error.into())
}

/// Of a CONNECT.
#[cold]
pub(crate) fn refuse_connect(observer: &impl Observer, error: EncodeError) -> ConnectRefusal {
    observer.connect(false);
    ConnectRefusal::new(ReasonCode::PACKET_TOO_LARGE).with_text(error.to_string())
}

/// What a client sends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    kind: Kind,
    is_will: bool,
}

impl Sent {
    pub(crate) fn of(packet: &PacketHead) -> Self {
        Self {
            kind: packet.kind(),
            is_will: packet.is_will(),
        }
    }

    /// Counts that it is refused.
    pub(crate) fn count(self, observer: &impl Observer) {
        match (self.kind, self.is_will) {
            (_, true) => observer.decision(Action::Will, false),
            (Kind::Publish, _) => observer.decision(Action::Publish, false),
            (Kind::Subscribe, _) => observer.decision(Action::Subscribe, false),
            (Kind::Unsubscribe, _) => observer.unsubscribe_refused(),
            // nobody refuses another one
            _ => {}
        }
    }
}
