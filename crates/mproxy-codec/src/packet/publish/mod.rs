//! PUBLISH (MQTT 5.0 section 3.3).

use std::fmt;

use bytes::Bytes;

use crate::build;
use crate::error::{DecodeError, EncodeError};
use crate::head::Head;
use crate::kind::{Direction, Kind};
use crate::property::{Place, Properties, PropertyId, Value};
use crate::qos::QoS;
use crate::reader::{Reader, check_topic_name};
use crate::varint;
use crate::version::Version;

/// Where the fields of a PUBLISH are: offsets from the first byte of the packet.
///
/// `Copy` and free of borrows, so that it can be stored next to the bytes that it describes.
///
/// ```text
/// | first | remaining length | topic length | topic | packet id | property length | properties | payload |
/// 0                          head_len                                            properties   payload_at
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishLayout {
    pub(crate) total: u32,
    pub(crate) properties_at: u32,
    pub(crate) payload_at: u32,
    pub(crate) packet_id: u16,
    pub(crate) topic_len: u16,
    pub(crate) topic_alias: u16,
    pub(crate) first: u8,
    pub(crate) head_len: u8,
    pub(crate) has_control: bool,
}

impl PublishLayout {
    /// Validates everything in front of the payload; the payload need not be there yet.
    ///
    /// `bytes` starts at the first byte of the packet. `Ok(None)`: more bytes are needed.
    ///
    /// # Errors
    /// Any [`DecodeError`] of a PUBLISH. `head` is expected to have passed
    /// [`Head::check_first_byte`].
    #[inline]
    pub fn parse(
        head: Head,
        version: Version,
        direction: Direction,
        bytes: &[u8],
    ) -> Result<Option<Self>, DecodeError> {
        let total = head.total_len();
        let topic_at = head.len() + 2;
        if topic_at > total {
            return Err(DecodeError::Truncated);
        }
        let Some(length) = bytes.get(head.len()..topic_at) else {
            return Ok(None);
        };
        let topic_len = u16::from_be_bytes([length[0], length[1]]);
        let topic_end = topic_at + usize::from(topic_len);
        let has_id = head.first_byte() & 0b0110 != 0;
        let mut at = topic_end + if has_id { 2 } else { 0 };
        if at > total {
            return Err(DecodeError::Truncated);
        }
        let Some(fields) = bytes.get(topic_at..at) else {
            return Ok(None);
        };
        let topic = &fields[..usize::from(topic_len)];
        let packet_id = if has_id {
            match u16::from_be_bytes([fields[topic.len()], fields[topic.len() + 1]]) {
                0 => return Err(DecodeError::PacketIdZero),
                id => id,
            }
        } else {
            0
        };
        let mut properties_at = at;
        let mut topic_alias = 0;
        let mut has_control = false;
        if version.is_v5() {
            let upper = bytes.len().min(total);
            let Some(block) = varint::read(&bytes[at..upper])? else {
                return if upper == total {
                    Err(DecodeError::Truncated)
                } else {
                    Ok(None)
                };
            };
            if !block.is_minimal() {
                return Err(DecodeError::NotMinimal);
            }
            properties_at = at + block.len;
            at = properties_at + block.value as usize;
            if at > total {
                return Err(DecodeError::Truncated);
            }
            if block.value > 0 {
                let Some(block) = bytes.get(properties_at..at) else {
                    return Ok(None);
                };
                let place = Place::Packet(Kind::Publish, direction);
                let (properties, found) = Properties::judge(block, place)?;
                has_control = found.has_control;
                if found.has(PropertyId::TopicAlias)
                    && let Some(Value::U16(alias)) = properties.get(PropertyId::TopicAlias)
                {
                    topic_alias = alias;
                }
            }
        }
        // an empty topic name is legal only where an alias stands in for it (section 3.3.2.3.4)
        if topic_len != 0 || topic_alias == 0 {
            has_control |= check_topic_name(topic)?;
        }
        Ok(Some(Self {
            total: total as u32,
            properties_at: properties_at as u32,
            payload_at: at as u32,
            packet_id,
            topic_len,
            topic_alias,
            first: head.first_byte(),
            head_len: head.len() as u8,
            has_control,
        }))
    }

    /// True when the topic name or the Response Topic holds a [control
    /// character](crate::topic::has_control).
    #[inline]
    #[must_use]
    pub const fn has_control(&self) -> bool {
        self.has_control
    }

    /// Bytes of the whole packet.
    #[inline]
    #[must_use]
    pub const fn total_len(&self) -> usize {
        self.total as usize
    }

    /// Offset of the payload, which is also the length of everything in front of it.
    #[inline]
    #[must_use]
    pub const fn payload_at(&self) -> usize {
        self.payload_at as usize
    }

    /// Bytes of payload.
    #[inline]
    #[must_use]
    pub const fn payload_len(&self) -> usize {
        self.total as usize - self.payload_at as usize
    }

    /// The packet identifier, `None` at QoS 0.
    #[inline]
    #[must_use]
    pub const fn packet_id(&self) -> Option<u16> {
        match self.packet_id {
            0 => None,
            id => Some(id),
        }
    }

    /// The topic alias, `None` when the packet carries none.
    #[inline]
    #[must_use]
    pub const fn topic_alias(&self) -> Option<u16> {
        match self.topic_alias {
            0 => None,
            alias => Some(alias),
        }
    }

    /// The quality of service.
    #[inline]
    #[must_use]
    pub const fn qos(&self) -> QoS {
        match self.first & 0b0110 {
            0 => QoS::AtMostOnce,
            0b0010 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce, // 0b0110 does not pass the first-byte check
        }
    }

    /// True for a packet that may be a repetition.
    #[inline]
    #[must_use]
    pub const fn dup(&self) -> bool {
        self.first & 0b1000 != 0
    }

    /// The RETAIN flag.
    #[inline]
    #[must_use]
    pub const fn retain(&self) -> bool {
        self.first & 1 != 0
    }

    /// The topic name within `bytes`; empty when a topic alias stands in for it.
    #[inline]
    #[must_use]
    pub fn topic<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let at = usize::from(self.head_len) + 2;
        bytes
            .get(at..at + usize::from(self.topic_len))
            .unwrap_or_default()
    }
}

/// A validated PUBLISH, whole or without its payload.
#[derive(Clone, Copy)]
pub struct Publish<'a> {
    layout: PublishLayout,
    bytes: &'a [u8],
}

impl fmt::Debug for Publish<'_> {
    /// Sizes and flags only: packets carry other people's data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publish")
            .field("topic_len", &self.topic_bytes().len())
            .field("payload_len", &self.layout.payload_len())
            .field("qos", &self.qos())
            .field("retain", &self.retain())
            .field("dup", &self.dup())
            .field("packet_id", &self.packet_id())
            .finish_non_exhaustive()
    }
}

impl<'a> Publish<'a> {
    /// Lays a view over the bytes that `layout` was parsed from.
    ///
    /// `bytes` holds the packet, or only its first [`PublishLayout::payload_at`] bytes.
    #[must_use]
    pub const fn new(layout: PublishLayout, bytes: &'a [u8]) -> Self {
        Self { layout, bytes }
    }

    /// Offsets and flags.
    #[must_use]
    pub const fn layout(&self) -> &PublishLayout {
        &self.layout
    }

    /// The quality of service.
    #[must_use]
    pub const fn qos(&self) -> QoS {
        self.layout.qos()
    }

    /// The packet identifier, `None` at QoS 0.
    #[must_use]
    pub const fn packet_id(&self) -> Option<u16> {
        self.layout.packet_id()
    }

    /// The RETAIN flag.
    #[must_use]
    pub const fn retain(&self) -> bool {
        self.layout.retain()
    }

    /// True for a packet that may be a repetition.
    #[must_use]
    pub const fn dup(&self) -> bool {
        self.layout.dup()
    }

    /// The topic name as it stands in the packet: empty when a topic alias stands in for it.
    #[must_use]
    pub fn topic(&self) -> &'a str {
        core::str::from_utf8(self.layout.topic(self.bytes)).unwrap_or_default()
    }

    /// The topic name as bytes of valid UTF-8, without a second look at them.
    #[inline]
    #[must_use]
    pub fn topic_bytes(&self) -> &'a [u8] {
        self.layout.topic(self.bytes)
    }

    /// The properties; empty before MQTT 5.0.
    #[must_use]
    pub fn properties(&self) -> Properties<'a> {
        let block = self
            .bytes
            .get(self.layout.properties_at as usize..self.layout.payload_at())
            .unwrap_or_default();
        // when the layout was made
        Properties::validated(block)
    }

    /// The payload, `None` when the view was made without it.
    #[must_use]
    pub fn payload(&self) -> Option<&'a [u8]> {
        self.bytes
            .get(self.layout.payload_at()..self.layout.total_len())
    }

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

/// Validates a whole PUBLISH.
pub(crate) fn parse(
    head: Head,
    version: Version,
    direction: Direction,
    bytes: &[u8],
) -> Result<Publish<'_>, DecodeError> {
    let layout = PublishLayout::parse(head, version, direction, bytes)?;
    layout
        .map(|layout| Publish::new(layout, bytes))
        .ok_or(DecodeError::Truncated)
}

/// Writes a PUBLISH. The packet identifier is left out at QoS 0, the properties before MQTT 5.0.
///
/// # Errors
/// [`EncodeError`] when the topic name is not valid or the packet becomes too long.
pub fn encode_publish(
    version: Version,
    topic: &str,
    qos: QoS,
    packet_id: u16,
    properties: &[u8],
    payload: &[u8],
) -> Result<Bytes, EncodeError> {
    let topic_len = build::field_len(topic.as_bytes())?;
    check_topic_name(topic.as_bytes())?;
    let id = match qos {
        QoS::AtMostOnce => None,
        QoS::AtLeastOnce | QoS::ExactlyOnce => Some(build::packet_id(packet_id)?),
    };
    let id = id.as_ref().map_or(&[][..], |id| &id[..]);
    let block_len = varint::encode(properties.len())?;
    let (block_len, properties) = if version.is_v5() {
        (block_len.as_slice(), properties)
    } else {
        (&[][..], &[][..])
    };
    build::join(
        0x30 | qos.as_u8() << 1,
        &[
            &topic_len,
            topic.as_bytes(),
            id,
            block_len,
            properties,
            payload,
        ],
        0,
    )
}

/// A cursor behind the fixed header, for the packets that are always whole.
pub(super) fn body(head: Head, bytes: &[u8]) -> Result<Reader<'_>, DecodeError> {
    let packet = bytes
        .get(..head.total_len())
        .ok_or(DecodeError::Truncated)?;
    Ok(Reader::new(packet, head.len()))
}
