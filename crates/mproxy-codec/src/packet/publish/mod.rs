//! PUBLISH (MQTT 5.0 section 3.3).

mod edit;
mod layout;

use core::fmt;

use bytes::Bytes;

pub use self::{edit::PublishEdit, layout::PublishLayout};
use crate::build;
use crate::error::{DecodeError, EncodeError};
use crate::head::Head;
use crate::kind::{Direction, Kind};
use crate::property::{Place, Properties};
use crate::qos::QoS;
use crate::reader::check_topic_name;
use crate::version::Version;

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
/// [`EncodeError`] when the topic name is not valid, when the property block is not one that a PUBLISH of either
/// direction may carry, or when the packet becomes too long.
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
    let place = Place::Packet(Kind::Publish, Direction::ToClient);
    let properties = if version.is_v5() { properties } else { &[] };
    let block_len = build::properties(properties, place)?;
    let block_len = if version.is_v5() {
        block_len.as_slice()
    } else {
        &[]
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
