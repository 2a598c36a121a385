//! What must be known about an offered packet when its verdict comes.

use std::fmt;

use bytes::Bytes;
use mproxy_codec::{Direction, Kind, PublishLayout, QoS, ReasonCode, Version, View};

use crate::cause::{Cause, End};
use crate::error::packet_name;
use crate::hook::Packet;
use crate::rules::Shared;

/// An offered packet.
#[derive(Clone, Debug)]
pub(super) struct Offered {
    direction: Direction,
    /// Address and length of the frame: the same afterwards means unchanged.
    address: usize,
    len: usize,
    pub(super) subject: Subject,
}

/// The kind of a packet, as far as applying its verdict depends on it.
#[derive(Clone, Debug)]
pub(super) enum Subject {
    /// A PUBLISH; `left` bytes of its payload are still to come.
    Publish { layout: PublishLayout, left: usize },
    /// A SUBSCRIBE or UNSUBSCRIBE: the proxy can answer it itself.
    Request(Request),
    /// A CONNACK: the session cannot go on without it.
    Connack(ReasonCode),
    /// An AUTH: without it, the identity of the client is unknown.
    Auth,
    /// A DISCONNECT, which is forwarded whatever the hooks decide.
    Disconnect { code: ReasonCode, frame: Bytes },
    /// Any other packet, which is also forwarded.
    Other {
        kind: Kind,
        id: Option<u16>,
        frame: Bytes,
    },
}

/// A SUBSCRIBE or UNSUBSCRIBE.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) kind: Kind,
    pub(super) id: u16,
    pub(super) filters: usize,
    pub(super) shared: Box<[Shared]>,
}

impl Subject {
    /// The subject of a packet other than PUBLISH.
    pub(super) fn of(view: &View<'_>, frame: &Bytes, version: Version) -> Self {
        let other = |kind, id| Self::Other {
            kind,
            id,
            frame: frame.clone(),
        };
        let request = |kind, id, filters| {
            Self::Request(Request {
                kind,
                id,
                filters,
                shared: Shared::of(view),
            })
        };
        match view {
            View::Subscribe(it) => request(Kind::Subscribe, it.packet_id(), it.len()),
            View::Unsubscribe(it) => request(Kind::Unsubscribe, it.packet_id(), it.len()),
            View::Connack(connack) => Self::Connack(connack.reason(version)),
            View::Auth(_) => Self::Auth,
            View::Disconnect(disconnect) => Self::Disconnect {
                code: disconnect.reason,
                frame: frame.clone(),
            },
            View::Ack(ack) => other(ack.kind, Some(ack.packet_id)),
            View::Suback(suback) => other(Kind::Suback, Some(suback.packet_id)),
            View::Unsuback(unsuback) => other(Kind::Unsuback, Some(unsuback.packet_id)),
            View::Pingreq => other(Kind::Pingreq, None),
            View::Pingresp => other(Kind::Pingresp, None),
            // handled elsewhere: see `publish`, and the opening of a session
            View::Publish(_) => other(Kind::Publish, None),
            View::Connect(_) => other(Kind::Connect, None),
        }
    }

    pub(super) const fn kind(&self) -> Kind {
        match self {
            Self::Publish { .. } => Kind::Publish,
            Self::Request(request) => request.kind,
            Self::Connack(_) => Kind::Connack,
            Self::Auth => Kind::Auth,
            Self::Disconnect { .. } => Kind::Disconnect,
            Self::Other { kind, .. } => *kind,
        }
    }

    fn packet_id(&self) -> Option<u16> {
        match self {
            Self::Publish { layout, .. } => layout.packet_id(),
            Self::Request(request) => Some(request.id),
            Self::Other { id, .. } => *id,
            _ => None,
        }
    }
}

impl Offered {
    #[inline]
    pub(super) fn new(direction: Direction, frame: &Bytes, subject: Subject) -> Self {
        Self {
            direction,
            address: frame.as_ptr().addr(),
            len: frame.len(),
            subject,
        }
    }

    pub(super) const fn kind(&self) -> Kind {
        self.subject.kind()
    }

    /// Bytes of the frame.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// True for the offered frame, unchanged.
    pub(super) fn is(&self, frame: &[u8]) -> bool {
        frame.as_ptr().addr() == self.address && frame.len() == self.len
    }

    /// True if hooks have neither changed the frame nor decided on single filters.
    #[inline]
    pub(super) fn is_untouched(&self, packet: &Packet) -> bool {
        packet.is_untouched(self.address, self.len)
    }

    /// Checks that hooks forward the packet that they were offered, changed or not: its sender waits
    /// for the answer to this packet, and its receiver must not get another.
    pub(super) fn check(&self, packet: &Packet, version: Version) -> Result<(), End> {
        let id = packet.packet_id();
        let is_publish = matches!(self.subject, Subject::Publish { .. });
        // a hook may make a PUBLISH one of QoS 0
        let is_lowered = is_publish && id.is_none();
        let is_same =
            packet.kind() == self.kind() && (id == self.subject.packet_id() || is_lowered);
        let filters = match &self.subject {
            Subject::Request(request) => request.filters,
            _ => 0,
        };
        let difference = if packet.is_will() {
            ", a will,".to_owned()
        } else if packet.is_renewal() {
            ", one from before,".to_owned()
        } else if packet.direction() != self.direction {
            of(packet.direction()).to_owned()
        } else if packet.version() != version {
            format!(" of MQTT {}", packet.version())
        } else if !is_same {
            String::new()
        } else if packet.asked() != filters {
            " with another number of filters".to_owned()
        } else {
            let (Subject::Publish { layout, left }, Some(publish)) =
                (&self.subject, packet.publish())
            else {
                return Ok(());
            };
            let qos = publish.qos();
            if qos != layout.qos() && qos != QoS::AtMostOnce {
                " with another QoS".to_owned()
            } else if publish.topic_bytes().is_empty() {
                " without a topic name".to_owned()
            } else if !publish.is_followed_by(*left) {
                // the rest of the payload follows this head
                " with another payload".to_owned()
            } else {
                return Ok(());
            }
        };
        let forwarded = named(&packet_name(packet.kind()), id);
        Err(Cause::hook(format!(
            "a hook forwarded {forwarded}{difference} in place of {self}"
        )))
    }
}

impl fmt::Display for Offered {
    /// Names the packet for a line of the log: `PUBLISH 7 of the client`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = named(&packet_name(self.kind()), self.subject.packet_id());
        write!(f, "{name}{}", of(self.direction))
    }
}

/// A packet type and, if there is one, the packet identifier.
fn named(name: &str, id: Option<u16>) -> String {
    id.map_or_else(|| name.to_owned(), |id| format!("{name} {id}"))
}

const fn of(direction: Direction) -> &'static str {
    match direction {
        Direction::ToServer => " of the client",
        Direction::ToClient => " of the broker",
    }
}
