//! MQTT packets as bytes, put together by hand and taken apart no further than tests need.
//!
//! Shares no code with the proxy's codec, and refuses nothing: what is wrong on purpose can be
//! written too.

mod connect;
mod packet;
mod publish;

pub use self::connect::Connect;
pub use self::packet::{Packet, frame};
pub use self::publish::{Message, Publish};

/// A version of MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 3.1
    V31,
    /// 3.1.1
    V311,
    /// 5.0
    V5,
}

impl Version {
    /// All three.
    pub const ALL: [Self; 3] = [Self::V31, Self::V311, Self::V5];

    /// Whether packets have properties.
    #[must_use]
    pub const fn is_v5(self) -> bool {
        matches!(self, Self::V5)
    }

    /// The empty block of properties of a packet that must have one.
    const fn no_properties(self) -> &'static [u8] {
        if self.is_v5() { &[0] } else { &[] }
    }
}

/// A string or binary field.
///
/// # Panics
/// If it is longer than such a field can be.
#[must_use]
pub fn field(bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = bytes.as_ref();
    let len = u16::try_from(bytes.len()).expect("at most 65,535 bytes");
    [&len.to_be_bytes()[..], bytes].concat()
}

/// A User Property.
#[must_use]
pub fn user_property(name: &str, value: &str) -> Vec<u8> {
    [&[0x26][..], &field(name), &field(value)].concat()
}

/// A block of properties with its length.
#[must_use]
pub fn properties(properties: &[u8]) -> Vec<u8> {
    [&packet::length(properties.len()), properties].concat()
}

/// SUBSCRIBE with filters and their options (the QoS).
#[must_use]
pub fn subscribe(version: Version, id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    let mut body = [&id.to_be_bytes()[..], version.no_properties()].concat();
    for (filter, options) in filters {
        body.extend(field(filter));
        body.push(*options);
    }
    frame(0x82, &body)
}

/// SUBACK or, with its first byte, UNSUBACK.
#[must_use]
pub fn suback(version: Version, id: u16, codes: &[u8]) -> Vec<u8> {
    let body = [&id.to_be_bytes()[..], version.no_properties(), codes].concat();
    frame(0x90, &body)
}

/// UNSUBSCRIBE.
#[must_use]
pub fn unsubscribe(version: Version, id: u16, filters: &[&str]) -> Vec<u8> {
    let mut body = [&id.to_be_bytes()[..], version.no_properties()].concat();
    for filter in filters {
        body.extend(field(filter));
    }
    frame(0xa2, &body)
}

/// CONNACK without properties.
#[must_use]
pub fn connack(version: Version, code: u8) -> Vec<u8> {
    frame(0x20, &[&[0, code][..], version.no_properties()].concat())
}

/// PUBACK of success, in its shortest form.
#[must_use]
pub fn puback(id: u16) -> Vec<u8> {
    frame(0x40, &id.to_be_bytes())
}

/// PUBREC of success, in its shortest form.
#[must_use]
pub fn pubrec(id: u16) -> Vec<u8> {
    frame(0x50, &id.to_be_bytes())
}

/// PUBREL.
#[must_use]
pub fn pubrel(id: u16) -> Vec<u8> {
    frame(0x62, &id.to_be_bytes())
}

/// PUBCOMP.
#[must_use]
pub fn pubcomp(id: u16) -> Vec<u8> {
    frame(0x70, &id.to_be_bytes())
}

/// PINGREQ.
pub const PINGREQ: [u8; 2] = [0xc0, 0];

/// PINGRESP.
pub const PINGRESP: [u8; 2] = [0xd0, 0];

/// The CONNECT with which the proxy asks whether the broker answers.
pub const PROBE: [u8; 14] = *b"\x10\x0c\0\x04MQTT\x04\x02\0\x0a\0\0";

/// DISCONNECT: normal.
pub const DISCONNECT: [u8; 2] = [0xe0, 0];
