//! What the client sends is mapped.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use mproxy_codec::{EncodeError, Kind, PropertyId, PublishEdit, ReasonCode};
use mproxy_session::{FilterFuture, Packet, Verdict};
use tower_service::Service;

use super::{properties, shared::Shared};
use crate::{Action, Observer, unwritable::refuse};

/// The packet service that maps what a client publishes, subscribes to and unsubscribes from.
#[derive(Debug)]
pub struct TopicMapToServer<S, O = ()> {
    inner: S,
    /// `None` for a client that sees the broker as it is.
    shared: Option<Arc<Shared<O>>>,
}

impl<S, O> TopicMapToServer<S, O> {
    pub(super) const fn new(inner: S, shared: Option<Arc<Shared<O>>>) -> Self {
        Self { inner, shared }
    }
}

impl<S, O> Service<Packet> for TopicMapToServer<S, O>
where
    S: Service<Packet, Response = Verdict>,
    O: Observer,
{
    type Response = Verdict;
    type Error = S::Error;
    type Future = FilterFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, packet: Packet) -> Self::Future {
        let kind = packet.kind();
        let Some(shared) = &self.shared else {
            return FilterFuture::inner(self.inner.call(packet));
        };
        let mapped = match kind {
            Kind::Publish => shared.map_publish(packet),
            Kind::Subscribe | Kind::Unsubscribe => shared.map_filters(packet),
            _ => return FilterFuture::inner(self.inner.call(packet)),
        };
        match mapped {
            Ok(packet) => {
                shared.observer.modified(kind);
                FilterFuture::inner(self.inner.call(packet))
            }
            Err(verdict) => {
                shared.observer.dropped(kind);
                FilterFuture::verdict(verdict)
            }
        }
    }
}

impl<O: Observer> Shared<O> {
    /// Returns the mapped PUBLISH, or what becomes of one that cannot be mapped.
    fn map_publish(&self, mut packet: Packet) -> Result<Packet, Verdict> {
        let Some(publish) = packet.publish() else {
            return Err(refuse(EncodeError::NoSuchField));
        };
        let topic = self.map_name(publish.topic())?;
        let properties = publish.properties();
        let properties = match properties.str(PropertyId::ResponseTopic) {
            Some(topic) => {
                let topic = self.map_name(topic)?;
                let id = PropertyId::ResponseTopic;
                Some(properties::with_text(&properties, id, Some(&topic)).map_err(refuse)?)
            }
            None => None,
        };
        let mut edit = PublishEdit::new().topic(&topic);
        if let Some(properties) = &properties {
            edit = edit.properties(properties.as_bytes());
        }
        packet.edit_publish(&edit).map_err(refuse)?;
        Ok(packet)
    }

    fn map_name(&self, name: &str) -> Result<String, Verdict> {
        self.map.map_name(name).map_err(|error| {
            self.note(Action::Publish, name, &error);
            Verdict::refuse(error.reason())
        })
    }

    /// Returns the mapped SUBSCRIBE or UNSUBSCRIBE, or what becomes of one of which nothing is
    /// left.
    fn map_filters(&self, mut packet: Packet) -> Result<Packet, Verdict> {
        let kind = packet.kind();
        let left = packet.map_filters(|filter| match self.map.map_filter(filter) {
            Ok(mapped) => Ok(Some(mapped)),
            // It was refused when the client subscribed to it, if it ever did.
            Err(_) if kind == Kind::Unsubscribe => Err(ReasonCode::NO_SUBSCRIPTION_EXISTED),
            Err(error) => {
                self.note(Action::Subscribe, filter, &error);
                Err(ReasonCode::TOPIC_FILTER_INVALID)
            }
        });
        match left {
            // The session answers for filters that are all refused; nobody inside needs to see
            // them.
            Ok(0) => Err(Verdict::Forward(packet)),
            Ok(_) => Ok(packet),
            Err(error) => Err(refuse(error)),
        }
    }
}
