//! What was published, on its way to subscribers or kept for later ones.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mproxy_codec::{
    Direction, Kind, Place, Properties, Property, PropertyId, PropertyWriter, Publish, QoS, Value,
    Version, Will, encode_publish,
};
use tokio::time::Instant;

/// A publication, taken out of the packet that brought it.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Box<[u8]>,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    /// The properties that travel on to subscribers, in their order.
    properties: Box<[u8]>,
    expires: Option<Instant>,
}

/// What differs between the deliveries of one message.
#[derive(Debug)]
pub(super) struct Envelope<'a> {
    pub(super) version: Version,
    pub(super) qos: QoS,
    /// Not looked at for QoS 0.
    pub(super) packet_id: u16,
    pub(super) retain: bool,
    pub(super) subscription_ids: &'a [u32],
}

impl Message {
    /// Takes the message out of a PUBLISH.
    pub(super) fn of_publish(publish: &Publish<'_>, now: Instant) -> Self {
        Self {
            topic: publish.topic().to_owned(),
            payload: publish.payload().unwrap_or_default().into(),
            qos: publish.qos(),
            retain: publish.retain(),
            properties: end_to_end(publish.properties()),
            expires: expiry(publish.properties(), now),
        }
    }

    /// Takes the message out of a will.
    pub(super) fn of_will(will: &Will<'_>, now: Instant) -> Self {
        Self {
            topic: will.topic.to_owned(),
            payload: will.payload.into(),
            qos: will.qos,
            retain: will.retain,
            properties: end_to_end(will.properties),
            expires: expiry(will.properties, now),
        }
    }

    /// The same message, published now: a will waits until its connection ends, and does not expire
    /// in the meantime.
    pub(super) fn published(mut self, now: Instant) -> Self {
        self.expires = expiry(self.properties(), now);
        self
    }

    /// Bytes that the message keeps alive, as the bounds of queues count them.
    pub(super) fn len(&self) -> usize {
        self.topic.len() + self.payload.len() + self.properties.len()
    }

    /// True when the message may not be delivered any more. `[MQTT-3.3.2-5]`
    pub(super) fn has_expired(&self, now: Instant) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    /// Writes the PUBLISH of one delivery; `None` when it has no encoding.
    pub(super) fn encode(&self, envelope: &Envelope<'_>, now: Instant) -> Option<Bytes> {
        let mut properties = PropertyWriter::new();
        if envelope.version.is_v5() {
            for property in &self.properties() {
                match (property.id, self.expires) {
                    // [MQTT-3.3.2-6]: what is left of it
                    (PropertyId::MessageExpiryInterval, Some(expires)) => {
                        let left = expires.saturating_duration_since(now).as_secs();
                        let left = Value::U32(u32::try_from(left).unwrap_or(u32::MAX));
                        properties.push(property.id, left).ok()?;
                    }
                    _ => {
                        properties.copy(&property);
                    }
                }
            }
            for &id in envelope.subscription_ids {
                let id = Value::Varint(id);
                properties
                    .push(PropertyId::SubscriptionIdentifier, id)
                    .ok()?;
            }
        }
        let packet = encode_publish(
            envelope.version,
            &self.topic,
            envelope.qos,
            envelope.packet_id,
            properties.as_bytes(),
            &self.payload,
        )
        .ok()?;
        if !envelope.retain {
            return Some(packet);
        }
        let mut packet = BytesMut::from(packet);
        *packet.first_mut()? |= 1;
        Some(packet.freeze())
    }

    fn properties(&self) -> Properties<'_> {
        let place = Place::Packet(Kind::Publish, Direction::ToClient);
        Properties::parse(&self.properties, place).unwrap_or_default()
    }
}

/// The properties that a broker hands on unaltered (section 3.3.2.3); the others belong to one
/// connection.
fn end_to_end(properties: Properties<'_>) -> Box<[u8]> {
    let mut kept = PropertyWriter::new();
    let travels = |property: &Property<'_>| {
        matches!(
            property.id,
            PropertyId::PayloadFormatIndicator
                | PropertyId::MessageExpiryInterval
                | PropertyId::ContentType
                | PropertyId::ResponseTopic
                | PropertyId::CorrelationData
                | PropertyId::UserProperty
        )
    };
    for property in properties.iter().filter(travels) {
        kept.copy(&property);
    }
    kept.as_bytes().into()
}

fn expiry(properties: Properties<'_>, now: Instant) -> Option<Instant> {
    let seconds = properties.number(PropertyId::MessageExpiryInterval)?;
    now.checked_add(Duration::from_secs(seconds.into()))
}

#[cfg(test)]
mod tests {
    use mproxy_codec::View;

    use super::*;

    fn message(packet: &[u8], now: Instant) -> Message {
        match View::parse(Version::V5, Direction::ToServer, packet) {
            Ok(Some(View::Publish(publish))) => Message::of_publish(&publish, now),
            other => panic!("no PUBLISH: {other:?}"),
        }
    }

    fn envelope(version: Version) -> Envelope<'static> {
        Envelope {
            version,
            qos: QoS::AtMostOnce,
            packet_id: 0,
            retain: true,
            subscription_ids: &[],
        }
    }

    #[test]
    fn waiting_uses_up_the_expiry_interval() {
        let now = Instant::now();
        // Message Expiry Interval 10
        let message = message(b"\x30\x0a\0\x01t\x05\x02\0\0\0\x0ah", now);
        let later = now + Duration::from_secs(4);
        assert_eq!(
            message.encode(&envelope(Version::V5), later).unwrap(),
            &b"\x31\x0a\0\x01t\x05\x02\0\0\0\x06h"[..]
        );
        assert!(!message.has_expired(later));
        let too_late = now + Duration::from_secs(10);
        assert!(message.has_expired(too_late));
        // a will waits without ageing
        assert!(!message.published(too_late).has_expired(too_late));
    }

    #[test]
    fn older_versions_get_no_properties() {
        let now = Instant::now();
        // User Property k=v
        let message = message(b"\x30\x0c\0\x01t\x07\x26\0\x01k\0\x01vh", now);
        assert_eq!(
            message.encode(&envelope(Version::V311), now).unwrap(),
            &b"\x31\x04\0\x01th"[..]
        );
    }
}
