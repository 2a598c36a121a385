//! Maps what the client sends.

use std::sync::Arc;

use mproxy_codec::{EncodeError, Kind, PropertyId, PublishEdit, ReasonCode};
use mproxy_session::{Filter, HeadOnly, Judge, PacketHead, Refusal, Verdict};

use super::{properties, shared::Shared};
use crate::{
    Action, DeniedWill, Observer,
    observe::{Of, of_layer},
    unwritable::{Sent, refuse},
};

/// The packet service that maps what a client publishes, subscribes to and unsubscribes from.
pub type TopicMapToServer<S, O = ()> = Filter<S, TopicMapper<O>>;

/// The map of a session; `None` for a client that sees the broker as it is.
#[derive(Debug)]
#[allow(unnameable_types)] // a parameter of types that callers need not name
pub struct TopicMapper<O>(pub(super) Option<Arc<Shared<O>>>);

impl<O: Observer> Judge<HeadOnly> for TopicMapper<O> {
    #[inline]
    fn judge(&mut self, packet: PacketHead) -> Result<PacketHead, Verdict<HeadOnly>> {
        let (kind, is_will) = (packet.kind(), packet.is_will());
        let Some(shared) = &self.0 else {
            return Ok(packet);
        };
        let mapped = match kind {
            Kind::Publish => shared.map_publish(packet),
            Kind::Subscribe | Kind::Unsubscribe => shared.map_filters(packet),
            _ => return Ok(packet),
        };
        // only packets are counted, and a will is part of one
        match &mapped {
            _ if is_will => {}
            Ok(_) => shared.observer.modified(kind),
            Err(_) => shared.observer.dropped(kind),
        }
        mapped
    }
}

impl<O: Observer> Shared<O> {
    /// Returns the mapped PUBLISH or will, or the verdict on one that cannot be mapped.
    fn map_publish(&self, mut packet: PacketHead) -> Result<PacketHead, Verdict<HeadOnly>> {
        let sent = Sent::of(&packet);
        let refuse = |error| refuse(&self.observer, sent, error);
        let Some(publish) = packet.publish() else {
            return Err(refuse(EncodeError::NoSuchField));
        };
        let is_will = packet.is_will();
        let topic = self.map_name(&publish.topic(), is_will, Of::Message)?;
        let properties = publish.properties();
        let properties = match properties.str(PropertyId::ResponseTopic) {
            Some(topic) => {
                let topic = self.map_name(topic, is_will, Of::Response)?;
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

    fn map_name(&self, name: &str, is_will: bool, of: Of) -> Result<String, Verdict<HeadOnly>> {
        self.map.map_name(name).map_err(|error| {
            if !is_will {
                self.note(Action::Publish, of, name, &error);
                return Verdict::refuse(error.reason());
            }
            if self.will == DeniedWill::Strip {
                self.note(Action::Will, of, name, &error);
                return Verdict::Discard;
            }
            // The line about the refused client says everything.
            self.observer.decision(Action::Will, false);
            let text = of.will(name, format_args!(": {error}"));
            let refusal = Refusal::new(error.reason()).with_text(text);
            Verdict::Refuse(of_layer(&self.observer, refusal, None))
        })
    }

    /// Returns the mapped SUBSCRIBE or UNSUBSCRIBE, or the verdict on one with no filter left.
    fn map_filters(&self, mut packet: PacketHead) -> Result<PacketHead, Verdict<HeadOnly>> {
        let (kind, sent) = (packet.kind(), Sent::of(&packet));
        let left = packet.map_filters(|filter| match self.map.map_filter(filter) {
            Ok(mapped) => Ok(Some(mapped)),
            // It was refused when the client subscribed to it, if it ever did.
            Err(_) if kind == Kind::Unsubscribe => {
                self.observer.unsubscribe_refused();
                Err(ReasonCode::NO_SUBSCRIPTION_EXISTED)
            }
            Err(error) => {
                self.note(Action::Subscribe, Of::Message, filter, &error);
                Err(ReasonCode::TOPIC_FILTER_INVALID)
            }
        });
        match left {
            // The session answers if all filters are refused; inner layers need not see them.
            Ok(0) => Err(Verdict::Forward(packet)),
            Ok(_) => Ok(packet),
            Err(error) => Err(refuse(&self.observer, sent, error)),
        }
    }
}
