//! What SUBSCRIBE and UNSUBSCRIBE have in common: an entry for each topic filter, behind the packet
//! identifier and the properties.

use bytes::Bytes;

use super::body;
use crate::build;
use crate::error::{DecodeError, EncodeError};
use crate::head::Head;
use crate::kind::{Direction, Kind};
use crate::property::{Place, Properties};
use crate::reader::{Reader, check_topic_filter};
use crate::version::Version;

/// Where the fields of a SUBSCRIBE or UNSUBSCRIBE are. Lengths count back from the end of the packet, so
/// they still hold when the fixed header in front is [written anew](crate::normalise).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLayout {
    properties_len: u32,
    entries_len: u32,
    pub(super) count: u32,
    pub(super) packet_id: u16,
    pub(super) has_control: bool,
}

/// A validated SUBSCRIBE or UNSUBSCRIBE.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    pub(super) layout: RequestLayout,
    pub(super) bytes: &'a [u8],
}

impl<'a> Request<'a> {
    /// Validates a packet; `validate` takes what stands behind a topic filter.
    pub(super) fn parse(
        head: Head,
        version: Version,
        bytes: &'a [u8],
        validate: impl Fn(&str, &mut Reader<'a>) -> Result<(), DecodeError>,
    ) -> Result<Self, DecodeError> {
        let mut reader = body(head, bytes)?;
        let bytes = &bytes[..head.total_len()];
        let packet_id = reader.packet_id()?;
        let properties = if version.is_v5() {
            reader.properties(Place::Packet(head.kind(), Direction::ToServer))?
        } else {
            Properties::default()
        };
        let entries_len = bytes.len() - reader.position();
        let mut count = 0;
        while !reader.is_at_end() {
            let filter = reader.topic_filter()?;
            validate(filter, &mut reader)?;
            count += 1;
        }
        if count == 0 {
            return Err(DecodeError::NoTopicFilter);
        }
        let layout = RequestLayout {
            properties_len: properties.as_bytes().len() as u32,
            entries_len: entries_len as u32,
            count,
            packet_id,
            has_control: reader.has_control(),
        };
        Ok(Self { layout, bytes })
    }

    /// The entries, to be read one by one until the reader is at its end.
    pub(super) fn reader(&self) -> Reader<'a> {
        Reader::new(self.last(self.layout.entries_len as usize), 0)
    }

    pub(super) fn properties(&self) -> Properties<'a> {
        let len = self.layout.properties_len as usize;
        let block = self.last(len + self.layout.entries_len as usize);
        Properties::validated(block.get(..len).unwrap_or_default())
    }

    fn last(&self, len: usize) -> &'a [u8] {
        let at = self.bytes.len().checked_sub(len);
        at.and_then(|at| self.bytes.get(at..)).unwrap_or_default()
    }
}

/// The accessors of a view that wraps a [`Request`].
macro_rules! request_accessors {
    ($view:ident, $packet:literal) => {
        impl<'a> $view<'a> {
            /// Lays a view over the bytes of the whole packet that `layout` was made from.
            #[must_use]
            pub const fn new(layout: RequestLayout, bytes: &'a [u8]) -> Self {
                Self(Request { layout, bytes })
            }

            /// Where the fields are.
            #[must_use]
            pub const fn layout(&self) -> RequestLayout {
                self.0.layout
            }

            /// The packet identifier.
            #[must_use]
            pub const fn packet_id(&self) -> u16 {
                self.0.layout.packet_id
            }

            /// The properties; empty before MQTT 5.0.
            #[must_use]
            pub fn properties(&self) -> Properties<'a> {
                self.0.properties()
            }

            /// How many topic filters there are, at least one.
            #[must_use]
            pub const fn len(&self) -> usize {
                self.0.layout.count as usize
            }

            /// True when a topic filter holds a [control character](crate::topic::has_control).
            #[must_use]
            pub const fn has_control(&self) -> bool {
                self.0.layout.has_control
            }

            #[doc = concat!("Never: ", $packet, " has at least one topic filter.")]
            #[must_use]
            pub const fn is_empty(&self) -> bool {
                self.0.layout.count == 0
            }
        }
    };
}
pub(super) use request_accessors;

/// Appends a topic filter to the entries of a packet that is written.
pub(super) fn push_filter(entries: &mut Vec<u8>, filter: &str) -> Result<(), EncodeError> {
    entries.extend_from_slice(&build::field_len(filter.as_bytes())?);
    check_topic_filter(filter.as_bytes())?;
    entries.extend_from_slice(filter.as_bytes());
    Ok(())
}

/// Writes a packet with these entries.
pub(super) fn encode(
    first: u8,
    version: Version,
    packet_id: u16,
    properties: &[u8],
    entries: &[u8],
) -> Result<Bytes, EncodeError> {
    if entries.is_empty() {
        return Err(EncodeError::Invalid(DecodeError::NoTopicFilter));
    }
    let kind = if first == 0x82 {
        Kind::Subscribe
    } else {
        Kind::Unsubscribe
    };
    let properties = if version.is_v5() { properties } else { &[] };
    let len = build::properties(properties, Place::Packet(kind, Direction::ToServer))?;
    let len = if version.is_v5() { len.as_slice() } else { &[] };
    build::join(
        first,
        &[&build::packet_id(packet_id)?, len, properties, entries],
        0,
    )
}
