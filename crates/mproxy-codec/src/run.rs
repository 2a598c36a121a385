//! Runs of ordinary PUBLISH packets, which need no individual inspection.

use crate::packet::PublishLayout;
use crate::property::PropertyId;
use crate::qos::QoS;
use crate::reader::is_ascii_without_nul;
use crate::topic;
use crate::version::Version;

/// The longest run of whole, ordinary PUBLISH packets at the front of a buffer.
///
/// Ordinary is what nearly every PUBLISH is: valid, with a plain topic name (ASCII, no control
/// characters), shorter than 16 KiB, and with no properties but Payload Format Indicator, Message
/// Expiry Interval, Content Type, Correlation Data and User Properties. Such packets are forwarded as
/// they are, so one tight loop only has to find the end of the run. It does not judge what ends a
/// run: [`View::parse`](crate::View::parse) says whether that is another packet, an unusual one, an
/// incomplete one or none at all.
///
/// ```
/// use mproxy_codec::{PublishRun, Version};
/// let bytes = b"\x30\x06\x00\x03a/b!\x32\x07\x00\x02hi\x00\x01!\xc0\x00";
/// let run = PublishRun::scan(bytes, Version::V311, 1024);
/// assert_eq!((run.len(), run.packets()), (17, 2));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublishRun {
    len: usize,
    packets: u32,
    at_least_once: u32,
    exactly_once: u32,
}

/// The low four bits of a first byte that a PUBLISH may have: QoS 0, 1 or 2, DUP only above QoS 0
/// [MQTT-3.3.1-2], [MQTT-3.3.1-4]. A bit for each value.
const VALID_FLAGS: u16 = 0b0011_1100_0011_1111;

impl PublishRun {
    /// Finds the run in `bytes`, of packets no longer than `max_packet` bytes.
    #[inline]
    #[must_use]
    pub fn scan(bytes: &[u8], version: Version, max_packet: usize) -> Self {
        let mut run = Self::default();
        let mut rest = bytes;
        while let Some(layout) = PublishLayout::ordinary(rest, version) {
            if layout.total_len() > max_packet {
                break;
            }
            rest = rest.get(layout.total_len()..).unwrap_or_default();
            run.packets += 1;
            run.at_least_once += u32::from(layout.first >> 1 & 1);
            run.exactly_once += u32::from(layout.first >> 2 & 1);
        }
        run.len = bytes.len() - rest.len();
        run
    }

    /// Bytes of the run.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// True when the buffer does not begin with an ordinary PUBLISH.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.packets == 0
    }

    /// How many packets the run has.
    #[inline]
    #[must_use]
    pub const fn packets(&self) -> u32 {
        self.packets
    }

    /// How many of them have this quality of service.
    #[inline]
    #[must_use]
    pub const fn of_qos(&self, qos: QoS) -> u32 {
        match qos {
            QoS::AtMostOnce => self.packets - self.at_least_once - self.exactly_once,
            QoS::AtLeastOnce => self.at_least_once,
            QoS::ExactlyOnce => self.exactly_once,
        }
    }
}

impl PublishLayout {
    /// The layout of the ordinary PUBLISH (see [`PublishRun`]) at the front of `bytes`; `None`
    /// means only that [`parse`](Self::parse) must decide.
    #[inline(always)]
    #[must_use]
    pub fn ordinary(bytes: &[u8], version: Version) -> Option<Self> {
        let [first, low, high, ..] = *bytes else {
            return None;
        };
        if first >> 4 != 3 || VALID_FLAGS >> (first & 0x0f) & 1 == 0 {
            return None;
        }
        let (head_len, remaining) = if low < 0x80 {
            (2, usize::from(low))
        } else if high.wrapping_sub(1) < 0x7f {
            // two bytes, of which the second is neither 0, which would not be minimal, nor followed
            (3, usize::from(low & 0x7f) | usize::from(high) << 7)
        } else {
            return None;
        };
        let body = bytes.get(head_len..head_len + remaining)?;
        let (topic_len, rest) = body.split_first_chunk::<2>()?;
        let topic_len = u16::from_be_bytes(*topic_len);
        let (topic, mut rest) = rest.split_at_checked(usize::from(topic_len))?;
        let mut packet_id = 0;
        if first & 0b0110 != 0 {
            let (id, behind) = rest.split_first_chunk::<2>()?;
            packet_id = u16::from_be_bytes(*id);
            if packet_id == 0 {
                return None;
            }
            rest = behind;
        }
        let total = (head_len + remaining) as u32;
        let mut properties_at = total - rest.len() as u32;
        if version.is_v5() {
            let (&length, behind) = rest.split_first()?;
            properties_at += 1;
            rest = behind;
            if length > 0 {
                let (block, payload) = rest.split_at_checked(usize::from(length))?;
                // the length of a longer one takes two bytes
                if length >= 0x80 || !is_ordinary_block(block) {
                    return None;
                }
                rest = payload;
            }
        }
        topic::is_plain_name(topic).then_some(Self {
            total,
            properties_at,
            payload_at: total - rest.len() as u32,
            packet_id,
            topic_len,
            topic_alias: 0,
            first,
            head_len: head_len as u8,
            has_control: false,
        })
    }
}

/// True if a block is valid and a proxy can forward all its properties without reading them: no
/// Topic Alias, no Response Topic, and no property that only one side may send.
fn is_ordinary_block(block: &[u8]) -> bool {
    let mut rest = block;
    let mut seen = 0_u16; // a bit for each identifier, none of which is above 9
    while let Some((&id, value)) = rest.split_first() {
        let behind = match id {
            PAYLOAD_FORMAT_INDICATOR => match value {
                [0 | 1, behind @ ..] => Some(behind),
                _ => None,
            },
            MESSAGE_EXPIRY_INTERVAL => value.get(4..),
            CONTENT_TYPE => behind_text(value),
            CORRELATION_DATA => split_field(value).map(|(_, behind)| behind),
            USER_PROPERTY => {
                rest = match behind_text(value).and_then(behind_text) {
                    Some(behind) => behind,
                    None => return false,
                };
                continue;
            }
            _ => None,
        };
        let Some(behind) = behind else {
            return false;
        };
        let bit = 1 << id;
        if seen & bit != 0 {
            return false;
        }
        seen |= bit;
        rest = behind;
    }
    true
}

const PAYLOAD_FORMAT_INDICATOR: u8 = PropertyId::PayloadFormatIndicator as u8;
const MESSAGE_EXPIRY_INTERVAL: u8 = PropertyId::MessageExpiryInterval as u8;
const CONTENT_TYPE: u8 = PropertyId::ContentType as u8;
const CORRELATION_DATA: u8 = PropertyId::CorrelationData as u8;
const USER_PROPERTY: u8 = PropertyId::UserProperty as u8;

#[inline]
fn split_field(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, behind) = value.split_first_chunk()?;
    behind.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

/// What follows a string of ASCII.
#[inline]
fn behind_text(value: &[u8]) -> Option<&[u8]> {
    let (text, behind) = split_field(value)?;
    is_ascii_without_nul(text).then_some(behind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Direction, View};

    /// What ends a run must be judged by the view, and what is in one must have passed it.
    #[test]
    fn a_run_is_made_of_packets_that_the_view_accepts() {
        for version in [Version::V31, Version::V311, Version::V5] {
            for first in 0..=255u8 {
                let mut packet = vec![first, 0, 0, 2, b'h', b'i'];
                if first & 0b0110 != 0 {
                    packet.extend([0, 1]);
                }
                packet.extend([0; 200]); // properties or payload
                for len in [packet.len(), 12, 9, 8, 7, 6, 5, 4, 3, 2] {
                    let mut packet = packet[..len].to_vec();
                    let body = u8::try_from(len - 2).unwrap_or(u8::MAX);
                    packet[1] = body;
                    if body >= 0x80 {
                        packet.splice(1..2, [body, 1]);
                    }
                    let run = PublishRun::scan(&packet, version, usize::MAX);
                    let view = View::parse(version, Direction::ToServer, &packet);
                    let is_publish = matches!(view, Ok(Some(View::Publish(_))));
                    assert_eq!(run.packets() == 1, is_publish, "{packet:02x?} {version}");
                    if let Ok(Some(View::Publish(publish))) = view {
                        let layout = PublishLayout::ordinary(&packet, version);
                        assert_eq!(layout, Some(*publish.layout()), "{packet:02x?} {version}");
                    }
                    assert_eq!(run.len(), if is_publish { packet.len() } else { 0 });
                }
            }
        }
    }

    const ORDINARY: [PropertyId; 4] = [
        PropertyId::PayloadFormatIndicator,
        PropertyId::MessageExpiryInterval,
        PropertyId::ContentType,
        PropertyId::UserProperty,
    ];

    /// All blocks of one property or two, of each kind, valid and not: what is in a run must mean the
    /// same to a view, in either direction.
    #[test]
    fn properties_of_a_run_are_those_that_the_view_accepts() {
        let properties: [&[u8]; 24] = [
            b"",
            b"\x01\x00",
            b"\x01\x01",
            b"\x01\x02",
            b"\x02\x00\x00\x00\x07",
            b"\x02\x00\x00\x00",
            b"\x03\x00\x00",
            b"\x03\x00\x0atext/plain",
            b"\x03\x00\x02\xc3\xa9",
            b"\x03\x00\x02a\x00",
            b"\x03\x00\x02\xc3(",
            b"\x03\x00\x0btext/plain",
            b"\x09\x00\x02\xff\x00",
            b"\x09\x00\x03\xff\x00",
            b"\x26\x00\x01k\x00\x09a value.\n",
            b"\x26\x00\x00\x00\x00",
            b"\x26\x00\x01k\x00\x02v",
            b"\x26\x00\x01\x00\x00\x01v",
            b"\x08\x00\x01r",
            b"\x0b\x01",
            b"\x23\x00\x01",
            b"\x11\x00\x00\x00\x01",
            b"\x7f",
            b"\x00",
        ];
        let mut ordinary = 0;
        for one in properties {
            for other in properties {
                let block = [one, other].concat();
                let mut packet = vec![0x30, 0, 0, 1, b't', block.len() as u8];
                packet.extend(&block);
                packet.extend(b"payload");
                packet[1] = packet.len() as u8 - 2;
                let layout = PublishLayout::ordinary(&packet, Version::V5);
                for direction in [Direction::ToServer, Direction::ToClient] {
                    let view = View::parse(Version::V5, direction, &packet);
                    let publish = match view {
                        Ok(Some(View::Publish(publish))) => Some(publish),
                        _ => None,
                    };
                    let is_ordinary = publish.as_ref().is_some_and(|publish| {
                        publish.properties().iter().all(|property| {
                            ORDINARY.contains(&property.id) && property.bytes.is_ascii()
                                || property.id == PropertyId::CorrelationData
                        })
                    });
                    let expected = publish.filter(|_| is_ordinary).map(|it| *it.layout());
                    assert_eq!(layout, expected, "{packet:02x?}");
                }
                ordinary += u32::from(layout.is_some());
            }
        }
        assert!(ordinary > 50, "{ordinary}");
    }

    #[test]
    fn a_run_ends_in_front_of_what_is_not_ordinary() {
        let ordinary = b"\x30\x05\x00\x02hi!";
        let ends: [&[u8]; 8] = [
            b"",
            b"\xc0\x00",
            b"\x30",
            b"\x30\x05\x00\x02hi",         // incomplete
            b"\x30\x05\x00\x02h+!",        // a wildcard
            b"\x30\x85\x00\x00\x02hi!",    // a length that is not minimal
            b"\x32\x06\x00\x02hi\x00\x00", // packet identifier 0
            b"\x38\x05\x00\x02hi!",        // DUP at QoS 0
        ];
        for end in ends {
            let bytes = [&ordinary[..], ordinary, end].concat();
            let run = PublishRun::scan(&bytes, Version::V311, usize::MAX);
            assert_eq!((run.len(), run.packets()), (14, 2), "{end:02x?}");
            assert_eq!(run.of_qos(QoS::AtMostOnce), 2);
        }
        assert!(
            PublishRun::scan(ordinary, Version::V311, 6).is_empty(),
            "larger than allowed"
        );
    }
}
