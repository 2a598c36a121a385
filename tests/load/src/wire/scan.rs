//! Finds packets in a stream.

use super::first;

/// The largest packet that is kept whole; only packets that are looked into must be.
const MAX_KEPT: usize = 1 << 20;

/// One packet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(crate) first: u8,
    /// What follows the remaining length; empty for a QoS 0 PUBLISH that was skipped over.
    pub(crate) body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Whether this is a PUBLISH, of any QoS.
    pub(crate) fn is_publish(&self) -> bool {
        self.first & 0xf0 == first::PUBLISH
    }

    /// QoS of a PUBLISH.
    pub(crate) fn qos(&self) -> u8 {
        self.first >> 1 & 3
    }

    /// The number at the start of the body: packet id of everything but PUBLISH.
    pub(crate) fn id(&self) -> Option<u16> {
        self.body
            .first_chunk()
            .map(|bytes| u16::from_be_bytes(*bytes))
    }

    /// Topic of a PUBLISH, and what follows it.
    pub(crate) fn topic(&self) -> Option<(&'a [u8], &'a [u8])> {
        split_string(self.body)
    }

    /// Packet id of a PUBLISH above QoS 0.
    pub(crate) fn publish_id(&self) -> Option<u16> {
        let (_, rest) = self.topic()?;
        rest.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
    }
}

/// Splits a string with a two-byte length off the front.
pub(crate) fn split_string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u16::from_be_bytes(*len).into())
}

/// The stream is no MQTT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ScanError {
    #[error("remaining length has a fifth byte")]
    Length,
    #[error("packet of {0} bytes is too large to keep")]
    TooLarge(usize),
}

/// Splits a stream into packets, whatever pieces it arrives in.
///
/// A QoS 0 PUBLISH that is not complete is skipped and not gathered unless `keep` says otherwise:
/// a sink of 16 KiB payloads must not spend its time on copies.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    keep: bool,
    /// First byte of the packet that is being skipped, and what is still to come of it.
    skip: Option<(u8, usize)>,
    /// The start of a packet, across reads.
    carry: Vec<u8>,
}

impl Scanner {
    /// From now on, gather QoS 0 PUBLISH as well.
    pub(crate) fn keep_publish(&mut self) {
        self.keep = true;
    }

    /// Calls `on` for each packet that ends within `bytes`.
    pub(crate) fn feed(
        &mut self,
        mut bytes: &[u8],
        mut on: impl FnMut(Frame<'_>),
    ) -> Result<(), ScanError> {
        if let Some((first, left)) = self.skip {
            if left > bytes.len() {
                self.skip = Some((first, left - bytes.len()));
                return Ok(());
            }
            self.skip = None;
            bytes = &bytes[left..];
            on(Frame { first, body: &[] });
        }
        while !self.carry.is_empty() && !bytes.is_empty() {
            let missing = match head(&self.carry)? {
                Some(head) => head.total - self.carry.len(),
                None => 1,
            };
            let (taken, rest) = bytes.split_at(missing.min(bytes.len()));
            self.carry.extend_from_slice(taken);
            bytes = rest;
            if let Some(head) = head(&self.carry)?
                && head.total == self.carry.len()
            {
                on(Frame {
                    first: self.carry[0],
                    body: &self.carry[head.len..],
                });
                self.carry.clear();
            }
        }
        while !bytes.is_empty() {
            let Some(head) = head(bytes)? else {
                self.carry.extend_from_slice(bytes);
                break;
            };
            if let Some(body) = bytes.get(head.len..head.total) {
                on(Frame {
                    first: bytes[0],
                    body,
                });
                bytes = &bytes[head.total..];
                continue;
            }
            if !self.keep && bytes[0] & 0xf6 == first::PUBLISH {
                self.skip = Some((bytes[0], head.total - bytes.len()));
            } else if head.total > MAX_KEPT {
                return Err(ScanError::TooLarge(head.total));
            } else {
                self.carry.extend_from_slice(bytes);
            }
            break;
        }
        Ok(())
    }
}

struct Head {
    /// Bytes of the fixed header.
    len: usize,
    /// Bytes of the whole packet.
    total: usize,
}

fn head(bytes: &[u8]) -> Result<Option<Head>, ScanError> {
    let mut body = 0;
    for (at, &byte) in bytes.iter().skip(1).take(4).enumerate() {
        body |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some(Head {
                len: at + 2,
                total: at + 2 + body,
            }));
        }
    }
    if bytes.len() > 4 {
        Err(ScanError::Length)
    } else {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(stream: &[u8], piece: usize, keep: bool) -> Vec<(u8, usize)> {
        let mut scanner = Scanner {
            keep,
            ..Scanner::default()
        };
        let mut seen = Vec::new();
        for bytes in stream.chunks(piece) {
            scanner
                .feed(bytes, |frame| seen.push((frame.first, frame.body.len())))
                .unwrap();
        }
        seen
    }

    #[test]
    fn any_split_yields_the_same_packets() {
        let mut stream = b"\x40\x02\x00\x01\xd0\x00\x30\xc8\x01".to_vec();
        stream.resize(stream.len() + 200, 7);
        stream.extend_from_slice(b"\x62\x02\x00\x09");
        for piece in 1..stream.len() {
            let firsts: Vec<u8> = scan(&stream, piece, false)
                .iter()
                .map(|seen| seen.0)
                .collect();
            assert_eq!(firsts, [0x40, 0xd0, 0x30, 0x62], "pieces of {piece}");
            let kept = scan(&stream, piece, true);
            assert_eq!(
                kept,
                [(0x40, 2), (0xd0, 0), (0x30, 200), (0x62, 2)],
                "pieces of {piece}"
            );
        }
    }

    #[test]
    fn a_fifth_length_byte_and_a_giant_are_refused() {
        let mut scanner = Scanner::default();
        assert_eq!(
            scanner.feed(b"\x40\x80\x80\x80\x80\x01", |_| ()),
            Err(ScanError::Length)
        );
        let mut scanner = Scanner::default();
        let refused = scanner.feed(b"\x82\xff\xff\xff\x7f", |_| ());
        assert_eq!(refused, Err(ScanError::TooLarge(268_435_460)));
    }

    #[test]
    fn a_skipped_publish_takes_no_memory() {
        let mut scanner = Scanner::default();
        let mut seen = 0;
        scanner
            .feed(b"\x30\xff\xff\xff\x7f\x00", |_| seen += 1)
            .unwrap();
        assert_eq!((seen, scanner.carry.capacity()), (0, 0));
        for _ in 0..268_435_454 / 65_534 {
            scanner.feed(&[0; 65_534], |_| seen += 1).unwrap();
        }
        assert_eq!((seen, scanner.carry.capacity()), (0, 0));
        scanner
            .feed(&[0; 268_435_454 % 65_534], |_| seen += 1)
            .unwrap();
        assert_eq!(seen, 1);
    }
}
