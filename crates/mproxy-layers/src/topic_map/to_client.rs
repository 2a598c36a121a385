//! What is delivered to the client loses the prefix.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use mproxy_codec::{EncodeError, Kind, Properties, PropertyId, PropertyWriter, PublishEdit};
use mproxy_session::{Packet, Verdict};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{SessionMap, properties, shared::Shared};
use crate::Observer;

/// The packet service that un-maps what is delivered to a client.
///
/// It asks the services inside first, and un-maps what they forward.
#[derive(Debug)]
pub struct TopicMapToClient<S, O = ()> {
    inner: S,
    shared: Arc<Shared<O>>,
}

impl<S, O> TopicMapToClient<S, O> {
    pub(super) const fn new(inner: S, shared: Arc<Shared<O>>) -> Self {
        Self { inner, shared }
    }
}

impl<S, O> Service<Packet> for TopicMapToClient<S, O>
where
    S: Service<Packet, Response = Verdict>,
    O: Observer,
{
    type Response = Verdict;
    type Error = S::Error;
    type Future = DeliveryFuture<S::Future, O>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, packet: Packet) -> Self::Future {
        DeliveryFuture {
            future: self.inner.call(packet),
            shared: Arc::clone(&self.shared),
        }
    }
}

pin_project! {
    /// The response future of [`TopicMapToClient`].
    #[derive(Debug)]
    pub struct DeliveryFuture<F, O = ()> {
        #[pin]
        future: F,
        shared: Arc<Shared<O>>,
    }
}

impl<F, E, O> Future for DeliveryFuture<F, O>
where
    F: Future<Output = Result<Verdict, E>>,
    O: Observer,
{
    type Output = Result<Verdict, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        Poll::Ready(Ok(match ready!(this.future.poll(cx))? {
            Verdict::Forward(packet) if packet.kind() == Kind::Publish => {
                this.shared.unmap_publish(packet)
            }
            verdict => verdict,
        }))
    }
}

impl<O: Observer> Shared<O> {
    /// A delivery that has no name for the client is dropped, and the broker believes that it
    /// arrived.
    fn unmap_publish(&self, mut packet: Packet) -> Verdict {
        match unmap(&self.map, &mut packet) {
            Ok(true) => {
                self.observer.modified(Kind::Publish);
                Verdict::Forward(packet)
            }
            Ok(false) | Err(_) => {
                self.observer.dropped(Kind::Publish);
                Verdict::Discard
            }
        }
    }
}

/// Takes the prefix off; `false` if the client must not see the packet.
fn unmap(map: &SessionMap, packet: &mut Packet) -> Result<bool, EncodeError> {
    let Some(publish) = packet.publish() else {
        return Ok(false);
    };
    let Some(topic) = map.unmap_name(publish.topic()) else {
        return Ok(false);
    };
    let topic = topic.to_owned();
    let properties = unmap_response_topic(map, &publish.properties())?;
    let mut edit = PublishEdit::new().topic(&topic);
    if let Some(properties) = &properties {
        edit = edit.properties(properties.as_bytes());
    }
    packet.edit_publish(&edit)?;
    Ok(true)
}

/// Takes the prefix off the Response Topic as well. One that the client has no name for is left
/// out, as the client could not publish there; `None` if there is none.
fn unmap_response_topic(
    map: &SessionMap,
    properties: &Properties<'_>,
) -> Result<Option<PropertyWriter>, EncodeError> {
    let Some(topic) = properties.str(PropertyId::ResponseTopic) else {
        return Ok(None);
    };
    properties::with_response_topic(properties, map.unmap_name(topic)).map(Some)
}
