//! CONNACK (MQTT 5.0 section 3.2).

use bytes::Bytes;
use mqtt::Encodable as _;
use mqtt::control::ConnectReturnCode;
use mqtt::packet::ConnackPacket;

use super::body;
use crate::build;
use crate::error::{DecodeError, EncodeError};
use crate::head::Head;
use crate::kind::{Direction, Kind};
use crate::property::{Place, Properties};
use crate::reason::ReasonCode;
use crate::version::Version;

const PLACE: Place = Place::Packet(Kind::Connack, Direction::ToClient);

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
            ReasonCode::new(self.code)
        } else {
            ReasonCode::of_connect_return_code(self.code)
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
        properties = reader.properties(PLACE)?;
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

/// Writes a CONNACK with exactly this code. MQTT 3.x has six codes, those that
/// [`Connack::reason`] returns. [`encode_refusal`] finds the nearest for any other.
///
/// ```
/// use mproxy_codec::{ReasonCode, Version, encode_connack};
/// let accepted = encode_connack(Version::V311, true, ReasonCode::SUCCESS, &[])?;
/// assert_eq!(&accepted[..], b"\x20\x02\x01\x00");
/// let refused = encode_connack(Version::V5, false, ReasonCode::NOT_AUTHORIZED, &[])?;
/// assert_eq!(&refused[..], b"\x20\x03\x00\x87\x00");
/// # Ok::<(), mproxy_codec::EncodeError>(())
/// ```
///
/// # Errors
/// [`EncodeError::Invalid`] with [`DecodeError::InvalidReasonCode`] for a reason that a CONNACK of
/// this version cannot carry ([MQTT-3.2.2-8], MQTT 3.1.1 table 3.1), with
/// [`DecodeError::SessionPresentOnFailure`] ([MQTT-3.2.2-6], [MQTT-3.2.2-4] of MQTT 3.1.1), or with
/// what is wrong with the property block; [`EncodeError::NoSuchField`] for properties before MQTT
/// 5.0; [`EncodeError::PacketTooLarge`] when the block has no encoding.
pub fn encode_connack(
    version: Version,
    session_present: bool,
    reason: ReasonCode,
    properties: &[u8],
) -> Result<Bytes, EncodeError> {
    let code = return_code(version, reason).ok_or(DecodeError::InvalidReasonCode)?;
    if session_present && code != 0 {
        return Err(DecodeError::SessionPresentOnFailure.into());
    }
    let fixed = [u8::from(session_present), code];
    if !version.is_v5() {
        return match properties {
            [] => build::join(0x20, &[&fixed], 0),
            _ => Err(EncodeError::NoSuchField),
        };
    }
    let len = build::properties(properties, PLACE)?;
    build::join(0x20, &[&fixed, len.as_slice(), properties], 0)
}

/// The code for `reason` in a CONNACK of this version, if it has one.
const fn return_code(version: Version, reason: ReasonCode) -> Option<u8> {
    if version.is_v5() {
        return match reason.is_valid_in_connack() {
            true => Some(reason.as_u8()),
            false => None,
        };
    }
    match reason {
        ReasonCode::SUCCESS => Some(0),
        ReasonCode::UNSUPPORTED_PROTOCOL_VERSION => Some(1),
        ReasonCode::CLIENT_IDENTIFIER_NOT_VALID => Some(2),
        ReasonCode::SERVER_UNAVAILABLE => Some(3),
        ReasonCode::BAD_USER_NAME_OR_PASSWORD => Some(4),
        ReasonCode::NOT_AUTHORIZED => Some(5),
        _ => None,
    }
}

/// Writes a CONNACK that refuses, in the form of the client's version (MQTT 3.x: the nearest
/// return code, without properties). The reason is not looked at in MQTT 5.0.
///
/// # Errors
/// [`EncodeError::Invalid`] for a property block that is not valid, [`EncodeError::PacketTooLarge`] when the property block has no encoding.
pub fn encode_refusal(
    version: Version,
    reason: ReasonCode,
    properties: &[u8],
) -> Result<Bytes, EncodeError> {
    if version.is_v5() {
        let len = build::properties(properties, PLACE)?;
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
    /// [`EncodeError::NoSuchField`] before MQTT 5.0, [`EncodeError::Invalid`] for a block that is not valid,
    /// [`EncodeError::PacketTooLarge`] when the block has no encoding.
    pub fn with_properties(
        &self,
        version: Version,
        properties: &[u8],
    ) -> Result<Bytes, EncodeError> {
        if !version.is_v5() {
            return Err(EncodeError::NoSuchField);
        }
        let len = build::properties(properties, PLACE)?;
        let fixed = [u8::from(self.session_present), self.code];
        build::join(0x20, &[&fixed, len.as_slice(), properties], 0)
    }
}
