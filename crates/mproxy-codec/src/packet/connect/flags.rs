//! The connect flags, and the first fields of a CONNECT.

use crate::error::DecodeError;
use crate::head::Head;
use crate::version::Version;

pub(super) const FLAG_RESERVED: u8 = 0x01;
pub(super) const FLAG_CLEAN: u8 = 0x02;
pub(crate) const FLAG_WILL: u8 = 0x04;
pub(super) const WILL_QOS_SHIFT: u8 = 3;
pub(super) const FLAG_WILL_QOS: u8 = 0x18;
pub(super) const FLAG_WILL_RETAIN: u8 = 0x20;
pub(super) const FLAG_PASSWORD: u8 = 0x40;
pub(super) const FLAG_USER_NAME: u8 = 0x80;

/// The flags that describe a will.
pub(crate) const WILL_FLAGS: u8 = FLAG_WILL_QOS | FLAG_WILL_RETAIN;

/// A mosquitto bridge sets this bit in its protocol level.
pub(super) const LEVEL_BRIDGE: u8 = 0x80;

/// How the protocol name of MQTT 3.1 stands in a CONNECT.
pub(super) const V31_NAME: &[u8] = b"\0\x06MQIsdp";

/// Where the connect flags of a CONNECT of MQTT 3.1 are, and what they are.
pub(crate) fn v31_flags(frame: &[u8]) -> Option<(usize, u8)> {
    let head = Head::parse(frame).ok()??;
    let rest = frame.get(head.len()..)?;
    match *rest.strip_prefix(V31_NAME)? {
        [0x03 | 0x83, flags, ..] => Some((head.len() + 9, flags)),
        _ => None,
    }
}

pub(super) const fn check_flags(flags: u8, version: Version) -> Result<(), DecodeError> {
    // MQTT 3.1 section 3.1 disregards the bit
    if flags & FLAG_RESERVED != 0 && !matches!(version, Version::V31) {
        return Err(DecodeError::ConnectFlagReserved);
    }
    if flags & FLAG_WILL == 0 {
        if flags & FLAG_WILL_QOS != 0 {
            return Err(DecodeError::WillQosWithoutWill);
        }
        if flags & FLAG_WILL_RETAIN != 0 {
            return Err(DecodeError::WillRetainWithoutWill);
        }
    } else if flags & FLAG_WILL_QOS == FLAG_WILL_QOS {
        return Err(DecodeError::WillQosThree);
    }
    if flags & FLAG_PASSWORD != 0 && flags & FLAG_USER_NAME == 0 && !version.is_v5() {
        return Err(DecodeError::PasswordWithoutUserName);
    }
    Ok(())
}
