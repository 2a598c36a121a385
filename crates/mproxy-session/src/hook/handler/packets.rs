//! The handler as a packet service.

use std::sync::Arc;
use std::task::{Context, Poll};

use mproxy_codec::{Kind, ReasonCode};
use tower_service::Service;

use super::shared::{Shared, request_of};
use super::{Handler, HandlerAnswer, PublishMut, SubscribeMut};
use crate::BoxError;
use crate::context::SessionInfo;
use crate::hook::inner::Inner;
use crate::hook::{Packet, PacketService, Refusal, Verdict};

/// The packet-stage service of [`HandlerLayer`](super::HandlerLayer).
#[derive(Debug)]
pub struct HandlerPackets<S, H> {
    inner: Inner<S>,
    handler: Arc<H>,
    session: SessionInfo,
    shared: Arc<Shared>,
}

impl<S: Clone, H> Clone for HandlerPackets<S, H> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            handler: Arc::clone(&self.handler),
            session: self.session.clone(),
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<S, H> HandlerPackets<S, H> {
    pub(super) fn maker(
        handler: &Arc<H>,
        session: &SessionInfo,
        shared: &Arc<Shared>,
    ) -> impl FnOnce(S) -> Self + use<S, H> {
        let handler = Arc::clone(handler);
        let session = session.clone();
        let shared = Arc::clone(shared);
        move |inner| Self {
            inner: Inner::new(inner),
            handler,
            session,
            shared,
        }
    }
}

impl<S: PacketService, H: Handler> Service<Packet> for HandlerPackets<S, H> {
    type Response = Verdict;
    type Error = BoxError;
    type Future = HandlerAnswer;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut packet: Packet) -> Self::Future {
        let inner = self.inner.reserve();
        let handler = Arc::clone(&self.handler);
        let session = self.session.clone();
        let shared = Arc::clone(&self.shared);
        HandlerAnswer::of(async move {
            if let Err(refusal) = authorize(&*handler, &session, &mut packet, &shared).await? {
                return Ok(Verdict::Refuse(refusal));
            }
            let request = request_of(&packet);
            let verdict = inner.call(packet).await.map_err(Into::into)?;
            match &verdict {
                Verdict::Forward(packet) if !packet.is_refused() => {
                    notify(&*handler, &session, packet, &shared).await;
                }
                _ => shared.forget(request),
            }
            Ok(verdict)
        })
    }
}

async fn authorize<H: Handler>(
    handler: &H,
    session: &SessionInfo,
    packet: &mut Packet,
    shared: &Shared,
) -> Result<Result<(), Refusal>, BoxError> {
    match packet.kind() {
        Kind::Publish => {
            if let Some(mut publish) = PublishMut::of_packet(packet) {
                if let Err(refusal) = handler.auth_publish(session, &mut publish).await {
                    return Ok(Err(refusal));
                }
                if let Err(error) = publish.apply(packet) {
                    return Ok(Err(error.into()));
                }
            }
        }
        Kind::Subscribe => {
            let Some(mut subscribe) = SubscribeMut::of_packet(packet) else {
                return Ok(Ok(()));
            };
            shared.remember(packet);
            if let Err(refusal) = handler.auth_subscribe(session, &mut subscribe).await {
                shared.forget(request_of(packet));
                return Ok(Err(refusal));
            }
            if let Err(error) = subscribe.apply(packet) {
                shared.forget(request_of(packet));
                return Ok(Err(error.into()));
            }
        }
        Kind::Unsubscribe => shared.remember(packet),
        _ => {}
    }
    Ok(Ok(()))
}

async fn notify<H: Handler>(handler: &H, session: &SessionInfo, packet: &Packet, shared: &Shared) {
    match packet.kind() {
        // the will is not published yet
        Kind::Publish if !packet.is_will() => {
            if let Some(publish) = PublishMut::of_packet(packet) {
                handler.publish(session, &publish).await;
            }
        }
        Kind::Connack if packet.connack().is_some_and(|connack| connack.is_success()) => {
            shared.set_connected();
            handler.connect(session).await;
        }
        Kind::Suback | Kind::Unsuback => {
            let Some(suback) = packet.suback() else {
                return;
            };
            let request = if packet.kind() == Kind::Suback {
                Kind::Subscribe
            } else {
                Kind::Unsubscribe
            };
            let Some(filters) = shared.take((request, suback.packet_id)) else {
                return;
            };
            // an UNSUBACK before MQTT 5.0 has no codes: it means success
            let codes = suback.codes.iter().copied().map(ReasonCode::new);
            let codes: Vec<_> = filters
                .into_iter()
                .zip(codes.chain(std::iter::repeat(ReasonCode::SUCCESS)))
                .collect();
            if request == Kind::Subscribe {
                handler.subscribe(session, &codes).await;
            } else {
                handler.unsubscribe(session, &codes).await;
            }
        }
        _ => {}
    }
}
