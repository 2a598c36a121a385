//! Where the fields of a PUBLISH are.

use crate::error::DecodeError;
use crate::head::Head;
use crate::kind::{Direction, Kind};
use crate::property::{Place, Properties, PropertyId, Value};
use crate::qos::QoS;
use crate::reader::check_topic_name;
use crate::varint;
use crate::version::Version;

/// Where the fields of a PUBLISH are: offsets from the first byte of the packet.
///
/// `Copy` and free of borrows, so that it can be stored next to the bytes that it describes.
///
/// ```text
/// | first | remaining length | topic length | topic | packet id | property length | properties | payload |
/// 0                          head_len                                            properties   payload_at
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishLayout {
    pub(crate) total: u32,
    pub(crate) properties_at: u32,
    pub(crate) payload_at: u32,
    pub(crate) packet_id: u16,
    pub(crate) topic_len: u16,
    pub(crate) topic_alias: u16,
    pub(crate) first: u8,
    pub(crate) head_len: u8,
    pub(crate) has_control: bool,
}

impl PublishLayout {
    /// Validates everything in front of the payload; the payload need not be there yet.
    ///
    /// `bytes` starts at the first byte of the packet. `Ok(None)`: more bytes are needed.
    ///
    /// # Errors
    /// Any [`DecodeError`] of a PUBLISH. `head` is expected to have passed
    /// [`Head::check_first_byte`].
    #[inline]
    pub fn parse(
        head: Head,
        version: Version,
        direction: Direction,
        bytes: &[u8],
    ) -> Result<Option<Self>, DecodeError> {
        let total = head.total_len();
        let topic_at = head.len() + 2;
        if topic_at > total {
            return Err(DecodeError::Truncated);
        }
        let Some(length) = bytes.get(head.len()..topic_at) else {
            return Ok(None);
        };
        let topic_len = u16::from_be_bytes([length[0], length[1]]);
        let topic_end = topic_at + usize::from(topic_len);
        let has_id = head.first_byte() & 0b0110 != 0;
        let mut at = topic_end + if has_id { 2 } else { 0 };
        if at > total {
            return Err(DecodeError::Truncated);
        }
        let Some(fields) = bytes.get(topic_at..at) else {
            return Ok(None);
        };
        let topic = &fields[..usize::from(topic_len)];
        let packet_id = if has_id {
            match u16::from_be_bytes([fields[topic.len()], fields[topic.len() + 1]]) {
                0 => return Err(DecodeError::PacketIdZero),
                id => id,
            }
        } else {
            0
        };
        let mut properties_at = at;
        let mut topic_alias = 0;
        let mut has_control = false;
        if version.is_v5() {
            let upper = bytes.len().min(total);
            let Some(block) = varint::read(&bytes[at..upper])? else {
                return if upper == total {
                    Err(DecodeError::Truncated)
                } else {
                    Ok(None)
                };
            };
            if !block.is_minimal() {
                return Err(DecodeError::NotMinimal);
            }
            properties_at = at + block.len;
            at = properties_at + block.value as usize;
            if at > total {
                return Err(DecodeError::Truncated);
            }
            if block.value > 0 {
                let Some(block) = bytes.get(properties_at..at) else {
                    return Ok(None);
                };
                let place = Place::Packet(Kind::Publish, direction);
                let (properties, found) = Properties::judge(block, place)?;
                has_control = found.has_control;
                if found.has(PropertyId::TopicAlias)
                    && let Some(Value::U16(alias)) = properties.get(PropertyId::TopicAlias)
                {
                    topic_alias = alias;
                }
            }
        }
        // an empty topic name is legal only where an alias stands in for it (section 3.3.2.3.4)
        if topic_len != 0 || topic_alias == 0 {
            has_control |= check_topic_name(topic)?;
        }
        Ok(Some(Self {
            total: total as u32,
            properties_at: properties_at as u32,
            payload_at: at as u32,
            packet_id,
            topic_len,
            topic_alias,
            first: head.first_byte(),
            head_len: head.len() as u8,
            has_control,
        }))
    }

    /// True when the topic name or the Response Topic holds a [control
    /// character](crate::topic::has_control).
    #[inline]
    #[must_use]
    pub const fn has_control(&self) -> bool {
        self.has_control
    }

    /// Bytes of the whole packet.
    #[inline]
    #[must_use]
    pub const fn total_len(&self) -> usize {
        self.total as usize
    }

    /// Offset of the payload, which is also the length of everything in front of it.
    #[inline]
    #[must_use]
    pub const fn payload_at(&self) -> usize {
        self.payload_at as usize
    }

    /// Bytes of payload.
    #[inline]
    #[must_use]
    pub const fn payload_len(&self) -> usize {
        self.total as usize - self.payload_at as usize
    }

    /// The packet identifier, `None` at QoS 0.
    #[inline]
    #[must_use]
    pub const fn packet_id(&self) -> Option<u16> {
        match self.packet_id {
            0 => None,
            id => Some(id),
        }
    }

    /// The topic alias, `None` when the packet carries none.
    #[inline]
    #[must_use]
    pub const fn topic_alias(&self) -> Option<u16> {
        match self.topic_alias {
            0 => None,
            alias => Some(alias),
        }
    }

    /// The quality of service.
    #[inline]
    #[must_use]
    pub const fn qos(&self) -> QoS {
        match self.first & 0b0110 {
            0 => QoS::AtMostOnce,
            0b0010 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce, // 0b0110 does not pass the first-byte check
        }
    }

    /// True for a packet that may be a repetition.
    #[inline]
    #[must_use]
    pub const fn dup(&self) -> bool {
        self.first & 0b1000 != 0
    }

    /// The RETAIN flag.
    #[inline]
    #[must_use]
    pub const fn retain(&self) -> bool {
        self.first & 1 != 0
    }

    /// The topic name within `bytes`; empty when a topic alias stands in for it.
    #[inline]
    #[must_use]
    pub fn topic<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        let at = usize::from(self.head_len) + 2;
        bytes
            .get(at..at + usize::from(self.topic_len))
            .unwrap_or_default()
    }
}
