//! Packets, appended to a buffer.

use super::{Version, first};

/// A PUBLISH to encode.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Publish<'a> {
    pub(crate) version: Version,
    pub(crate) qos: u8,
    /// Left out at QoS 0.
    pub(crate) id: u16,
    pub(crate) topic: &'a [u8],
    /// Property bytes without their length; only in version 5.
    pub(crate) properties: &'a [u8],
    pub(crate) payload: &'a [u8],
}

/// CONNECT with a clean start, no keep-alive (an idle load must stay silent), no will.
pub(crate) fn connect(out: &mut Vec<u8>, version: Version, client_id: &str) {
    let properties = usize::from(version == Version::V5);
    head(out, first::CONNECT, 10 + properties + 2 + client_id.len());
    string(out, b"MQTT");
    out.push(if version == Version::V5 { 5 } else { 4 });
    out.push(0x02);
    out.extend_from_slice(&0u16.to_be_bytes());
    no_properties(out, version);
    string(out, client_id.as_bytes());
}

/// CONNACK: accepted, no session present.
pub(crate) fn connack(out: &mut Vec<u8>, version: Version) {
    head(out, first::CONNACK, 2 + usize::from(version == Version::V5));
    out.extend_from_slice(&[0, 0]);
    no_properties(out, version);
}

/// PUBLISH, neither retained nor a duplicate.
pub(crate) fn publish(out: &mut Vec<u8>, packet: &Publish<'_>) {
    let id = if packet.qos == 0 { 0 } else { 2 };
    let properties = match packet.version {
        Version::V3 => 0,
        Version::V5 => varint_len(packet.properties.len()) + packet.properties.len(),
    };
    let body = 2 + packet.topic.len() + id + properties + packet.payload.len();
    head(out, first::PUBLISH | packet.qos << 1, body);
    string(out, packet.topic);
    if packet.qos > 0 {
        out.extend_from_slice(&packet.id.to_be_bytes());
    }
    if packet.version == Version::V5 {
        varint(out, packet.properties.len());
        out.extend_from_slice(packet.properties);
    }
    out.extend_from_slice(packet.payload);
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP in the short form that means success in every version.
pub(crate) fn ack(out: &mut Vec<u8>, first: u8, id: u16) {
    head(out, first, 2);
    out.extend_from_slice(&id.to_be_bytes());
}

/// SUBSCRIBE to one filter at QoS 0.
pub(crate) fn subscribe(out: &mut Vec<u8>, version: Version, id: u16, filter: &str) {
    let properties = usize::from(version == Version::V5);
    head(out, first::SUBSCRIBE, 2 + properties + 2 + filter.len() + 1);
    out.extend_from_slice(&id.to_be_bytes());
    no_properties(out, version);
    string(out, filter.as_bytes());
    out.push(0);
}

/// SUBACK with one code a filter.
pub(crate) fn suback(out: &mut Vec<u8>, version: Version, id: u16, codes: &[u8]) {
    head(
        out,
        first::SUBACK,
        2 + usize::from(version == Version::V5) + codes.len(),
    );
    out.extend_from_slice(&id.to_be_bytes());
    no_properties(out, version);
    out.extend_from_slice(codes);
}

/// UNSUBACK; version 5 has one code (success) a filter.
pub(crate) fn unsuback(out: &mut Vec<u8>, version: Version, id: u16, filters: usize) {
    let rest = if version == Version::V5 {
        1 + filters
    } else {
        0
    };
    head(out, first::UNSUBACK, 2 + rest);
    out.extend_from_slice(&id.to_be_bytes());
    out.resize(out.len() + rest, 0);
}

fn head(out: &mut Vec<u8>, first: u8, body: usize) {
    out.push(first);
    varint(out, body);
}

fn varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn varint_len(value: usize) -> usize {
    match value {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    }
}

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    // Every caller passes a constant, or a topic that came with a two-byte length itself.
    out.extend_from_slice(&(bytes.len() as u16).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn no_properties(out: &mut Vec<u8>, version: Version) {
    if version == Version::V5 {
        out.push(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_the_standard() {
        let mut out = Vec::new();
        connect(&mut out, Version::V3, "a");
        assert_eq!(out, b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01a");
        out.clear();
        connect(&mut out, Version::V5, "a");
        assert_eq!(out, b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01a");
        out.clear();
        subscribe(&mut out, Version::V5, 7, "x/y");
        assert_eq!(out, b"\x82\x09\x00\x07\x00\x00\x03x/y\x00");
        out.clear();
        unsuback(&mut out, Version::V5, 7, 2);
        assert_eq!(out, b"\xb0\x05\x00\x07\x00\x00\x00");
    }

    #[test]
    fn publish_carries_an_id_above_qos_0_and_properties_in_version_5() {
        let mut packet = Publish {
            version: Version::V3,
            qos: 0,
            id: 9,
            topic: b"t",
            properties: b"\x01\x01",
            payload: b"xy",
        };
        let mut out = Vec::new();
        publish(&mut out, &packet);
        assert_eq!(out, b"\x30\x05\x00\x01txy");
        out.clear();
        packet.qos = 1;
        packet.version = Version::V5;
        publish(&mut out, &packet);
        assert_eq!(out, b"\x32\x0a\x00\x01t\x00\x09\x02\x01\x01xy");
    }
}
