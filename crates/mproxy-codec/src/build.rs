//! Assembles packets from slices: the only place that writes a fixed header.

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::{DecodeError, EncodeError};
use crate::property::{Place, Properties};
use crate::varint::{self, Encoded};

/// Joins `parts` after a fixed header with the minimal remaining length.
///
/// `streamed` bytes of payload follow later and are counted in the remaining length.
///
/// # Errors
/// [`EncodeError::PacketTooLarge`] when the remaining length has no encoding.
pub(crate) fn join(first: u8, parts: &[&[u8]], streamed: usize) -> Result<Bytes, EncodeError> {
    let body: usize = parts.iter().map(|part| part.len()).sum();
    let remaining = varint::encode(body.saturating_add(streamed))?;
    let mut packet = BytesMut::with_capacity(1 + remaining.as_slice().len() + body);
    packet.put_u8(first);
    packet.put_slice(remaining.as_slice());
    for part in parts {
        packet.put_slice(part);
    }
    Ok(packet.freeze())
}

/// The length in front of a property block of MQTT 5.0, once the block is known to be valid.
///
/// # Errors
/// [`EncodeError::PacketTooLarge`] when it has no encoding, [`EncodeError::Invalid`] with what is wrong with the
/// block.
pub(crate) fn properties(block: &[u8], place: Place) -> Result<Encoded, EncodeError> {
    let len = varint::encode(block.len())?;
    Properties::parse(block, place)?;
    Ok(len)
}

/// A packet identifier, which is never 0.
///
/// # Errors
/// [`EncodeError::Invalid`] for 0.
pub(crate) const fn packet_id(id: u16) -> Result<[u8; 2], EncodeError> {
    if id == 0 {
        Err(EncodeError::Invalid(DecodeError::PacketIdZero))
    } else {
        Ok(id.to_be_bytes())
    }
}

/// The two-byte length in front of a string or binary field.
///
/// # Errors
/// [`EncodeError::FieldTooLong`] above 65,535 bytes.
pub(crate) fn field_len(field: &[u8]) -> Result<[u8; 2], EncodeError> {
    u16::try_from(field.len())
        .map(u16::to_be_bytes)
        .map_err(|_| EncodeError::FieldTooLong)
}
