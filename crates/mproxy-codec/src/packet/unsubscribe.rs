//! UNSUBSCRIBE and UNSUBACK (MQTT 5.0 sections 3.10, 3.11). UNSUBACK is read as a
//! [`Suback`](super::Suback): the two have one shape.

use bytes::Bytes;

use super::request::{self, Request, RequestLayout, request_accessors};
use crate::build;
use crate::error::{DecodeError, EncodeError};
use crate::head::Head;
use crate::kind::{Direction, Kind};
use crate::property::{Place, Properties};
use crate::topic::TopicFilter;
use crate::version::Version;

/// A validated UNSUBSCRIBE.
#[derive(Clone, Copy, Debug)]
pub struct Unsubscribe<'a>(Request<'a>);

request_accessors!(Unsubscribe, "an UNSUBSCRIBE");

impl<'a> Unsubscribe<'a> {
    /// The topic filters, in order.
    pub fn filters(&self) -> impl Iterator<Item = TopicFilter<'a>> + use<'a> {
        let mut reader = self.0.reader();
        // validated: a read fails at the end only
        core::iter::from_fn(move || reader.string().ok().map(TopicFilter::trusted))
    }
}

pub(crate) fn parse(
    head: Head,
    version: Version,
    bytes: &[u8],
) -> Result<Unsubscribe<'_>, DecodeError> {
    Request::parse(head, version, bytes, |_, _| Ok(())).map(Unsubscribe)
}

/// Writes an UNSUBSCRIBE; the properties are left out before MQTT 5.0.
///
/// # Errors
/// [`EncodeError`] if there is no filter, if a filter or, in MQTT 5.0, the property block is not valid, or if the
/// packet becomes too long.
pub fn encode_unsubscribe<F: AsRef<str>>(
    version: Version,
    packet_id: u16,
    properties: &[u8],
    filters: impl IntoIterator<Item = F>,
) -> Result<Bytes, EncodeError> {
    let mut entries = Vec::new();
    for filter in filters {
        request::push_filter(&mut entries, filter.as_ref())?;
    }
    request::encode(0xa2, version, packet_id, properties, &entries)
}

/// Writes an UNSUBACK; codes and properties are left out before MQTT 5.0.
///
/// # Errors
/// [`EncodeError::Invalid`] for packet identifier 0 and for a property block that is not valid,
/// [`EncodeError::PacketTooLarge`] when the packet becomes too long. The codes are not looked at.
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
    let place = Place::Packet(Kind::Unsuback, Direction::ToClient);
    let len = build::properties(properties, place)?;
    build::join(0xb0, &[&id, len.as_slice(), properties, codes], 0)
}
