//! PUBLISH.

use super::packet::{length, read_length};
use super::{Packet, Version, field, properties};

/// A message on its way.
#[derive(Clone, Debug)]
pub struct Publish {
    version: Version,
    topic: String,
    qos: u8,
    id: u16,
    retain: bool,
    dup: bool,
    properties: Vec<u8>,
}

impl Publish {
    /// QoS 0 and not retained.
    #[must_use]
    pub fn new(version: Version, topic: &str) -> Self {
        Self {
            version,
            topic: topic.to_owned(),
            qos: 0,
            id: 0,
            retain: false,
            dup: false,
            properties: Vec::new(),
        }
    }

    /// With this QoS, and the identifier that it needs above 0.
    #[must_use]
    pub const fn qos(mut self, qos: u8, id: u16) -> Self {
        self.qos = qos;
        self.id = id;
        self
    }

    /// Retained.
    #[must_use]
    pub const fn retain(mut self) -> Self {
        self.retain = true;
        self
    }

    /// Sent again.
    #[must_use]
    pub const fn dup(mut self) -> Self {
        self.dup = true;
        self
    }

    /// With properties, in 5.0.
    #[must_use]
    pub fn properties(mut self, properties: &[u8]) -> Self {
        self.properties.extend_from_slice(properties);
        self
    }

    /// The packet.
    #[must_use]
    pub fn bytes(&self, payload: impl AsRef<[u8]>) -> Vec<u8> {
        let payload = payload.as_ref();
        [&self.head(payload.len())[..], payload].concat()
    }

    /// What stands before a payload of `len` bytes, which need not exist at once.
    #[must_use]
    pub fn head(&self, len: usize) -> Vec<u8> {
        let mut body = field(&self.topic);
        if self.qos > 0 {
            body.extend(self.id.to_be_bytes());
        }
        if self.version.is_v5() {
            body.extend(properties(&self.properties));
        }
        let flags = u8::from(self.dup) << 3 | self.qos << 1 | u8::from(self.retain);
        [&[0x30 | flags], &length(body.len() + len)[..], &body].concat()
    }
}

/// A message that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where it was published.
    pub topic: String,
    /// With which QoS it was delivered.
    pub qos: u8,
    /// The packet identifier; 0 with QoS 0.
    pub id: u16,
    /// Whether it was kept by the broker.
    pub retain: bool,
    /// The properties, without their length.
    pub properties: Vec<u8>,
    /// The payload.
    pub payload: Vec<u8>,
}

impl Message {
    /// Takes a PUBLISH apart.
    ///
    /// # Panics
    /// If the packet is none.
    #[must_use]
    pub fn of(packet: &Packet, version: Version) -> Self {
        assert_eq!(packet.kind(), 3, "no PUBLISH: {packet:?}");
        let (len, rest) = packet.body().split_at(2);
        let (topic, mut rest) = rest.split_at(usize::from(u16::from_be_bytes([len[0], len[1]])));
        let qos = packet.first() >> 1 & 3;
        let mut id = 0;
        if qos > 0 {
            id = u16::from_be_bytes([rest[0], rest[1]]);
            rest = &rest[2..];
        }
        let mut block: &[u8] = &[];
        if version.is_v5() {
            let (len, behind) = read_length(rest);
            (block, rest) = behind.split_at(len);
        }
        Self {
            topic: String::from_utf8(topic.to_vec()).expect("a topic is text"),
            qos,
            id,
            retain: packet.first() & 1 == 1,
            properties: block.to_vec(),
            payload: rest.to_vec(),
        }
    }

    /// The payload as text.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn text(&self) -> &str {
        str::from_utf8(&self.payload).expect("the payload is text")
    }
}
