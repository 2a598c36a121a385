//! Changes to the fields of a packet by hooks: all other bytes stay as they are. Hooks cannot add control
//! characters to a packet that has none.

use mproxy_codec::topic::has_control;
use mproxy_codec::{
    DecodeError, EncodeError, Head, Place, Properties, PropertyId, PropertyWriter, Publish,
    PublishEdit, PublishLayout, Value, View, encode_subscribe, encode_unsubscribe,
};

use super::{Layout, Packet, PacketHead};

impl Packet {
    /// Replaces the payload of a PUBLISH.
    ///
    /// # Errors
    /// As [`edit_publish`](Self::edit_publish).
    pub fn set_payload(&mut self, payload: &[u8]) -> Result<(), EncodeError> {
        self.edit(&PublishEdit::new().payload(payload))
    }

    /// Changes fields of a PUBLISH and leaves all other bytes as they are.
    ///
    /// # Errors
    /// [`EncodeError::NoSuchField`] if this is not a PUBLISH; [`EncodeError`] if a value is not
    /// valid.
    pub fn edit_publish(&mut self, edit: &PublishEdit<'_>) -> Result<(), EncodeError> {
        self.edit(edit)
    }
}

impl PacketHead {
    /// Changes fields of a PUBLISH and leaves all other bytes as they are.
    ///
    /// # Errors
    /// [`EncodeError::NoSuchField`] if this is not a PUBLISH, or if the edit replaces the payload,
    /// which is not here; [`EncodeError`] if a value is not valid.
    pub fn edit_publish(&mut self, edit: &PublishEdit<'_>) -> Result<(), EncodeError> {
        if edit.payload.is_some() {
            return Err(EncodeError::NoSuchField);
        }
        self.edit(edit)
    }
}

impl<P> Packet<P> {
    fn edit(&mut self, edit: &PublishEdit<'_>) -> Result<(), EncodeError> {
        let layout_before = self.publish_layout().ok_or(EncodeError::NoSuchField)?;
        let mut edit = *edit;
        let resolved;
        // the other side may not know the topic of the alias: write it out
        if let (None, Some(topic)) = (edit.topic, &self.raw.topic) {
            resolved = topic.clone();
            edit.topic = core::str::from_utf8(&resolved).ok();
        }
        let frame = Publish::new(layout_before, &self.raw.frame).edit(self.raw.version, &edit)?;
        let head = Head::parse(&frame)
            .map_err(EncodeError::Invalid)?
            .ok_or(EncodeError::NoSuchField)?;
        let layout = PublishLayout::parse(head, self.raw.version, self.raw.direction, &frame)
            .map_err(EncodeError::Invalid)?
            .ok_or(EncodeError::NoSuchField)?;
        let had_control = || {
            let topic = self.raw.topic.as_deref().map(core::str::from_utf8);
            layout_before.has_control() || matches!(topic, Some(Ok(topic)) if has_control(topic))
        };
        if layout.has_control() && !had_control() {
            return Err(EncodeError::Invalid(DecodeError::ControlCharacter));
        }
        self.raw.topic = None;
        self.raw.layout = Layout::Publish(layout);
        self.raw.frame = frame;
        Ok(())
    }

    /// Replaces the topic name of a PUBLISH.
    ///
    /// # Errors
    /// As [`edit_publish`](Packet::edit_publish).
    pub fn set_topic(&mut self, topic: &str) -> Result<(), EncodeError> {
        self.edit(&PublishEdit::new().topic(topic))
    }

    /// Adds a User Property to a PUBLISH, SUBSCRIBE, UNSUBSCRIBE or CONNACK, after the existing
    /// ones. Before MQTT 5.0 it does nothing, so that one hook works for clients of all
    /// versions.
    ///
    /// # Errors
    /// [`EncodeError::NoSuchField`] for other packets; [`EncodeError`] when the name or the value is
    /// not valid, or makes the packet too long.
    pub fn add_user_property(&mut self, name: &str, value: &str) -> Result<(), EncodeError> {
        if !self.raw.version.is_v5() {
            return Ok(());
        }
        let mut properties = PropertyWriter::new();
        let there = match (self.publish(), self.view()) {
            (Some(publish), _) => publish.properties(),
            (_, Some(View::Connack(connack))) => connack.properties,
            (_, Some(View::Subscribe(subscribe))) => subscribe.properties(),
            (_, Some(View::Unsubscribe(unsubscribe))) => unsubscribe.properties(),
            _ => return Err(EncodeError::NoSuchField),
        };
        for property in &there {
            properties.copy(&property);
        }
        properties.push(PropertyId::UserProperty, Value::Pair(name, value))?;
        self.set_properties(properties.as_bytes())
    }

    /// Replaces the property block of a PUBLISH, SUBSCRIBE, UNSUBSCRIBE or CONNACK
    /// ([`PropertyWriter::as_bytes`](mproxy_codec::PropertyWriter::as_bytes)) and leaves all other
    /// bytes as they are.
    ///
    /// # Errors
    /// [`EncodeError::NoSuchField`] for other packets and before MQTT 5.0; [`EncodeError`] when the
    /// block is not valid in such a packet, or makes it too long.
    pub fn set_properties(&mut self, properties: &[u8]) -> Result<(), EncodeError> {
        if self.publish_layout().is_some() {
            return self.edit(&PublishEdit::new().properties(properties));
        }
        if !self.raw.version.is_v5() {
            return Err(EncodeError::NoSuchField);
        }
        let place = Place::Packet(self.raw.kind, self.raw.direction);
        Properties::parse(properties, place).map_err(EncodeError::Invalid)?;
        let frame = match self.view() {
            Some(View::Connack(connack)) => {
                connack.with_properties(self.raw.version, properties)?
            }
            Some(View::Subscribe(subscribe)) => {
                let filters = subscribe.subscriptions();
                let filters = filters.map(|entry| (entry.filter, entry.options));
                encode_subscribe(self.raw.version, subscribe.packet_id(), properties, filters)?
            }
            Some(View::Unsubscribe(unsubscribe)) => {
                let (id, filters) = (unsubscribe.packet_id(), unsubscribe.filters());
                encode_unsubscribe(self.raw.version, id, properties, filters)?
            }
            _ => return Err(EncodeError::NoSuchField),
        };
        self.replace(frame)
    }
}
