//! DISCONNECT and AUTH (MQTT 5.0 sections 3.14, 3.15): a reason code and properties, both of which
//! may be left out.

use bytes::Bytes;

use super::body;
use crate::build;
use crate::error::{DecodeError, EncodeError};
use crate::head::Head;
use crate::kind::{Direction, Kind};
use crate::property::{Place, Properties, PropertyId};
use crate::reason::ReasonCode;
use crate::version::Version;

/// A validated DISCONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Disconnect<'a> {
    /// The reason; normal disconnection (0x00) before MQTT 5.0 or when left out.
    pub reason: ReasonCode,
    /// The properties; empty before MQTT 5.0 or when left out.
    pub properties: Properties<'a>,
}

/// A validated AUTH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Auth<'a> {
    /// Success, continue or re-authenticate.
    pub reason: ReasonCode,
    /// The properties; Authentication Method among them.
    pub properties: Properties<'a>,
}

pub(crate) fn parse_disconnect(
    head: Head,
    version: Version,
    direction: Direction,
    bytes: &[u8],
) -> Result<Disconnect<'_>, DecodeError> {
    if !version.is_v5() {
        body(head, bytes)?.finish()?;
        return Ok(Disconnect {
            reason: ReasonCode::SUCCESS,
            properties: Properties::default(),
        });
    }
    let (reason, properties) = parse_reason(head, direction, bytes)?;
    let valid = match direction {
        Direction::ToServer => reason.is_valid_in_client_disconnect(),
        Direction::ToClient => reason.is_valid_in_server_disconnect(),
    };
    if valid {
        Ok(Disconnect { reason, properties })
    } else {
        Err(DecodeError::InvalidReasonCode)
    }
}

pub(crate) fn parse_auth(
    head: Head,
    direction: Direction,
    bytes: &[u8],
) -> Result<Auth<'_>, DecodeError> {
    let (reason, properties) = parse_reason(head, direction, bytes)?;
    let valid = match direction {
        Direction::ToServer => matches!(reason.as_u8(), 0x18 | 0x19),
        Direction::ToClient => matches!(reason.as_u8(), 0x00 | 0x18),
    };
    // section 3.15.2.1: the short form says success, and success only; every other form carries
    // the method (section 3.15.2.2.2)
    let has_method = properties.get(PropertyId::AuthenticationMethod).is_some();
    if !valid {
        return Err(DecodeError::InvalidReasonCode);
    }
    if !has_method && reason != ReasonCode::SUCCESS {
        return Err(DecodeError::AuthDataWithoutMethod);
    }
    Ok(Auth { reason, properties })
}

fn parse_reason(
    head: Head,
    direction: Direction,
    bytes: &[u8],
) -> Result<(ReasonCode, Properties<'_>), DecodeError> {
    let mut reader = body(head, bytes)?;
    if reader.is_at_end() {
        return Ok((ReasonCode::SUCCESS, Properties::default()));
    }
    let reason = ReasonCode::new(reader.u8()?);
    let properties = if reader.is_at_end() {
        Properties::default()
    } else {
        reader.properties(Place::Packet(head.kind(), direction))?
    };
    reader.finish()?;
    Ok((reason, properties))
}

/// Writes a DISCONNECT; before MQTT 5.0 without reason and properties. The reason is not looked at: client and broker
/// have different ones.
///
/// # Errors
/// [`EncodeError::Invalid`] for a property block that neither side may send in MQTT 5.0,
/// [`EncodeError::PacketTooLarge`] when the property block has no encoding.
pub fn encode_disconnect(
    version: Version,
    reason: ReasonCode,
    properties: &[u8],
) -> Result<Bytes, EncodeError> {
    encode_reason(Kind::Disconnect, version, reason, properties)
}

/// Writes an AUTH. The reason is not looked at.
///
/// # Errors
/// [`EncodeError::NoSuchField`] before MQTT 5.0, [`EncodeError::Invalid`] for a property block that is not valid, [`EncodeError::PacketTooLarge`] when the property
/// block has no encoding.
pub fn encode_auth(
    version: Version,
    reason: ReasonCode,
    properties: &[u8],
) -> Result<Bytes, EncodeError> {
    if version.is_v5() {
        encode_reason(Kind::Auth, version, reason, properties)
    } else {
        Err(EncodeError::NoSuchField)
    }
}

fn encode_reason(
    kind: Kind,
    version: Version,
    reason: ReasonCode,
    properties: &[u8],
) -> Result<Bytes, EncodeError> {
    let first = kind.as_u8() << 4;
    if !version.is_v5() || (reason == ReasonCode::SUCCESS && properties.is_empty()) {
        return build::join(first, &[], 0);
    }
    if properties.is_empty() {
        return build::join(first, &[&[reason.as_u8()]], 0);
    }
    let of = |direction| build::properties(properties, Place::Packet(kind, direction));
    let len = of(Direction::ToClient).or_else(|_| of(Direction::ToServer))?;
    build::join(first, &[&[reason.as_u8()], len.as_slice(), properties], 0)
}
