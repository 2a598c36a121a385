//! UNSUBSCRIBE and UNSUBACK (MQTT 5.0 sections 3.10, 3.11). UNSUBACK is read as a
//! [`Suback`](super::Suback): the two have one shape.

use bytes::Bytes;

use super::publish::body;
use super::subscribe::encode_entries;
use crate::build;
use crate::error::{DecodeError, EncodeError};
use crate::head::Head;
use crate::kind::{Direction, Kind};
use crate::property::{Place, Properties};
use crate::reader::{Reader, check_topic_filter};
use crate::varint;
use crate::version::Version;

/// A validated UNSUBSCRIBE.
#[derive(Clone, Copy, Debug)]
pub struct Unsubscribe<'a> {
    packet_id: u16,
    properties: Properties<'a>,
    entries: &'a [u8],
    count: u32,
}

impl<'a> Unsubscribe<'a> {
    /// The packet identifier.
    #[must_use]
    pub const fn packet_id(&self) -> u16 {
        self.packet_id
    }

    /// The properties; empty before MQTT 5.0.
    #[must_use]
    pub const fn properties(&self) -> Properties<'a> {
        self.properties
    }

    /// How many topic filters there are, at least one.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// Never: an UNSUBSCRIBE has at least one topic filter.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The topic filters, in order.
    pub fn filters(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        let mut reader = Reader::new(self.entries, 0);
        core::iter::from_fn(move || {
            if reader.is_at_end() {
                None
            } else {
                reader.string().ok()
            }
        })
    }
}

pub(crate) fn parse(
    head: Head,
    version: Version,
    bytes: &[u8],
) -> Result<Unsubscribe<'_>, DecodeError> {
    let mut reader = body(head, bytes)?;
    let packet_id = reader.packet_id()?;
    let properties = if version.is_v5() {
        reader.properties(Place::Packet(Kind::Unsubscribe, Direction::ToServer))?
    } else {
        Properties::default()
    };
    let entries = &bytes[reader.position()..head.total_len()];
    let mut count = 0;
    while !reader.is_at_end() {
        check_topic_filter(reader.binary()?)?;
        count += 1;
    }
    if count == 0 {
        return Err(DecodeError::NoTopicFilter);
    }
    Ok(Unsubscribe {
        packet_id,
        properties,
        entries,
        count,
    })
}

/// Writes an UNSUBSCRIBE; the properties are left out before MQTT 5.0.
///
/// # Errors
/// [`EncodeError`] when there is no filter, one is not valid or the packet becomes too long.
pub fn encode_unsubscribe<'a>(
    version: Version,
    packet_id: u16,
    properties: &[u8],
    filters: impl IntoIterator<Item = &'a str>,
) -> Result<Bytes, EncodeError> {
    let mut entries = Vec::new();
    for filter in filters {
        entries.extend_from_slice(&build::field_len(filter.as_bytes())?);
        check_topic_filter(filter.as_bytes())?;
        entries.extend_from_slice(filter.as_bytes());
    }
    encode_entries(0xa2, version, packet_id, properties, &entries)
}

/// Writes an UNSUBACK; the codes are left out before MQTT 5.0.
///
/// # Errors
/// [`EncodeError::Invalid`] for packet identifier 0, [`EncodeError::PacketTooLarge`] when the packet
/// becomes too long.
pub fn encode_unsuback(
    version: Version,
    packet_id: u16,
    properties: &[u8],
    codes: &[u8],
) -> Result<Bytes, EncodeError> {
    let id = build::packet_id(packet_id)?;
    if !version.is_v5() {
        return build::join(0xb0, &[&id], 0);
    }
    let len = varint::encode(properties.len())?;
    build::join(0xb0, &[&id, len.as_slice(), properties, codes], 0)
}
