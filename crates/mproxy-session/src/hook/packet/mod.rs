//! A packet as hooks see it.

mod edit;
mod filters;
mod publish_ref;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use mproxy_codec::{
    Ack, Auth, Connack, DecodeError, Direction, Disconnect, Head, Kind, Publish, PublishLayout,
    Suback, Subscribe, Unsubscribe, Version, View,
};

use self::filters::Entries;
pub(crate) use self::filters::Entry;
pub use self::publish_ref::PublishRef;

/// A validated packet, owned, on its way through a packet stack.
///
/// Reading is free: fields are looked up in the received bytes. A packet that no hook changes is
/// forwarded as the very bytes that came.
pub struct Packet {
    frame: Bytes,
    kind: Kind,
    version: Version,
    direction: Direction,
    publish: Option<PublishLayout>,
    /// The topic name behind a topic alias, or the one that a hook chose.
    topic: Option<Arc<[u8]>>,
    /// What hooks decided on single filters; `None` while they decided nothing.
    entries: Option<Box<Entries>>,
}

impl Packet {
    /// A packet whose bytes have been validated.
    pub(crate) const fn new(
        kind: Kind,
        version: Version,
        direction: Direction,
        frame: Bytes,
        publish: Option<PublishLayout>,
        topic: Option<Arc<[u8]>>,
    ) -> Self {
        Self {
            frame,
            kind,
            version,
            direction,
            publish,
            topic,
            entries: None,
        }
    }

    /// Validates one whole packet, as a test or a caller outside a session does.
    ///
    /// # Errors
    /// Whatever the packet breaks; [`Truncated`](DecodeError::Truncated) or
    /// [`TrailingBytes`](DecodeError::TrailingBytes) when `frame` is not exactly one
    /// packet.
    pub fn parse(
        version: Version,
        direction: Direction,
        frame: Bytes,
    ) -> Result<Self, DecodeError> {
        let first = frame.first().copied().ok_or(DecodeError::Truncated)?;
        let kind = Head::check_first_byte(first, version, direction)?;
        let head = Head::parse(&frame)?.ok_or(DecodeError::Truncated)?;
        if head.total_len() < frame.len() {
            return Err(DecodeError::TrailingBytes);
        }
        let view = View::parse(version, direction, &frame)?.ok_or(DecodeError::Truncated)?;
        let publish = match view {
            View::Publish(publish) => Some(*publish.layout()),
            _ => None,
        };
        Ok(Self::new(kind, version, direction, frame, publish, None))
    }

    /// The packet type.
    #[inline]
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// The protocol version of the session.
    #[inline]
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Who sends it to whom.
    #[inline]
    #[must_use]
    pub const fn direction(&self) -> Direction {
        self.direction
    }

    /// The bytes: the whole packet, or a PUBLISH without its payload (see
    /// [`PublishRef::payload`]).
    #[inline]
    #[must_use]
    pub const fn as_bytes(&self) -> &Bytes {
        &self.frame
    }

    /// The PUBLISH, with its topic alias resolved.
    #[inline]
    #[must_use]
    pub fn publish(&self) -> Option<PublishRef<'_>> {
        let layout = self.publish?;
        let view = Publish::new(layout, &self.frame);
        Some(PublishRef {
            view,
            topic: self.topic.as_deref(),
        })
    }

    /// The CONNACK.
    #[must_use]
    pub fn connack(&self) -> Option<Connack<'_>> {
        match self.view()? {
            View::Connack(connack) => Some(connack),
            _ => None,
        }
    }

    /// The SUBSCRIBE as it will be forwarded: without the filters that a hook refused.
    #[must_use]
    pub fn subscribe(&self) -> Option<Subscribe<'_>> {
        match self.view()? {
            View::Subscribe(subscribe) => Some(subscribe),
            _ => None,
        }
    }

    /// The UNSUBSCRIBE as it will be forwarded.
    #[must_use]
    pub fn unsubscribe(&self) -> Option<Unsubscribe<'_>> {
        match self.view()? {
            View::Unsubscribe(unsubscribe) => Some(unsubscribe),
            _ => None,
        }
    }

    /// The SUBACK or UNSUBACK, with a code for each filter that the client asked for.
    #[must_use]
    pub fn suback(&self) -> Option<Suback<'_>> {
        match self.view()? {
            View::Suback(suback) | View::Unsuback(suback) => Some(suback),
            _ => None,
        }
    }

    /// The PUBACK, PUBREC, PUBREL or PUBCOMP.
    #[must_use]
    pub fn ack(&self) -> Option<Ack<'_>> {
        match self.view()? {
            View::Ack(ack) => Some(ack),
            _ => None,
        }
    }

    /// The DISCONNECT.
    #[must_use]
    pub fn disconnect(&self) -> Option<Disconnect<'_>> {
        match self.view()? {
            View::Disconnect(disconnect) => Some(disconnect),
            _ => None,
        }
    }

    /// The AUTH.
    #[must_use]
    pub fn auth(&self) -> Option<Auth<'_>> {
        match self.view()? {
            View::Auth(auth) => Some(auth),
            _ => None,
        }
    }

    fn view(&self) -> Option<View<'_>> {
        if self.publish.is_some() {
            return None; // read through `publish`, which needs no second validation
        }
        View::parse(self.version, self.direction, &self.frame).ok()?
    }

    /// True for the packet as it was offered: the very bytes, and nothing decided on filters.
    #[inline]
    pub(crate) fn is_untouched(&self, address: usize, len: usize) -> bool {
        self.frame.as_ptr().addr() == address && self.frame.len() == len && self.entries.is_none()
    }

    pub(crate) fn into_parts(self) -> Parts {
        Parts {
            frame: self.frame,
            publish: self.publish,
            topic: self.topic,
            entries: self.entries.map(|entries| entries.0),
        }
    }
}

impl fmt::Debug for Packet {
    /// Kind and size only: packets carry other people's data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packet")
            .field("kind", &self.kind)
            .field("version", &self.version)
            .field("direction", &self.direction)
            .field("len", &self.frame.len())
            .finish_non_exhaustive()
    }
}

/// What the session takes back from a packet.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) frame: Bytes,
    pub(crate) publish: Option<PublishLayout>,
    pub(crate) topic: Option<Arc<[u8]>>,
    pub(crate) entries: Option<Vec<Entry>>,
}
