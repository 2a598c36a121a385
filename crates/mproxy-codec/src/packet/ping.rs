//! PINGREQ and PINGRESP (MQTT 5.0 sections 3.12, 3.13).

use super::body;
use crate::error::DecodeError;
use crate::head::Head;

/// A whole PINGREQ.
pub const PINGREQ: [u8; 2] = [0xc0, 0x00];

/// A whole PINGRESP.
pub const PINGRESP: [u8; 2] = [0xd0, 0x00];

pub(crate) fn check(head: Head, bytes: &[u8]) -> Result<(), DecodeError> {
    body(head, bytes)?.finish()
}
