//! A PUBLISH that a callback may change.

use std::fmt;

use bytes::Bytes;
use mproxy_codec::topic::TopicName;
use mproxy_codec::{EncodeError, PublishEdit, QoS};

use crate::hook::Packet;

/// A PUBLISH or a will, for a callback to judge and to change.
#[derive(Clone)]
pub struct PublishMut {
    topic: String,
    payload: Bytes,
    qos: QoS,
    retain: bool,
    will: bool,
    changed_topic: bool,
    changed_payload: bool,
}

impl PublishMut {
    pub(super) fn of_packet(packet: &Packet) -> Option<Self> {
        let publish = packet.publish()?;
        Some(Self {
            topic: publish.topic().to_string(),
            payload: packet.as_bytes().slice_ref(publish.payload()),
            qos: publish.qos(),
            retain: publish.retain(),
            will: packet.is_will(),
            changed_topic: false,
            changed_payload: false,
        })
    }

    /// The topic name.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// Replaces the topic name.
    ///
    /// # Errors
    /// [`EncodeError::Invalid`] when it is not a topic name, [`EncodeError::FieldTooLong`] when it is
    /// longer than a string of MQTT. The topic stays as it was; with `?` the callback refuses.
    pub fn set_topic(&mut self, topic: impl Into<String>) -> Result<(), EncodeError> {
        let topic = topic.into();
        if topic.len() > usize::from(u16::MAX) {
            return Err(EncodeError::FieldTooLong);
        }
        TopicName::new(&topic).map_err(|error| EncodeError::Invalid(error.into()))?;
        self.topic = topic;
        self.changed_topic = true;
        Ok(())
    }

    /// The payload.
    #[must_use]
    pub const fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Replaces the payload.
    pub fn set_payload(&mut self, payload: impl Into<Bytes>) {
        self.payload = payload.into();
        self.changed_payload = true;
    }

    /// The quality of service.
    #[must_use]
    pub const fn qos(&self) -> QoS {
        self.qos
    }

    /// The RETAIN flag.
    #[must_use]
    pub const fn retain(&self) -> bool {
        self.retain
    }

    /// True for the will of a CONNECT.
    #[must_use]
    pub const fn is_will(&self) -> bool {
        self.will
    }

    pub(super) fn apply(&self, packet: &mut Packet) -> Result<(), EncodeError> {
        if !self.changed_topic && !self.changed_payload {
            return Ok(());
        }
        let mut edit = PublishEdit::new();
        if self.changed_topic {
            edit = edit.topic(&self.topic);
        }
        if self.changed_payload {
            edit = edit.payload(&self.payload);
        }
        packet.edit_publish(&edit)
    }
}

impl fmt::Debug for PublishMut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublishMut")
            .field("topic", &self.topic)
            .field("payload_len", &self.payload.len())
            .field("qos", &self.qos)
            .field("retain", &self.retain)
            .field("will", &self.will)
            .finish_non_exhaustive()
    }
}
