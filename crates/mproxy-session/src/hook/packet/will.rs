//! Wills as PUBLISH packets.

use bytes::Bytes;
use mproxy_codec::{
    ConnectPacket, DecodeError, Direction, EncodeError, Place, Properties, PropertyId,
    PropertyWriter, PublishEdit, Version, encode_publish,
};

use super::Packet;

impl Packet {
    /// The will of a CONNECT as the session offers it ([`is_will`](Self::is_will)): the PUBLISH that the
    /// broker will make of it, with the properties that a PUBLISH has, too. `None` without a will.
    ///
    /// # Errors
    /// [`EncodeError`] if it is too long for a packet, which cannot be because it was part of one.
    pub fn of_will(connect: &ConnectPacket) -> Result<Option<Self>, EncodeError> {
        let Some(will) = connect.will() else {
            return Ok(None);
        };
        let version = connect.version();
        let properties = will.properties.without(&[PropertyId::WillDelayInterval]);
        let properties = properties.as_bytes();
        // the broker will choose its own identifier, and hooks do not see this one
        let id = 1;
        let (topic, payload) = (will.topic, will.payload);
        let frame = encode_publish(version, topic, will.qos, id, properties, payload)?;
        let mut packet = Self::of_own(version, frame).map_err(EncodeError::Invalid)?;
        if will.retain {
            packet.edit_publish(&PublishEdit::new().retain(true))?;
        }
        Ok(Some(packet))
    }

    /// A question of the session, of its bytes: a will, or what a client has subscribed to.
    pub(crate) fn of_own(version: Version, frame: Bytes) -> Result<Self, DecodeError> {
        let mut packet = Self::parse(version, Direction::ToServer, frame)?;
        packet.raw.is_own = true;
        Ok(packet)
    }

    /// Replaces the will of a CONNECT by this PUBLISH: the reverse of
    /// [`of_will`](Self::of_will), after hooks may have changed it. Will Delay Interval, which a PUBLISH
    /// does not have, stays as it was.
    ///
    /// # Errors
    /// [`EncodeError::NoSuchField`] if this is not a PUBLISH or the CONNECT has no will;
    /// [`EncodeError`] if a field is not valid in a will or too long for one.
    pub fn write_will(&self, connect: &mut ConnectPacket) -> Result<(), EncodeError> {
        let publish = self.publish().ok_or(EncodeError::NoSuchField)?;
        let before = connect.clone();
        let mut will = before.will().ok_or(EncodeError::NoSuchField)?;
        let mut properties = PropertyWriter::new();
        // the delay is the client's choice: keep it as in the CONNECT
        let mut said = will.properties.iter().enumerate();
        let delay = said.find(|(_, property)| property.id == PropertyId::WillDelayInterval);
        let mut others = publish.properties().iter();
        if let Some((before, delay)) = delay {
            for property in others.by_ref().take(before) {
                properties.copy(&property);
            }
            properties.copy(&delay);
        }
        for property in others {
            properties.copy(&property);
        }
        will.properties =
            Properties::parse(properties.as_bytes(), Place::Will).map_err(EncodeError::Invalid)?;
        let topic = publish.topic();
        will.topic = &topic;
        will.payload = publish.payload();
        will.qos = publish.qos();
        will.retain = publish.retain();
        connect.set_will(&will)
    }
}
