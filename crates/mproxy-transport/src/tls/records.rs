//! The largest record that a client can read, as its ClientHello says.
//!
//! A device with little memory has room for small records only, and says so by `max_fragment_length` (RFC 6066,
//! section 4) or `record_size_limit` (RFC 8449). rustls knows neither: its ServerHello does not confirm them, and
//! a client that waits for that must be ready for records of the full length. Many cannot be. So this side keeps the
//! limit without a word, which no client minds. What a client sends is not limited by it.

/// The most plaintext of one record, in bytes (RFC 8446, section 5.1).
pub(super) const MAX_RECORD: usize = 16 * 1024;

/// The most bytes of plaintext that a record to this client may have. `None`: it set no limit, or one that no record
/// reaches. `records` is what the client has sent, with a whole ClientHello at its beginning; anything else
/// has no limit.
pub(super) fn limit(records: &[u8]) -> Option<usize> {
    let mut hello = Hello::of(records);
    hello.skip(4)?; // type of the message, and its length
    hello.skip(2 + 32)?; // version and random
    let session_id = hello.len(1)?;
    hello.skip(session_id)?;
    let suites = hello.len(2)?;
    hello.skip(suites)?;
    let compressions = hello.len(1)?;
    hello.skip(compressions)?;
    let mut left = hello.len(2)?;
    let (mut fragment, mut record) = (None, None);
    while left > 0 {
        let (kind, len) = (hello.len(2)?, hello.len(2)?);
        left = left.checked_sub(4 + len)?;
        match (kind, len) {
            (MAX_FRAGMENT_LENGTH, 1) => fragment = Some(hello.len(1)?),
            (RECORD_SIZE_LIMIT, 2) => record = Some(hello.len(2)?),
            _ => hello.skip(len)?,
        }
    }
    let fragment = fragment.filter(|code| matches!(code, 1..=4));
    let fragment = fragment.map(|code| 256 << code);
    // In TLS 1.3 the type of the content counts. It makes no difference that it is left out in TLS 1.2, too.
    let record = record.filter(|limit| *limit >= MIN_RECORD_SIZE_LIMIT);
    // RFC 8449, section 5: the newer one replaces the older one
    let limit = record.map(|limit| limit - 1).or(fragment);
    limit.filter(|limit| *limit < MAX_RECORD)
}

/// How rustls counts a record with so many bytes of plaintext: with its header.
pub(super) fn fragment_size(max_record: usize) -> usize {
    max_record.min(MAX_RECORD) + RECORD_HEADER
}

/// A message of the handshake, without the headers of the records that it is cut into.
struct Hello<'a> {
    /// What is left of the record.
    record: &'a [u8],
    /// The records behind it.
    rest: &'a [u8],
}

impl<'a> Hello<'a> {
    fn of(records: &'a [u8]) -> Self {
        Self {
            record: &[],
            rest: records,
        }
    }

    /// Goes on to the next record, if this one is used up.
    fn next_record(&mut self) -> Option<()> {
        while self.record.is_empty() {
            let (header, rest) = self.rest.split_first_chunk()?;
            let [HANDSHAKE, _, _, high, low] = *header else {
                return None;
            };
            let len = usize::from(u16::from_be_bytes([high, low]));
            (self.record, self.rest) = rest.split_at_checked(len)?;
        }
        Some(())
    }

    /// A number of so many bytes.
    fn len(&mut self, bytes: usize) -> Option<usize> {
        let mut number = 0;
        for _ in 0..bytes {
            self.next_record()?;
            let (first, rest) = self.record.split_first()?;
            self.record = rest;
            number = number << 8 | usize::from(*first);
        }
        Some(number)
    }

    fn skip(&mut self, mut len: usize) -> Option<()> {
        while len > 0 {
            self.next_record()?;
            let part = len.min(self.record.len());
            self.record = &self.record[part..];
            len -= part;
        }
        Some(())
    }
}

const HANDSHAKE: u8 = 22;
const RECORD_HEADER: usize = 5;

const MAX_FRAGMENT_LENGTH: usize = 1;
const RECORD_SIZE_LIMIT: usize = 28;

/// Smaller ones are not allowed (RFC 8449, section 4).
const MIN_RECORD_SIZE_LIMIT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// A ClientHello with these extensions behind another one, in records of at most `len` bytes.
    fn hello(extensions: &[(u16, &[u8])], len: usize) -> Vec<u8> {
        let mut list = vec![0, 0, 0, 6, 0, 4, 0, 0, 1, b'a'];
        for (kind, content) in extensions {
            list.extend(kind.to_be_bytes());
            list.extend((content.len() as u16).to_be_bytes());
            list.extend(*content);
        }
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([2, 1, 2]); // session id
        body.extend([0, 4, 0x13, 1, 0x13, 2]); // suites
        body.extend([1, 0]); // compression
        body.extend((list.len() as u16).to_be_bytes());
        body.extend(list);
        let mut message = vec![1, 0];
        message.extend((body.len() as u16).to_be_bytes());
        message.extend(body);
        let records = message.chunks(len).flat_map(|part| {
            let [high, low] = (part.len() as u16).to_be_bytes();
            [&[HANDSHAKE, 3, 1, high, low], part].concat()
        });
        records.collect()
    }

    #[test]
    fn a_limit_is_found_in_any_records() {
        for len in [1, 2, 7, 50, 1000] {
            for (code, limit) in [(1, 512), (2, 1024), (3, 2048), (4, 4096)] {
                let hello = hello(&[(99, &[1; 40]), (1, &[code]), (98, &[])], len);
                assert_eq!(super::limit(&hello), Some(limit), "{len}");
            }
            for size in [64_u16, 512, 1025, 16_384] {
                let hello = hello(&[(28, &size.to_be_bytes())], len);
                assert_eq!(limit(&hello), Some(usize::from(size) - 1), "{len}");
            }
        }
    }

    #[test]
    fn the_newer_extension_replaces_the_older_one() {
        for (size, limit) in [(2001_u16, Some(2000)), (0x4001, None)] {
            let hello = hello(&[(1, &[1]), (28, &size.to_be_bytes())], 1000);
            assert_eq!(super::limit(&hello), limit);
        }
    }

    #[test]
    fn values_that_are_not_allowed_are_no_limit() {
        let wrong: [(u16, &[u8]); 9] = [
            (1, &[0]),
            (1, &[5]),
            (1, &[255]),
            (1, &[]),
            (1, &[1, 1]),
            (28, &[0, 0]),
            (28, &[0, 63]),
            (28, &[255, 255]),
            (28, &[64]),
        ];
        for extension in wrong {
            let hello = hello(&[extension], 1000);
            assert_eq!(limit(&hello), None, "{extension:?}");
        }
        assert_eq!(limit(&hello(&[], 1000)), None);
    }

    /// A client may send anything as its first message.
    #[test]
    fn what_is_cut_off_or_changed_has_no_limit_or_another_one() {
        for len in [3, 1000] {
            let whole = hello(&[(1, &[2]), (99, &[1; 20])], len);
            for end in 0..whole.len() {
                assert_eq!(limit(&whole[..end]), None, "{end}");
            }
            for index in 0..whole.len() {
                for value in 0..=255 {
                    let mut other = whole.clone();
                    other[index] = value;
                    let limit = limit(&other);
                    assert!(limit.is_none_or(|it| (63..MAX_RECORD).contains(&it)));
                }
            }
        }
    }

    /// Empty records are not a reason to go on for long: each costs the client its header.
    #[test]
    fn records_without_content_end_somewhere() {
        let empty = [HANDSHAKE, 3, 1, 0, 0].repeat(3000);
        assert_eq!(limit(&empty), None);
    }
}
