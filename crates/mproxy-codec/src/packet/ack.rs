//! PUBACK, PUBREC, PUBREL and PUBCOMP: one shape (MQTT 5.0 sections 3.4 to 3.7).

use bytes::Bytes;

use super::body;
use crate::build;
use crate::error::{DecodeError, EncodeError};
use crate::head::Head;
use crate::kind::{Direction, Kind};
use crate::property::{Place, Properties};
use crate::reason::ReasonCode;
use crate::version::Version;

/// A validated PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ack<'a> {
    /// Which of the four it is.
    pub kind: Kind,
    /// The packet identifier of the PUBLISH that is acknowledged.
    pub packet_id: u16,
    /// The reason code; success before MQTT 5.0 or when left out.
    pub reason: ReasonCode,
    /// The properties; empty before MQTT 5.0 or when left out.
    pub properties: Properties<'a>,
}

pub(crate) fn parse(
    head: Head,
    version: Version,
    direction: Direction,
    bytes: &[u8],
) -> Result<Ack<'_>, DecodeError> {
    let kind = head.kind();
    let mut reader = body(head, bytes)?;
    let packet_id = reader.packet_id()?;
    let mut reason = ReasonCode::SUCCESS;
    let mut properties = Properties::default();
    if version.is_v5() && !reader.is_at_end() {
        reason = ReasonCode::new(reader.u8()?);
        if !is_valid(kind, direction, reason) {
            return Err(DecodeError::InvalidReasonCode);
        }
        if !reader.is_at_end() {
            properties = reader.properties(Place::Packet(kind, direction))?;
        }
    }
    reader.finish()?;
    Ok(Ack {
        kind,
        packet_id,
        reason,
        properties,
    })
}

/// Whether the packet can carry this code.
fn is_valid(kind: Kind, direction: Direction, reason: ReasonCode) -> bool {
    match kind {
        // section 3.4.2.1 does not list it, and mosquitto answers a PUBLISH with it
        Kind::Puback | Kind::Pubrec if direction == Direction::ToClient => {
            reason.is_valid_in_puback() || reason == ReasonCode::PACKET_TOO_LARGE
        }
        Kind::Puback | Kind::Pubrec => reason.is_valid_in_puback(),
        _ => reason.is_valid_in_pubrel(),
    }
}

/// Writes a PUBACK, PUBREC, PUBREL or PUBCOMP. Before MQTT 5.0 reason and properties are left out.
///
/// # Errors
/// [`EncodeError::NoSuchField`] when `kind` is none of the four, [`EncodeError::Invalid`] for
/// packet identifier 0 and, in MQTT 5.0, for a reason code that the packet cannot carry and for a property block
/// that is not valid, [`EncodeError::PacketTooLarge`] when the block has no encoding.
pub fn encode_ack(
    version: Version,
    kind: Kind,
    packet_id: u16,
    reason: ReasonCode,
    properties: &[u8],
) -> Result<Bytes, EncodeError> {
    let first = match kind {
        Kind::Puback | Kind::Pubrec | Kind::Pubcomp => kind.as_u8() << 4,
        Kind::Pubrel => 0x62,
        _ => return Err(EncodeError::NoSuchField),
    };
    let id = build::packet_id(packet_id)?;
    if !version.is_v5() || (reason == ReasonCode::SUCCESS && properties.is_empty()) {
        return build::join(first, &[&id], 0);
    }
    // a broker is not called broken for 0x95, and what was read can be written
    if !is_valid(kind, Direction::ToClient, reason) {
        return Err(DecodeError::InvalidReasonCode.into());
    }
    if properties.is_empty() {
        return build::join(first, &[&id, &[reason.as_u8()]], 0);
    }
    let len = build::properties(properties, Place::Packet(kind, Direction::ToClient))?;
    build::join(
        first,
        &[&id, &[reason.as_u8()], len.as_slice(), properties],
        0,
    )
}
