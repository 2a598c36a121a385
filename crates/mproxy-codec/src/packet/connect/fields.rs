//! The fields of a CONNECT, from which a new one is joined.

use bytes::Bytes;

use super::flags::{FLAG_PASSWORD, FLAG_USER_NAME, LEVEL_BRIDGE, V31_NAME};
use crate::build;
use crate::error::EncodeError;
use crate::varint;
use crate::version::Version;

/// The contents of the fields, without the lengths in front of them.
pub(super) struct Fields<'a> {
    pub(super) flags: u8,
    pub(super) keep_alive: u16,
    pub(super) properties: &'a [u8],
    pub(super) client_id: &'a [u8],
    pub(super) will: Option<WillFields<'a>>,
    pub(super) user_name: Option<&'a [u8]>,
    pub(super) password: Option<&'a [u8]>,
}

pub(super) struct WillFields<'a> {
    pub(super) properties: &'a [u8],
    pub(super) topic: &'a [u8],
    pub(super) payload: &'a [u8],
}

impl Fields<'_> {
    /// Writes a packet. The flags of the credentials follow from the fields.
    pub(super) fn join(&self, version: Version, is_bridge: bool) -> Result<Bytes, EncodeError> {
        let v5 = version.is_v5();
        let name: &[u8] = match version {
            Version::V31 => V31_NAME,
            Version::V311 | Version::V5 => b"\0\x04MQTT",
        };
        let bridge = if is_bridge { LEVEL_BRIDGE } else { 0 };
        let mut flags = self.flags & !(FLAG_USER_NAME | FLAG_PASSWORD);
        if self.user_name.is_some() {
            flags |= FLAG_USER_NAME;
        }
        if self.password.is_some() {
            flags |= FLAG_PASSWORD;
        }
        let mut packet = Vec::with_capacity(64);
        packet.extend_from_slice(name);
        packet.push(version.level() | bridge);
        packet.push(flags);
        packet.extend_from_slice(&self.keep_alive.to_be_bytes());
        let push_block = |packet: &mut Vec<u8>, block: &[u8]| -> Result<(), EncodeError> {
            packet.extend_from_slice(varint::encode(block.len())?.as_slice());
            packet.extend_from_slice(block);
            Ok(())
        };
        let push_field = |packet: &mut Vec<u8>, field: &[u8]| -> Result<(), EncodeError> {
            packet.extend_from_slice(&build::field_len(field)?);
            packet.extend_from_slice(field);
            Ok(())
        };
        if v5 {
            push_block(&mut packet, self.properties)?;
        }
        push_field(&mut packet, self.client_id)?;
        if let Some(will) = &self.will {
            if v5 {
                push_block(&mut packet, will.properties)?;
            }
            push_field(&mut packet, will.topic)?;
            push_field(&mut packet, will.payload)?;
        }
        for field in [self.user_name, self.password].into_iter().flatten() {
            push_field(&mut packet, field)?;
        }
        build::join(0x10, &[&packet], 0)
    }
}
