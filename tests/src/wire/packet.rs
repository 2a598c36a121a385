//! The frame that all packets have.

use std::fmt;

/// A packet from its first byte and what follows the length.
#[must_use]
pub fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    [&[first], &length(body.len())[..], body].concat()
}

/// A length as MQTT writes it.
pub(super) fn length(mut len: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (len % 128) as u8;
        len /= 128;
        bytes.push(if len > 0 { low | 0x80 } else { low });
        if len == 0 {
            return bytes;
        }
    }
}

/// The length that `bytes` begin with, and what stands behind it.
pub(super) fn read_length(bytes: &[u8]) -> (usize, &[u8]) {
    let mut len = 0;
    for (index, &byte) in bytes.iter().enumerate().take(4) {
        len |= usize::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            return (len, &bytes[index + 1..]);
        }
    }
    panic!("no length: {bytes:02x?}");
}

/// One whole packet, as it was received.
#[derive(Clone, PartialEq, Eq)]
pub struct Packet {
    bytes: Vec<u8>,
    body: usize,
}

impl Packet {
    /// Takes the packet that `received` begins with, if it is whole.
    ///
    /// # Panics
    /// If the length is none.
    pub fn take(received: &mut Vec<u8>) -> Option<Self> {
        let mut len = 0;
        for (index, &byte) in received.iter().skip(1).enumerate() {
            assert!(index < 4, "a length of five bytes: {received:02x?}");
            len |= usize::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                let body = index + 2;
                if received.len() < body + len {
                    return None;
                }
                let rest = received.split_off(body + len);
                let bytes = std::mem::replace(received, rest);
                return Some(Self { bytes, body });
            }
        }
        None
    }

    /// The type of the packet, 1 for CONNECT.
    #[must_use]
    pub fn kind(&self) -> u8 {
        self.bytes[0] >> 4
    }

    /// The first byte.
    #[must_use]
    pub fn first(&self) -> u8 {
        self.bytes[0]
    }

    /// All of it.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What follows the length.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.bytes[self.body..]
    }

    /// The packet identifier, of a packet whose body begins with one.
    ///
    /// # Panics
    /// If the body is too short.
    #[must_use]
    pub fn id(&self) -> u16 {
        u16::from_be_bytes([self.body()[0], self.body()[1]])
    }
}

/// Long payloads are cut.
impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.bytes[..self.bytes.len().min(256)];
        write!(f, "{} bytes: {shown:02x?} ", self.bytes.len())?;
        write!(f, "\"{}\"", shown.escape_ascii())
    }
}
