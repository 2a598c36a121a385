//! Runs of PUBLISH packets about which there is nothing to say.

use crate::packet::PublishLayout;
use crate::qos::QoS;
use crate::topic;
use crate::version::Version;

/// The longest run of whole, ordinary PUBLISH packets at the front of a buffer.
///
/// Ordinary is what nearly every PUBLISH is: valid, with a plain topic name (ASCII, no control
/// characters), without properties, shorter than 16 KiB. Such packets are forwarded as they are, so
/// finding where the run ends is all that there is to do, and this does it in one tight loop. What
/// ends a run is not judged here: [`View::parse`](crate::View::parse) says whether it is another
/// packet, an unusual one, an incomplete one or none at all.
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
    /// The layout of the ordinary PUBLISH (see [`PublishRun`]) at the front of `bytes`; `None` says
    /// only that [`parse`](Self::parse) must decide.
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
        if version.is_v5() {
            let (0, payload) = rest.split_first()? else {
                return None;
            };
            rest = payload;
        }
        let total = (head_len + remaining) as u32;
        let payload_at = total - rest.len() as u32;
        topic::is_plain_name(topic).then_some(Self {
            total,
            properties_at: payload_at,
            payload_at,
            packet_id,
            topic_len,
            topic_alias: 0,
            first,
            head_len: head_len as u8,
            has_control: false,
        })
    }
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
