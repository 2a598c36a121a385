//! How hooks change the fields of a packet: all other bytes stay as they are. They bring no control
//! characters into a packet that has none.

use mproxy_codec::topic::has_control;
use mproxy_codec::{
    DecodeError, EncodeError, Head, Place, Properties, Publish, PublishEdit, PublishLayout, View,
    encode_subscribe, encode_unsubscribe,
};

use super::Packet;

impl Packet {
    /// Changes fields of a PUBLISH and leaves all other bytes as they are.
    ///
    /// # Errors
    /// [`EncodeError::NoSuchField`] when this is no PUBLISH, or when a payload is to be replaced
    /// that is already streaming past; [`EncodeError`] when a value is not valid.
    pub fn edit_publish(&mut self, edit: &PublishEdit<'_>) -> Result<(), EncodeError> {
        let layout_before = self.publish.ok_or(EncodeError::NoSuchField)?;
        let mut edit = *edit;
        let resolved;
        // the alias stood for a topic that the other side may not know: write it out
        if let (None, Some(topic)) = (edit.topic, &self.topic) {
            resolved = topic.clone();
            edit.topic = core::str::from_utf8(&resolved).ok();
        }
        let frame = Publish::new(layout_before, &self.frame).edit(self.version, &edit)?;
        let head = Head::parse(&frame)
            .map_err(EncodeError::Invalid)?
            .ok_or(EncodeError::NoSuchField)?;
        let layout = PublishLayout::parse(head, self.version, self.direction, &frame)
            .map_err(EncodeError::Invalid)?
            .ok_or(EncodeError::NoSuchField)?;
        let had_control = || {
            let topic = self.topic.as_deref().map(core::str::from_utf8);
            layout_before.has_control() || matches!(topic, Some(Ok(topic)) if has_control(topic))
        };
        if layout.has_control() && !had_control() {
            return Err(EncodeError::Invalid(DecodeError::ControlCharacter));
        }
        self.topic = None;
        self.publish = Some(layout);
        self.frame = frame;
        Ok(())
    }

    /// Replaces the topic name of a PUBLISH.
    ///
    /// # Errors
    /// As [`edit_publish`](Self::edit_publish).
    pub fn set_topic(&mut self, topic: &str) -> Result<(), EncodeError> {
        self.edit_publish(&PublishEdit::new().topic(topic))
    }

    /// Replaces the payload of a PUBLISH. A service that does so must not say
    /// [`head_only`](crate::Tap::head_only).
    ///
    /// # Errors
    /// As [`edit_publish`](Self::edit_publish).
    pub fn set_payload(&mut self, payload: &[u8]) -> Result<(), EncodeError> {
        self.edit_publish(&PublishEdit::new().payload(payload))
    }

    /// Replaces the property block of a PUBLISH, SUBSCRIBE, UNSUBSCRIBE or CONNACK
    /// ([`PropertyWriter::as_bytes`](mproxy_codec::PropertyWriter::as_bytes)) and leaves all other
    /// bytes as they are.
    ///
    /// # Errors
    /// [`EncodeError::NoSuchField`] for other packets and before MQTT 5.0; [`EncodeError`] when the
    /// block is not valid in such a packet, or makes it too long.
    pub fn set_properties(&mut self, properties: &[u8]) -> Result<(), EncodeError> {
        if self.publish.is_some() {
            return self.edit_publish(&PublishEdit::new().properties(properties));
        }
        if !self.version.is_v5() {
            return Err(EncodeError::NoSuchField);
        }
        let place = Place::Packet(self.kind, self.direction);
        Properties::parse(properties, place).map_err(EncodeError::Invalid)?;
        self.frame = match self.view() {
            Some(View::Connack(connack)) => connack.with_properties(self.version, properties)?,
            Some(View::Subscribe(subscribe)) => {
                let filters = subscribe.subscriptions();
                let filters = filters.map(|entry| (entry.filter, entry.options));
                encode_subscribe(self.version, subscribe.packet_id(), properties, filters)?
            }
            Some(View::Unsubscribe(unsubscribe)) => {
                let (id, filters) = (unsubscribe.packet_id(), unsubscribe.filters());
                encode_unsubscribe(self.version, id, properties, filters)?
            }
            _ => return Err(EncodeError::NoSuchField),
        };
        Ok(())
    }
}
