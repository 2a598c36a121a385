//! A packet as hooks see it.

mod edit;
mod filters;
mod publish_ref;
mod will;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use bytes::Bytes;
use mproxy_codec::{
    Ack, Auth, Connack, DecodeError, Direction, Disconnect, EncodeError, Head, Kind, Publish,
    PublishLayout, RequestLayout, Suback, Subscribe, Unsubscribe, Version, View,
};

use self::filters::Entries;
pub(crate) use self::filters::Entry;
pub use self::publish_ref::PublishRef;

/// A validated packet, owned, on its way through a packet stack.
///
/// Reading costs nothing: fields are looked up in the received bytes. A packet that no hook changes is
/// forwarded as exactly the received bytes.
///
/// `P` says how much of a PUBLISH it has: a [`Whole`] one has its payload, a
/// [`HeadOnly`] one may not, and has no methods for it. All other packets are whole.
pub struct Packet<P = Whole> {
    raw: Raw,
    reach: PhantomData<fn() -> P>,
}

/// A PUBLISH without its payload, or any other packet: what a
/// [`head_only`](crate::Tap::head_only) tap offers.
///
/// A payload that was not seen cannot be allowed, so a head has no methods to judge or replace it. Neither of
/// these compiles:
///
/// ```compile_fail,E0599
/// # use mproxy_session::PacketHead;
/// fn is_clean(packet: &PacketHead) -> bool {
///     packet.publish().is_some_and(|publish| !publish.payload().contains(&b'!'))
/// }
/// ```
///
/// ```compile_fail,E0599
/// # use mproxy_session::PacketHead;
/// fn censor(packet: &mut PacketHead) {
///     let _ = packet.set_payload(b"");
/// }
/// ```
///
/// Nor does a service for whole packets in a tap that offers heads:
///
/// ```compile_fail,E0277
/// # use mproxy_codec::KindSet;
/// # use mproxy_session::{Forward, OnPublishLayer, PublishRef, Tap};
/// # use tower_layer::Layer;
/// let clean = OnPublishLayer::new(|publish: PublishRef<'_>| {
///     assert!(!publish.payload().contains(&b'!'));
///     Ok(())
/// });
/// let tap = Tap::only(KindSet::PUBLISH, clean.layer(Forward)).head_only();
/// ```
pub type PacketHead = Packet<HeadOnly>;

/// Marks a [`Packet`] that is complete.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::exhaustive_enums)] // a name for a type, without values
pub enum Whole {}

/// Marks a [`Packet`] of a PUBLISH whose payload may still be on its way, and cannot be judged
/// or changed.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::exhaustive_enums)] // a name for a type, without values
pub enum HeadOnly {}

/// What validation, which is done once, found out about a packet's bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Layout {
    Publish(PublishLayout),
    /// For SUBSCRIBE and UNSUBSCRIBE.
    Request(RequestLayout),
    /// For other types, which are short or rare: hooks parse them again.
    Other,
}

impl Layout {
    pub(crate) const fn of(view: &View<'_>) -> Self {
        match view {
            View::Publish(publish) => Self::Publish(*publish.layout()),
            View::Subscribe(subscribe) => Self::Request(subscribe.layout()),
            View::Unsubscribe(unsubscribe) => Self::Request(unsubscribe.layout()),
            _ => Self::Other,
        }
    }
}

/// The packet, independent of `P`.
struct Raw {
    frame: Bytes,
    kind: Kind,
    version: Version,
    direction: Direction,
    layout: Layout,
    /// The topic name behind a topic alias, or the one that a hook chose.
    topic: Option<Arc<[u8]>>,
    /// The decisions of hooks on single filters; `None` if there are none.
    entries: Option<Box<Entries>>,
    /// A question of the session: nobody has sent it, and it goes nowhere.
    is_own: bool,
}

impl Packet {
    /// A packet with validated bytes. Hooks that do not need the payload may get a PUBLISH without it.
    pub(crate) const fn new(
        kind: Kind,
        version: Version,
        direction: Direction,
        frame: Bytes,
        layout: Layout,
        topic: Option<Arc<[u8]>>,
    ) -> Self {
        Self {
            raw: Raw {
                frame,
                kind,
                version,
                direction,
                layout,
                topic,
                entries: None,
                is_own: false,
            },
            reach: PhantomData,
        }
    }

    /// Validates one whole packet, for tests and callers outside a session.
    ///
    /// # Errors
    /// The rule that the packet breaks; [`Truncated`](DecodeError::Truncated) or
    /// [`TrailingBytes`](DecodeError::TrailingBytes) if `frame` is not exactly one
    /// packet; [`EmptyTopic`](DecodeError::EmptyTopic) for a PUBLISH that gives its topic only by an alias,
    /// which only a session can resolve.
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
        let layout = Layout::of(&view);
        if let Layout::Publish(publish) = &layout
            && publish.topic(&frame).is_empty()
        {
            return Err(DecodeError::EmptyTopic);
        }
        Ok(Self::new(kind, version, direction, frame, layout, None))
    }

    /// The bytes of the whole packet.
    #[inline]
    #[must_use]
    pub const fn as_bytes(&self) -> &Bytes {
        &self.raw.frame
    }

    /// The packet as a [`head_only`](crate::Tap::head_only) tap offers it.
    #[must_use]
    pub fn into_head(self) -> PacketHead {
        self.cast()
    }
}

impl<P> Packet<P> {
    /// The same packet with another `P`; `Whole` only if it is complete.
    #[inline]
    pub(crate) fn cast<Q>(self) -> Packet<Q> {
        Packet {
            raw: self.raw,
            reach: PhantomData,
        }
    }

    /// False for a PUBLISH whose payload is still on its way.
    #[inline]
    pub(crate) fn is_whole(&self) -> bool {
        let publish = self.publish_layout();
        publish.is_none_or(|layout| layout.total_len() <= self.raw.frame.len())
    }

    /// The packet type.
    #[inline]
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.raw.kind
    }

    /// The protocol version of the session.
    #[inline]
    #[must_use]
    pub const fn version(&self) -> Version {
        self.raw.version
    }

    /// Its direction.
    #[inline]
    #[must_use]
    pub const fn direction(&self) -> Direction {
        self.raw.direction
    }

    /// True for the will of a CONNECT. The session offers it before it dials the broker, as the
    /// PUBLISH that the broker will make of it: at QoS 1 and 2 without a packet identifier,
    /// and with the will's properties that a PUBLISH has, too. A refusal refuses the client
    /// ([`Limits::refused_will`](crate::Limits::refused_will)), [`Verdict::Discard`](crate::Verdict)
    /// lets it in without a will, and changing the PUBLISH changes the will.
    #[inline]
    #[must_use]
    pub const fn is_will(&self) -> bool {
        self.raw.is_own && matches!(self.raw.kind, Kind::Publish)
    }

    /// True for a SUBSCRIBE that the session offers because [the rules have
    /// changed](crate::SessionHandle::renew). It has the shared subscriptions of the client, as the
    /// client wrote them. It does not go to the broker, and no SUBACK answers it: a hook must not wait
    /// for one. A refusal of any filter ends the session, and a change of one has no effect.
    #[inline]
    #[must_use]
    pub const fn is_renewal(&self) -> bool {
        self.raw.is_own && matches!(self.raw.kind, Kind::Subscribe)
    }

    /// True for a question of the session's about a packet of this type.
    pub(crate) fn is_own(&self, kind: Kind) -> bool {
        self.raw.is_own && self.raw.kind == kind
    }

    /// The PUBLISH, with its topic alias resolved.
    #[inline]
    #[must_use]
    pub fn publish(&self) -> Option<PublishRef<'_, P>> {
        let layout = self.publish_layout()?;
        let view = Publish::new(layout, &self.raw.frame);
        let topic = self.raw.topic.as_deref();
        Some(PublishRef::new(view, topic, self.is_will()))
    }

    /// The packet identifier; `None` for packets without one, and for a will.
    #[must_use]
    pub fn packet_id(&self) -> Option<u16> {
        if let Some(publish) = self.publish() {
            return publish.packet_id();
        }
        Some(match self.view()? {
            View::Ack(ack) => ack.packet_id,
            View::Subscribe(subscribe) => subscribe.packet_id(),
            View::Unsubscribe(unsubscribe) => unsubscribe.packet_id(),
            View::Suback(suback) | View::Unsuback(suback) => suback.packet_id,
            _ => return None,
        })
    }

    #[inline]
    const fn publish_layout(&self) -> Option<PublishLayout> {
        match self.raw.layout {
            Layout::Publish(layout) => Some(layout),
            _ => None,
        }
    }

    fn view(&self) -> Option<View<'_>> {
        let frame = &self.raw.frame;
        match self.raw.layout {
            Layout::Publish(layout) => Some(View::Publish(Publish::new(layout, frame))),
            Layout::Request(layout) if self.raw.kind == Kind::Subscribe => {
                Some(View::Subscribe(Subscribe::new(layout, frame)))
            }
            Layout::Request(layout) => Some(View::Unsubscribe(Unsubscribe::new(layout, frame))),
            Layout::Other => View::parse(self.raw.version, self.raw.direction, frame).ok()?,
        }
    }

    /// Replaces this packet by a rewritten one of the same type.
    fn replace(&mut self, frame: Bytes) -> Result<(), EncodeError> {
        if matches!(self.raw.layout, Layout::Request(_)) {
            let view = View::parse(self.raw.version, self.raw.direction, &frame);
            let view = view.map_err(EncodeError::Invalid)?;
            self.raw.layout = view.as_ref().map_or(Layout::Other, Layout::of);
        }
        self.raw.frame = frame;
        Ok(())
    }

    /// True for an unchanged packet: the same bytes, and no decisions on filters.
    #[inline]
    pub(crate) fn is_untouched(&self, address: usize, len: usize) -> bool {
        self.raw.frame.as_ptr().addr() == address
            && self.raw.frame.len() == len
            && self.raw.entries.is_none()
    }

    pub(crate) fn into_parts(self) -> Parts {
        Parts {
            publish: self.publish_layout(),
            frame: self.raw.frame,
            topic: self.raw.topic,
            entries: self.raw.entries.map(|entries| entries.0),
        }
    }
}

macro_rules! views {
    ($($(#[$doc:meta])* $name:ident: $view:ident = $($variant:ident)|+;)*) => {
        impl<P> Packet<P> {
            $($(#[$doc])*
            #[must_use]
            pub fn $name(&self) -> Option<$view<'_>> {
                match self.view()? {
                    $(View::$variant(view))|+ => Some(view),
                    _ => None,
                }
            })*
        }
    };
}

views! {
    /// The CONNACK.
    connack: Connack = Connack;
    /// The SUBSCRIBE as it will be forwarded: without the filters that a hook refused.
    subscribe: Subscribe = Subscribe;
    /// The UNSUBSCRIBE as it will be forwarded.
    unsubscribe: Unsubscribe = Unsubscribe;
    /// The SUBACK or UNSUBACK, with a code for each filter that the client asked for.
    suback: Suback = Suback | Unsuback;
    /// The PUBACK, PUBREC, PUBREL or PUBCOMP.
    ack: Ack = Ack;
    /// The DISCONNECT.
    disconnect: Disconnect = Disconnect;
    /// The AUTH.
    auth: Auth = Auth;
}

impl<P> fmt::Debug for Packet<P> {
    /// Kind and size only, because packets carry other people's data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packet")
            .field("kind", &self.raw.kind)
            .field("version", &self.raw.version)
            .field("direction", &self.raw.direction)
            .field("len", &self.raw.frame.len())
            .field("own", &self.raw.is_own)
            .finish_non_exhaustive()
    }
}

/// The parts of a packet that the session takes back.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) frame: Bytes,
    pub(crate) publish: Option<PublishLayout>,
    pub(crate) topic: Option<Arc<[u8]>>,
    pub(crate) entries: Option<Vec<Entry>>,
}
