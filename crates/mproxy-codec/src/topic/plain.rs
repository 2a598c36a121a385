//! The fast check of a topic name: one pass, eight bytes at a time.
//!
//! Nearly every topic name on the wire is printable ASCII. For those, one question replaces the
//! separate ones for UTF-8, U+0000, control characters and wildcards: is there a byte that needs a
//! closer look? A handful of integer operations answer it for eight bytes, because every PUBLISH
//! needs it.

use super::MAX_TOPIC_LENGTH;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x80 * ONES;

/// Says whether these bytes are a topic name of printable ASCII.
///
/// `true` means: not empty, at most [`MAX_TOPIC_LENGTH`] bytes, no wildcard, no control character,
/// no byte above 0x7e; so it is a valid topic name under every version and every policy. `false`
/// means only that [`validate_name`](super::validate_name) must decide.
///
/// # Examples
///
/// ```
/// use mproxy_codec::topic::is_plain_name;
///
/// assert!(is_plain_name(b"devices/7/up"));
/// assert!(!is_plain_name(b"devices/+/up"));
/// assert!(!is_plain_name("größe".as_bytes()));
/// ```
#[inline]
pub fn is_plain_name(name: &[u8]) -> bool {
    if name.len() > MAX_TOPIC_LENGTH {
        return false;
    }
    let Some(tail) = name.last_chunk() else {
        return !name.is_empty() && name.iter().all(|&byte| is_plain(byte));
    };
    // The last word overlaps the one before it, so that no tail of single bytes remains.
    let mut suspects = suspects(u64::from_le_bytes(*tail));
    for word in name.as_chunks().0 {
        suspects |= self::suspects(u64::from_le_bytes(*word));
    }
    suspects == 0
}

/// Returns a word that is zero if and only if all eight bytes of `word` are [plain](is_plain).
///
/// The sums carry from one byte into the next only if a byte is above 0x7f, and then `word` itself
/// has a high bit set, so that the answer is "not zero" whatever the neighbours look like.
#[inline]
const fn suspects(word: u64) -> u64 {
    // 0x7f becomes 0x80.
    let delete = word.wrapping_add(ONES);
    // Bytes from 0x20 on get their high bit set.
    let printable = word.wrapping_add(0x60 * ONES);
    // `+` and `#` differ in one bit; without it, both become zero here, and zero alone keeps its
    // high bit clear.
    let wildcard = ((word & !(0x08 * ONES)) ^ (0x23 * ONES)).wrapping_add(0x7f * ONES);
    (word | delete | !printable | !wildcard) & HIGH
}

#[inline]
const fn is_plain(byte: u8) -> bool {
    matches!(byte, 0x20..=0x7e) && byte != b'+' && byte != b'#'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_at_every_place_is_judged_alone() {
        for length in 1..=40 {
            for place in 0..length {
                for byte in 0..=u8::MAX {
                    let mut name = vec![b'a'; length];
                    name[place] = byte;
                    assert_eq!(
                        is_plain_name(&name),
                        is_plain(byte),
                        "{byte:#x} at {place} of {length}"
                    );
                }
            }
        }
    }

    #[test]
    fn neighbours_do_not_hide_each_other() {
        for first in 0..=u8::MAX {
            for second in 0..=u8::MAX {
                let name = [b'/', first, second, b'/', b'z', second, first, b'~', b'!'];
                assert_eq!(
                    is_plain_name(&name),
                    is_plain(first) && is_plain(second),
                    "{first:#x} {second:#x}"
                );
            }
        }
    }

    #[test]
    fn length_is_bounded_at_both_ends() {
        assert!(!is_plain_name(b""));
        assert!(is_plain_name(&vec![b'a'; MAX_TOPIC_LENGTH]));
        assert!(!is_plain_name(&vec![b'a'; MAX_TOPIC_LENGTH + 1]));
    }
}
