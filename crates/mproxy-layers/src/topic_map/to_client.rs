//! Maps deliveries back.

use std::sync::Arc;

use mproxy_codec::{
    EncodeError, Kind, Properties, PropertyId, PropertyWriter, PublishEdit, ReasonCode,
};
use mproxy_session::{HeadOnly, PacketHead, Review, Reviewer, Verdict};

use super::{SessionMap, properties, shared::Shared};
use crate::{Action, Observer};

/// The packet service that maps deliveries to a client back.
///
/// It calls the services inside first, and maps back what they forward.
pub type TopicMapToClient<S, O = ()> = Review<S, Arc<Shared<O>>>;

impl<O: Observer> Reviewer<HeadOnly> for Shared<O> {
    #[inline]
    fn review(&self, packet: PacketHead) -> Verdict<HeadOnly> {
        match packet.kind() {
            Kind::Publish => self.unmap_publish(packet),
            Kind::Connack => self.unmap_connack(packet),
            _ => Verdict::Forward(packet),
        }
    }
}

impl<O: Observer> Shared<O> {
    /// A delivery that has no name for the client is dropped, and acknowledged to the broker as if it
    /// had arrived.
    fn unmap_publish(&self, mut packet: PacketHead) -> Verdict<HeadOnly> {
        match unmap(&self.map, &mut packet) {
            Ok(true) => {
                self.observer.modified(Kind::Publish);
                Verdict::Forward(packet)
            }
            Ok(false) | Err(_) => {
                self.observer.decision(Action::Deliver, false);
                self.observer.dropped(Kind::Publish);
                Verdict::Discard
            }
        }
    }

    /// The Response Information is where the client gets responses: a topic of the broker, or
    /// the start of one. If the client has no name for it, it is removed.
    fn unmap_connack(&self, mut packet: PacketHead) -> Verdict<HeadOnly> {
        const ID: PropertyId = PropertyId::ResponseInformation;
        let Some(connack) = packet.connack() else {
            return Verdict::Forward(packet);
        };
        let Some(information) = connack.properties.str(ID) else {
            return Verdict::Forward(packet);
        };
        let unmapped = self.map.unmap_name(information);
        let written = properties::with_text(&connack.properties, ID, unmapped.as_deref());
        match written.and_then(|written| packet.set_properties(written.as_bytes())) {
            Ok(()) => {
                self.observer.modified(Kind::Connack);
                Verdict::Forward(packet)
            }
            Err(_) => Verdict::Close(ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR),
        }
    }
}

/// Maps the topics back; `false` if the client must not see the packet.
fn unmap(map: &SessionMap, packet: &mut PacketHead) -> Result<bool, EncodeError> {
    let Some(publish) = packet.publish() else {
        return Ok(false);
    };
    let Some(topic) = map.unmap_name(publish.topic().as_str()) else {
        return Ok(false);
    };
    let topic = topic.into_owned();
    let properties = unmap_response_topic(map, &publish.properties())?;
    let mut edit = PublishEdit::new().topic(&topic);
    if let Some(properties) = &properties {
        edit = edit.properties(properties.as_bytes());
    }
    packet.edit_publish(&edit)?;
    Ok(true)
}

/// Maps the Response Topic back as well. One that the client has no name for is left
/// out, as the client could not publish there; `None` if there is none.
fn unmap_response_topic(
    map: &SessionMap,
    properties: &Properties<'_>,
) -> Result<Option<PropertyWriter>, EncodeError> {
    let Some(topic) = properties.str(PropertyId::ResponseTopic) else {
        return Ok(None);
    };
    let topic = map.unmap_name(topic);
    properties::with_text(properties, PropertyId::ResponseTopic, topic.as_deref()).map(Some)
}
