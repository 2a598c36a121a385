//! CONNACK (MQTT 5.0 section 3.2).

use bytes::Bytes;
use mqtt::Encodable as _;
use mqtt::control::ConnectReturnCode;
use mqtt::packet::ConnackPacket;

use super::publish::body;
use crate::build;
use crate::error::{DecodeError, EncodeError};
use crate::head::Head;
use crate::kind::{Direction, Kind};
use crate::property::{Place, Properties};
use crate::reason::ReasonCode;
use crate::varint;
use crate::version::Version;

/// A validated CONNACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Connack<'a> {
    /// The broker had a session for this client identifier.
    pub session_present: bool,
    /// The return code of MQTT 3.x (0 to 5) or the reason code of MQTT 5.0.
    pub code: u8,
    /// The properties; empty before MQTT 5.0.
    pub properties: Properties<'a>,
}

impl Connack<'_> {
    /// True when the connection is accepted.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        self.code == 0
    }

    /// The name of the code in the words of MQTT 5.0, for logs and metrics.
    #[must_use]
    pub const fn reason(&self, version: Version) -> ReasonCode {
        if version.is_v5() {
            return ReasonCode::new(self.code);
        }
        match self.code {
            0 => ReasonCode::SUCCESS,
            1 => ReasonCode::UNSUPPORTED_PROTOCOL_VERSION,
            2 => ReasonCode::CLIENT_IDENTIFIER_NOT_VALID,
            3 => ReasonCode::SERVER_UNAVAILABLE,
            4 => ReasonCode::BAD_USER_NAME_OR_PASSWORD,
            5 => ReasonCode::NOT_AUTHORIZED,
            _ => ReasonCode::UNSPECIFIED_ERROR,
        }
    }
}

pub(crate) fn parse(
    head: Head,
    version: Version,
    bytes: &[u8],
) -> Result<Connack<'_>, DecodeError> {
    let mut reader = body(head, bytes)?;
    let flags = reader.u8()?;
    let code = reader.u8()?;
    if flags & 0xfe != 0 {
        return Err(DecodeError::ConnackFlags);
    }
    let mut properties = Properties::default();
    if version.is_v5() {
        if !ReasonCode::new(code).is_valid_in_connack() {
            return Err(DecodeError::InvalidReasonCode);
        }
        properties = reader.properties(Place::Packet(Kind::Connack, Direction::ToClient))?;
    } else if code > 5 {
        return Err(DecodeError::InvalidReasonCode);
    }
    reader.finish()?;
    let session_present = flags & 1 != 0;
    if session_present && code != 0 {
        return Err(DecodeError::SessionPresentOnFailure);
    }
    Ok(Connack {
        session_present,
        code,
        properties,
    })
}

/// Writes a CONNACK that refuses, in the form of the client's version (MQTT 3.x: the nearest
/// return code, without properties).
///
/// # Errors
/// [`EncodeError::PacketTooLarge`] when the property block has no encoding.
pub fn encode_refusal(
    version: Version,
    reason: ReasonCode,
    properties: &[u8],
) -> Result<Bytes, EncodeError> {
    if version.is_v5() {
        let len = varint::encode(properties.len())?;
        return build::join(0x20, &[&[0, reason.as_u8()], len.as_slice(), properties], 0);
    }
    let code = ConnectReturnCode::from_u8(reason.as_connect_return_code());
    let mut packet = Vec::with_capacity(4);
    ConnackPacket::new(false, code)
        .encode(&mut packet)
        .map_err(|_| EncodeError::PacketTooLarge)?;
    Ok(packet.into())
}

impl Connack<'_> {
    /// Writes the same CONNACK with another property block.
    ///
    /// # Errors
    /// [`EncodeError::NoSuchField`] before MQTT 5.0, [`EncodeError::PacketTooLarge`] when the
    /// block has no encoding.
    pub fn with_properties(
        &self,
        version: Version,
        properties: &[u8],
    ) -> Result<Bytes, EncodeError> {
        if !version.is_v5() {
            return Err(EncodeError::NoSuchField);
        }
        let len = varint::encode(properties.len())?;
        let fixed = [u8::from(self.session_present), self.code];
        build::join(0x20, &[&fixed, len.as_slice(), properties], 0)
    }
}
