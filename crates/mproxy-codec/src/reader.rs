//! A bounded cursor over the bytes of one packet.

use crate::error::DecodeError;
use crate::property::{Place, Properties};
use crate::topic::{self, TopicError, TopicFilter};
use crate::varint;

/// Reads fields from the front of a packet's body and never past its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    has_control: bool,
}

impl<'a> Reader<'a> {
    /// A cursor over `bytes` that starts at offset `at`.
    pub(crate) const fn new(bytes: &'a [u8], at: usize) -> Self {
        Self {
            bytes,
            at,
            has_control: false,
        }
    }

    /// True when a name, a topic or a filter that was read holds a control character.
    pub(crate) const fn has_control(&self) -> bool {
        self.has_control
    }

    /// Offset of the next byte from the start of the slice.
    pub(crate) const fn position(&self) -> usize {
        self.at
    }

    pub(crate) const fn is_at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.get(..len).ok_or(DecodeError::Truncated)?;
        self.at += len;
        Ok(taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.take(2)
            .map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.take(4)
            .map(|bytes| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// A variable byte integer inside a packet: it must be minimal ([MQTT-1.5.5-1]).
    pub(crate) fn varint(&mut self) -> Result<u32, DecodeError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let varint = varint::read(rest)?.ok_or(DecodeError::Truncated)?;
        if !varint.is_minimal() {
            return Err(DecodeError::NotMinimal);
        }
        self.at += varint.len;
        Ok(varint.value)
    }

    /// A packet identifier, which is never 0.
    pub(crate) fn packet_id(&mut self) -> Result<u16, DecodeError> {
        match self.u16()? {
            0 => Err(DecodeError::PacketIdZero),
            id => Ok(id),
        }
    }

    /// Binary data with a two-byte length.
    pub(crate) fn binary(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    /// A UTF-8 string ([MQTT-1.5.4-1], [MQTT-1.5.4-2]).
    pub(crate) fn string(&mut self) -> Result<&'a str, DecodeError> {
        text(self.binary()?)
    }

    /// A UTF-8 string that names something.
    pub(crate) fn name(&mut self) -> Result<&'a str, DecodeError> {
        let text = self.string()?;
        self.has_control |= topic::has_control(text);
        Ok(text)
    }

    /// A topic name: not empty, no wildcards.
    pub(crate) fn topic_name(&mut self) -> Result<&'a [u8], DecodeError> {
        let bytes = self.binary()?;
        self.has_control |= check_topic_name(bytes)?;
        Ok(bytes)
    }

    pub(crate) fn topic_filter(&mut self) -> Result<&'a str, DecodeError> {
        let (filter, has_control) = check_topic_filter(self.binary()?)?;
        self.has_control |= has_control;
        Ok(filter)
    }

    /// A property block with its length in front.
    pub(crate) fn properties(&mut self, place: Place) -> Result<Properties<'a>, DecodeError> {
        let len = self.varint()?;
        let (properties, found) = Properties::judge(self.take(len as usize)?, place)?;
        self.has_control |= found.has_control;
        Ok(properties)
    }

    /// Fails if bytes are left.
    pub(crate) const fn finish(&self) -> Result<(), DecodeError> {
        if self.is_at_end() {
            Ok(())
        } else {
            Err(DecodeError::TrailingBytes)
        }
    }
}

/// A string: well-formed UTF-8 without U+0000.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, DecodeError> {
    let text = simdutf8::basic::from_utf8(bytes).map_err(|_| DecodeError::InvalidUtf8)?;
    if bytes.contains(&0) {
        Err(DecodeError::NulCharacter)
    } else {
        Ok(text)
    }
}

/// The same, without returning the string. Most are ASCII, which is checked eight bytes at a time.
#[inline]
pub(crate) fn check_text(bytes: &[u8]) -> Result<(), DecodeError> {
    if is_ascii_without_nul(bytes) {
        Ok(())
    } else {
        text(bytes).map(drop)
    }
}

#[inline]
pub(crate) fn is_ascii_without_nul(bytes: &[u8]) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * ONES;
    let (words, rest) = bytes.as_chunks();
    // a borrow sets the high bit of the lowest byte that is 0, and of others only above one
    let suspects = words.iter().fold(0, |suspects, word| {
        let word = u64::from_le_bytes(*word);
        suspects | word | word.wrapping_sub(ONES)
    });
    suspects & HIGH == 0 && rest.iter().all(|byte| matches!(byte, 1..=0x7f))
}

/// A topic name as PUBLISH and a will carry it. Returns whether it holds a control character.
#[inline]
pub(crate) fn check_topic_name(bytes: &[u8]) -> Result<bool, DecodeError> {
    if topic::is_plain_name(bytes) {
        Ok(false)
    } else {
        check_unusual_topic_name(bytes)
    }
}

#[cold]
fn check_unusual_topic_name(bytes: &[u8]) -> Result<bool, DecodeError> {
    topic::validate_name(bytes)?;
    Ok(topic::has_control(text(bytes)?))
}

/// A topic filter in SUBSCRIBE and UNSUBSCRIBE. Brokers support `$share` for MQTT 3.x clients too,
/// so its rules apply in every version. Also returns whether the filter holds a control character.
pub(crate) fn check_topic_filter(bytes: &[u8]) -> Result<(&str, bool), DecodeError> {
    if is_plain_filter(bytes) || is_plain_shared_filter(bytes) {
        let filter = core::str::from_utf8(bytes).map_err(|_| DecodeError::InvalidUtf8)?;
        return Ok((filter, false));
    }
    let filter = TopicFilter::from_bytes(bytes)?;
    filter.shared()?;
    let filter = filter.as_str();
    Ok((filter, topic::has_control(filter)))
}

/// True for a valid topic filter of printable ASCII that does not begin with `$`, like nearly all.
/// `false` means only that the full validation must decide.
fn is_plain_filter(filter: &[u8]) -> bool {
    let mut previous = b'/';
    for (at, &byte) in filter.iter().enumerate() {
        let next = filter.get(at + 1).copied();
        let is_plain = match byte {
            b'+' => previous == b'/' && matches!(next, None | Some(b'/')),
            b'#' => previous == b'/' && next.is_none(),
            _ => matches!(byte, b' '..=b'~'),
        };
        if !is_plain {
            return false;
        }
        previous = byte;
    }
    // `$share` has rules of its own
    !matches!(filter, [] | [b'$', ..])
}

/// The same for a shared subscription.
fn is_plain_shared_filter(filter: &[u8]) -> bool {
    let Some(shared) = filter.strip_prefix(b"$share/") else {
        return false;
    };
    let group = shared.iter().position(|byte| *byte == b'/');
    group.is_some_and(|end| {
        topic::is_plain_name(&shared[..end]) && is_plain_filter(&shared[end + 1..])
    })
}

impl From<TopicError> for DecodeError {
    fn from(error: TopicError) -> Self {
        match error {
            TopicError::Empty => Self::EmptyTopic,
            TopicError::TooLong => Self::Truncated,
            TopicError::IllFormed => Self::InvalidUtf8,
            TopicError::Nul => Self::NulCharacter,
            TopicError::WildcardInName => Self::WildcardInTopicName,
            TopicError::MultiLevelWildcard | TopicError::SingleLevelWildcard => {
                Self::MisplacedWildcard
            }
            TopicError::ShareNameEmpty
            | TopicError::ShareNameCharacter
            | TopicError::ShareFilterMissing
            // no packet is refused over a form that only some brokers know
            | TopicError::DelaySeconds
            | TopicError::Untranslatable => Self::SharedFilter,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(alphabet: &[u8], len: usize) -> Vec<Vec<u8>> {
        let mut all = vec![Vec::new()];
        let mut longest = all.clone();
        for _ in 0..len {
            longest = longest
                .iter()
                .flat_map(|filter: &Vec<u8>| {
                    alphabet.iter().map(|byte| [filter, &[*byte][..]].concat())
                })
                .collect();
            all.extend_from_slice(&longest);
        }
        all
    }

    #[test]
    fn the_short_way_to_a_text_sees_every_byte_at_every_place() {
        for length in 0..20 {
            for place in 0..length {
                for byte in 0..=u8::MAX {
                    let mut bytes = vec![b'a'; length];
                    bytes[place] = byte;
                    let expected = matches!(byte, 1..=0x7f);
                    assert_eq!(is_ascii_without_nul(&bytes), expected, "{bytes:02x?}");
                    // 1 is the smallest, and takes nothing from its neighbours
                    bytes.fill(1);
                    bytes[place] = byte;
                    assert_eq!(is_ascii_without_nul(&bytes), expected, "{bytes:02x?}");
                }
            }
        }
        assert!(is_ascii_without_nul(b""));
    }

    /// All filters of up to six of the bytes that matter, shared and not.
    #[test]
    fn the_short_way_allows_what_the_rules_allow() {
        let mut plain = 0;
        for tail in all(b"+#/a$\x1f\x7f\xc3", 6) {
            let shared = [b"$share/", &tail[..]].concat();
            for filter in [tail, shared] {
                let by_the_rules = TopicFilter::from_bytes(&filter).and_then(|filter| {
                    filter.shared()?;
                    Ok(!topic::has_control(filter.as_str()))
                });
                if is_plain_filter(&filter) || is_plain_shared_filter(&filter) {
                    plain += 1;
                    assert_eq!(by_the_rules, Ok(true), "{filter:?}");
                }
                // what the short way leaves to the rules: `$`, and a filter within that has one
                if by_the_rules == Ok(true) && filter[0] != b'$' {
                    assert!(is_plain_filter(&filter), "{filter:?}");
                }
            }
        }
        assert!(plain > 1000, "{plain}");
        assert!(!is_plain_filter(b""));
    }
}
