//! Makes a PUBLISH that differs in some fields.

use bytes::Bytes;

use super::Publish;
use crate::build;
use crate::error::{DecodeError, EncodeError};
use crate::kind::{Direction, Kind};
use crate::property::{Place, Properties, PropertyId};
use crate::reader::check_topic_name;
use crate::varint;
use crate::version::Version;

/// What [`Publish::edit`] changes; `None` leaves a field as it is.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct PublishEdit<'a> {
    /// The new topic name.
    pub topic: Option<&'a str>,
    /// The new property block, without its length ([`PropertyWriter::as_bytes`](crate::PropertyWriter::as_bytes)).
    pub properties: Option<&'a [u8]>,
    /// Takes the Topic Alias out, so that the topic name alone counts.
    pub drop_topic_alias: bool,
    /// The new RETAIN flag.
    pub retain: Option<bool>,
    /// The new payload. One that is not UTF-8 is not announced as text.
    pub payload: Option<&'a [u8]>,
    /// Makes it QoS 0: without packet identifier and DUP.
    pub at_most_once: bool,
}

impl<'a> PublishEdit<'a> {
    /// Changes nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            topic: None,
            properties: None,
            drop_topic_alias: false,
            retain: None,
            payload: None,
            at_most_once: false,
        }
    }

    /// Sets the topic name.
    #[must_use]
    pub const fn topic(mut self, topic: &'a str) -> Self {
        self.topic = Some(topic);
        self
    }

    /// Sets the property block.
    #[must_use]
    pub const fn properties(mut self, properties: &'a [u8]) -> Self {
        self.properties = Some(properties);
        self
    }

    /// Sets the payload.
    #[must_use]
    pub const fn payload(mut self, payload: &'a [u8]) -> Self {
        self.payload = Some(payload);
        self
    }

    /// Sets the RETAIN flag.
    #[must_use]
    pub const fn retain(mut self, retain: bool) -> Self {
        self.retain = Some(retain);
        self
    }

    /// Lowers it to QoS 0. There is no way to raise the QoS: that would need a packet identifier of
    /// the proxy's own.
    #[must_use]
    pub const fn at_most_once(mut self) -> Self {
        self.at_most_once = true;
        self
    }

    /// Takes the Topic Alias out.
    #[must_use]
    pub const fn without_topic_alias(mut self) -> Self {
        self.drop_topic_alias = true;
        self
    }
}

impl Publish<'_> {
    /// Makes a packet that differs in the fields of `edit` only.
    ///
    /// A view without payload gives a packet without payload, whose remaining length still counts
    /// the payload that follows.
    ///
    /// # Errors
    /// [`EncodeError`] when a field is not valid or the packet becomes too long.
    pub fn edit(&self, version: Version, edit: &PublishEdit<'_>) -> Result<Bytes, EncodeError> {
        let topic = edit
            .topic
            .map_or_else(|| self.layout.topic(self.bytes), str::as_bytes);
        let topic_len = build::field_len(topic)?;
        if edit.topic.is_some() {
            check_topic_name(topic)?;
        }
        let id = self.layout.packet_id.to_be_bytes();
        let id = if self.layout.packet_id == 0 || edit.at_most_once {
            &[][..]
        } else {
            &id[..]
        };
        let mut properties = self
            .bytes
            .get(self.layout.properties_at as usize..self.layout.payload_at())
            .unwrap_or_default();
        let mut has_alias = self.layout.topic_alias != 0;
        if let Some(block) = edit.properties {
            if !version.is_v5() {
                return Err(EncodeError::NoSuchField);
            }
            has_alias = parse_properties(block)?
                .get(PropertyId::TopicAlias)
                .is_some();
            properties = block;
        }
        let mut left_out = Vec::new();
        if edit.drop_topic_alias && has_alias {
            left_out.push(PropertyId::TopicAlias);
            has_alias = false;
        }
        // a payload that is not text must not be announced as one (section 3.3.2.3.2)
        if let Some(payload) = edit.payload
            && version.is_v5()
            && edit.payload != self.payload()
            && core::str::from_utf8(payload).is_err()
            && Properties::validated(properties).number(PropertyId::PayloadFormatIndicator)
                == Some(1)
        {
            left_out.push(PropertyId::PayloadFormatIndicator);
        }
        let kept;
        if !left_out.is_empty() {
            kept = Properties::validated(properties).without(&left_out);
            properties = kept.as_bytes();
        }
        // neither a topic name nor an alias is left
        if topic.is_empty() && !has_alias {
            return Err(EncodeError::Invalid(DecodeError::EmptyTopic));
        }
        let block_len = varint::encode(properties.len())?;
        let block_len = if version.is_v5() {
            block_len.as_slice()
        } else {
            &[]
        };
        let mut first = self.layout.first & !1;
        if edit.retain.unwrap_or_else(|| self.layout.retain()) {
            first |= 1;
        }
        if edit.at_most_once {
            first &= !0b1110; // DUP too [MQTT-3.3.1-2]
        }
        let (payload, streamed) = match (edit.payload, self.payload()) {
            (Some(payload), Some(_)) => (payload, 0),
            // the payload is already on its way
            (Some(_), None) => return Err(EncodeError::NoSuchField),
            (None, Some(payload)) => (payload, 0),
            (None, None) => (&[][..], self.layout.payload_len()),
        };
        build::join(
            first,
            &[&topic_len, topic, id, block_len, properties, payload],
            streamed,
        )
    }
}

/// Reads a property block as a PUBLISH of either direction may carry it.
fn parse_properties(block: &[u8]) -> Result<Properties<'_>, DecodeError> {
    Properties::parse(block, Place::Packet(Kind::Publish, Direction::ToClient))
}
