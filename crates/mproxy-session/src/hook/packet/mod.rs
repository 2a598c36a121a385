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
/// Reading is free: fields are looked up in the received bytes. A packet that no hook changes is
/// forwarded as the very bytes that came.
///
/// `P` says how much of a PUBLISH there is: a [`Whole`] one has its payload, a
/// [`HeadOnly`] one may be without, and has no way to ask for it. All other packets are whole.
pub struct Packet<P = Whole> {
    raw: Raw,
    reach: PhantomData<fn() -> P>,
}

/// A PUBLISH without its payload, or any other packet: what a
/// [`head_only`](crate::Tap::head_only) tap offers.
///
/// What was not seen cannot be allowed: a head has no payload to judge, and none to replace. Neither of
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
/// Nor does a service of whole packets in a tap that offers heads:
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

/// Says of a [`Packet`] that it is all there.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::exhaustive_enums)] // a name for a type, without values
pub enum Whole {}

/// Says of a [`Packet`] that the payload of a PUBLISH may be on its way yet, and is not to be judged
/// or changed.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::exhaustive_enums)] // a name for a type, without values
pub enum HeadOnly {}

/// What is known of a packet's bytes from validating them, which is done once.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Layout {
    Publish(PublishLayout),
    /// Of a SUBSCRIBE or UNSUBSCRIBE.
    Request(RequestLayout),
    /// Hooks that read another type, which is short or rare, read it anew.
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

/// The packet, however much may be seen of it.
struct Raw {
    frame: Bytes,
    kind: Kind,
    version: Version,
    direction: Direction,
    layout: Layout,
    /// The topic name behind a topic alias, or the one that a hook chose.
    topic: Option<Arc<[u8]>>,
    /// What hooks decided on single filters; `None` while they decided nothing.
    entries: Option<Box<Entries>>,
    /// A question of the session: nobody has sent it, and it goes nowhere.
    is_own: bool,
}

impl Packet {
    /// A packet whose bytes have been validated. Hooks that do not need the payload may get a
    /// PUBLISH without it.
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

    /// Validates one whole packet, as a test or a caller outside a session does.
    ///
    /// # Errors
    /// Whatever the packet breaks; [`Truncated`](DecodeError::Truncated) or
    /// [`TrailingBytes`](DecodeError::TrailingBytes) when `frame` is not exactly one
    /// packet; [`EmptyTopic`](DecodeError::EmptyTopic) for a PUBLISH that names its topic by an alias
    /// alone, which only a session can resolve.
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
    /// The same packet, of which more or less may be seen. More only where it is there.
    #[inline]
    pub(crate) fn cast<Q>(self) -> Packet<Q> {
        Packet {
            raw: self.raw,
            reach: PhantomData,
        }
    }

    /// False for a PUBLISH of which the payload is on its way yet.
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

    /// Who sends it to whom.
    #[inline]
    #[must_use]
    pub const fn direction(&self) -> Direction {
        self.raw.direction
    }

    /// True for the will of a CONNECT. The session offers it before the broker is dialled, as the
    /// PUBLISH that the broker will make of it: at QoS 1 and 2 without a packet identifier of its
    /// own, with the will's properties that a PUBLISH has too. A refusal refuses the client
    /// ([`Limits::refused_will`](crate::Limits::refused_will)), [`Verdict::Discard`](crate::Verdict)
    /// lets it in without a will, and a changed PUBLISH is a changed will.
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

    /// The packet identifier; `None` of packets without, and of a will.
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

    /// Puts a packet of the same type, written anew, in the place of this one.
    fn replace(&mut self, frame: Bytes) -> Result<(), EncodeError> {
        if matches!(self.raw.layout, Layout::Request(_)) {
            let view = View::parse(self.raw.version, self.raw.direction, &frame);
            let view = view.map_err(EncodeError::Invalid)?;
            self.raw.layout = view.as_ref().map_or(Layout::Other, Layout::of);
        }
        self.raw.frame = frame;
        Ok(())
    }

    /// True for the packet as it was offered: the very bytes, and nothing decided on filters.
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
    /// Kind and size only: packets carry other people's data.
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

/// What the session takes back from a packet.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) frame: Bytes,
    pub(crate) publish: Option<PublishLayout>,
    pub(crate) topic: Option<Arc<[u8]>>,
    pub(crate) entries: Option<Vec<Entry>>,
}
