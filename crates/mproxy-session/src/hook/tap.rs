//! Which packets leave the fast path, and the services that see them.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use mproxy_codec::{Kind, KindSet};
use tower_service::Service;

use super::memo::{Memo, Repeated};
use super::{Forward, Heads, Packet, PacketHead, Verdict, Whole, on_kind};
use crate::BoxError;

thread_local! {
    /// The type of the packet for which a stack is being made ready. `poll_ready` has no argument for it,
    /// and a tap inside a stack must not take a permit for a packet that it will not see.
    static IN_HAND: Cell<Option<Kind>> = const { Cell::new(None) };
}

/// The start of a tap's type in the type name of a service that contains one.
const TAP: &str = concat!(module_path!(), "::Tap<");

/// A packet service and the packet types it is offered. All other packets never leave the read buffer.
#[derive(Clone, Debug)]
pub struct Tap<S> {
    kinds: KindSet,
    head_only: bool,
    memo: Option<Box<Memo>>,
    /// The service has taps inside that see fewer packets.
    nested: bool,
    /// The decisions of the services may depend on who the client is.
    judges_identity: bool,
    /// Maximum bytes by which the services lengthen a PUBLISH.
    growth: u16,
    service: S,
}

impl Tap<Forward> {
    /// Offers nothing: the direction is piped at full speed.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            kinds: KindSet::NONE,
            head_only: true,
            memo: None,
            nested: false,
            judges_identity: false,
            growth: 0,
            service: Forward,
        }
    }
}

impl<S> Tap<S> {
    /// Offers every packet.
    ///
    /// # Panics
    /// As [`only`](Self::only).
    #[track_caller]
    pub fn all(service: S) -> Self {
        Self::only(KindSet::ALL, service)
    }

    /// Offers packets of these types.
    ///
    /// # Panics
    /// If the service contains an [`OnPublishLayer`](crate::OnPublishLayer) or
    /// [`OnSubscribeLayer`](crate::OnSubscribeLayer) that would never be called, because the
    /// packets that it judges are not among these types; or another tap, whose kinds this one would
    /// ignore: use [`wrap`](Self::wrap) to put a service around a tap. (Both are found by the name of
    /// the service's type, so not in a box, in a closure, or in a type without parameters. So box a
    /// tap, with [`convert`](Self::convert), and not its service.)
    #[track_caller]
    pub fn only(kinds: KindSet, service: S) -> Self {
        on_kind::assert_offered::<S>(kinds);
        assert!(
            !std::any::type_name::<S>().contains(TAP),
            "a tap stands in the service of another, which forgets what it is offered: use Tap::wrap"
        );
        Self {
            kinds,
            head_only: false,
            memo: None,
            nested: false,
            judges_identity: !kinds.is_empty(),
            growth: 0,
            service,
        }
    }

    /// Declares that the service does not need payloads: it is a service for [`PacketHead`]s, which have
    /// none.
    ///
    /// A PUBLISH that is larger than the read buffer is then offered as soon as its topic and
    /// properties have arrived; the payload streams past afterwards and is never held in memory.
    #[must_use]
    pub fn head_only(self) -> Tap<Heads<S>>
    where
        S: Service<PacketHead>,
    {
        let mut tap = self.convert(Heads::new);
        tap.head_only = true;
        tap
    }

    /// Declares that the service lengthens a PUBLISH by at most this many bytes.
    ///
    /// CONNACK then has a Maximum Packet Size that leaves room for it, so that a packet that the client may
    /// send is never too large for the broker. [MQTT-3.2.2-15]
    #[must_use]
    pub fn grows(mut self, bytes: usize) -> Self {
        let bytes = u16::try_from(bytes).unwrap_or(u16::MAX);
        self.growth = self.growth.saturating_add(bytes);
        self
    }

    /// Declares whether the decisions of the services depend on who the client is.
    ///
    /// An MQTT 5.0 client may authenticate again while it is connected (AUTH 0x19), and may be another user
    /// afterwards. So such a client is closed with 0x8C if services judge identity and none in this
    /// direction sees AUTH. Services are assumed to judge identity unless declared otherwise: one that does
    /// not, around others, declares what [they do](Self::judges_identity). [MQTT-4.12.1-1]
    #[must_use]
    pub const fn judge_identity(mut self, judge: bool) -> Self {
        self.judges_identity = judge;
        self
    }

    /// True if the decisions of the services may depend on who the client is.
    #[must_use]
    pub const fn judges_identity(&self) -> bool {
        self.judges_identity
    }

    pub(crate) const fn growth(&self) -> u16 {
        self.growth
    }

    /// The packet types that are offered.
    #[inline]
    #[must_use]
    pub const fn kinds(&self) -> KindSet {
        self.kinds
    }

    /// True if the service does not need the payload of a PUBLISH.
    #[inline]
    #[must_use]
    pub const fn is_head_only(&self) -> bool {
        self.head_only || !self.kinds.contains(Kind::Publish)
    }

    #[inline]
    pub(crate) const fn service_mut(&mut self) -> &mut S {
        &mut self.service
    }

    /// Replaces the service by another for the same packets, whole: what was
    /// [`head_only`](Self::head_only) is held as a whole from now on.
    ///
    /// A promise that verdicts may be remembered ([`wrap_remembered`](Self::wrap_remembered)) is
    /// dropped, because the new service may decide differently.
    ///
    /// # Panics
    /// As [`only`](Self::only).
    pub fn map<T>(mut self, map: impl FnOnce(S) -> T) -> Tap<T> {
        on_kind::assert_offered::<T>(self.kinds);
        self.memo = None;
        self.head_only = false;
        self.convert(map)
    }

    /// Converts the service into another type that decides the same, such as a box or an enum:
    /// its promises still hold, that it looks at no payload and that its verdicts may be
    /// remembered. Use [`map`](Self::map) for a service that decides differently.
    pub fn convert<T>(self, convert: impl FnOnce(S) -> T) -> Tap<T> {
        Tap {
            kinds: self.kinds,
            head_only: self.head_only,
            memo: self.memo,
            nested: self.nested,
            judges_identity: self.judges_identity,
            growth: self.growth,
            service: convert(self.service),
        }
    }

    /// Puts a service around this tap that sees whole packets of `kinds`, too.
    ///
    /// The new service is also offered what the inner one is offered, and passes it on; the inner
    /// service still sees only its own kinds. The closure gets this tap as the inner service: one that
    /// drops it removes all layers inside.
    ///
    /// # Panics
    /// As [`only`](Self::only).
    pub fn wrap<W>(self, kinds: KindSet, wrap: impl FnOnce(Self) -> W) -> Tap<W> {
        self.wrapped(kinds, false, wrap)
    }

    /// Puts a service around this tap that sees packets of `kinds`, too, but does not need
    /// payloads: it is a service for [`PacketHead`]s. Whole packets are held if the inner one
    /// needs them.
    ///
    /// # Panics
    /// As [`only`](Self::only).
    pub fn wrap_heads<W>(self, kinds: KindSet, wrap: impl FnOnce(Self) -> W) -> Tap<Heads<W>> {
        self.wrapped(kinds, true, |inner| Heads::new(wrap(inner)))
    }

    fn wrapped<W>(
        mut self,
        kinds: KindSet,
        head_only: bool,
        wrap: impl FnOnce(Self) -> W,
    ) -> Tap<W> {
        on_kind::assert_offered::<W>(self.kinds | kinds);
        let memo = self.memo.take();
        Tap {
            kinds: self.kinds | kinds,
            head_only: self.is_head_only() && (head_only || !kinds.contains(Kind::Publish)),
            memo: memo.filter(|_| !kinds.contains(Kind::Publish)),
            nested: self.nested || !self.kinds.is_empty() && self.kinds | kinds != self.kinds,
            judges_identity: self.judges_identity || !kinds.is_empty(),
            growth: self.growth,
            service: wrap(self),
        }
    }

    /// Puts a service around this tap, like [`wrap_heads`](Self::wrap_heads), whose verdict on a
    /// PUBLISH may be remembered.
    ///
    /// This is a promise: for the life of the session, the verdict on a PUBLISH without properties
    /// depends only on its topic name, QoS and RETAIN flag, and a forwarded PUBLISH is not changed.
    /// While a device keeps publishing to the topic that was last forwarded, its packets stay in the
    /// read buffer, and `repeated` gets their number, once per read. If a service inside makes no such
    /// promise, every packet is offered.
    pub fn wrap_remembered<W>(
        mut self,
        kinds: KindSet,
        repeated: Arc<dyn Repeated>,
        wrap: impl FnOnce(Self) -> W,
    ) -> Tap<Heads<W>> {
        let inner = self.memo.take();
        let memo = match inner {
            None if self.kinds.contains(Kind::Publish) => None,
            None => Some(Memo::new(repeated)),
            Some(inner) => Some(Memo::new(Arc::new(move |count| {
                inner.tell(count);
                repeated.repeated(count);
            }))),
        };
        let mut tap = self.wrap_heads(kinds, wrap);
        tap.memo = memo.map(Box::new);
        tap
    }

    /// Makes the service ready for a packet of this type.
    #[inline]
    pub(crate) fn poll_ready_for(
        &mut self,
        kind: Kind,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), S::Error>>
    where
        S: Service<Packet>,
    {
        if !self.nested {
            return self.service.poll_ready(cx);
        }
        /// Also if a hook panics.
        struct Reset;
        impl Drop for Reset {
            fn drop(&mut self) {
                IN_HAND.set(None);
            }
        }
        IN_HAND.set(Some(kind));
        let _reset = Reset;
        self.service.poll_ready(cx)
    }

    /// The remembered last PUBLISH, if every service promised that it may be remembered.
    #[inline]
    pub(crate) fn memo_mut(&mut self) -> Option<&mut Memo> {
        self.memo.as_deref_mut()
    }
}

impl<S, P> Service<Packet<P>> for Tap<S>
where
    S: Service<Packet, Response = Verdict>,
    S::Error: Into<BoxError>,
{
    type Response = Verdict<P>;
    type Error = BoxError;
    type Future = TapFuture<S::Future, P>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let in_hand = IN_HAND.get();
        if self.kinds.is_empty() || in_hand.is_some_and(|kind| !self.kinds.contains(kind)) {
            return Poll::Ready(Ok(()));
        }
        self.service.poll_ready(cx).map_err(Into::into)
    }

    #[inline]
    fn call(&mut self, packet: Packet<P>) -> Self::Future {
        if !self.kinds.contains(packet.kind()) {
            return TapFuture::Passed {
                packet: Some(packet),
            };
        }
        // The outermost tap holds whatever an inner one needs. One that is not called through it must
        // not see an empty payload.
        if !self.head_only && !packet.is_whole() {
            return TapFuture::Passed { packet: None };
        }
        TapFuture::Offered {
            future: self.service.call(packet.cast()),
        }
    }
}

pin_project_lite::pin_project! {
    /// The response future of a [`Tap`] that is used as a service.
    #[project = TapFutureProj]
    #[derive(Debug)]
    #[allow(missing_docs, clippy::exhaustive_enums)] // how the future works, not for matching on
    pub enum TapFuture<F, P = Whole> {
        Offered { #[pin] future: F },
        Passed { packet: Option<Packet<P>> },
    }
}

impl<F: Future<Output = Result<Verdict, E>>, E: Into<BoxError>, P> Future for TapFuture<F, P> {
    type Output = Result<Verdict<P>, BoxError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            TapFutureProj::Offered { future } => {
                let verdict = future.poll(cx).map_err(Into::into);
                verdict.map(|verdict| verdict.map(Verdict::cast))
            }
            TapFutureProj::Passed { packet } => {
                // `None` also if polled after completion, which Future forbids
                Poll::Ready(
                    packet
                        .take()
                        .map(Verdict::Forward)
                        .ok_or_else(|| BoxError::from("a PUBLISH without its payload")),
                )
            }
        }
    }
}
