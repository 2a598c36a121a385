//! The unprocessed input of a direction, and how the next read continues it.

use std::ops::Deref;

use bytes::{Buf, Bytes, BytesMut};
use mproxy_codec::Head;
use tokio::time::Instant;

use crate::scratch::SCRATCH_LEN;

/// Up to this size, a partial packet is copied in front of the next read, so that one read still brings
/// many packets; above it, only while reads are large compared with it. The same holds for a PUBLISH of any
/// size that lacks only payload, because each look at it parses its properties. Fed byte by byte, a packet
/// costs time linear in its size.
pub(super) const CHEAP_COPY: usize = 4096;

/// The unprocessed input of a direction. Most connections have none, so it is one pointer wide when empty.
#[derive(Debug, Default)]
pub(crate) struct Inbox(Option<Box<Content>>);

#[derive(Debug, Default)]
struct Content {
    bytes: BytesMut,
    /// Since when the packets in it have waited, if an earlier packet made them wait.
    since: Option<Instant>,
    fill: Fill,
}

/// What is at the front of an inbox, and so what happens to it next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Fill {
    /// Perhaps a whole packet: it is scanned before the next read.
    #[default]
    Unscanned,
    /// A request without room until earlier ones are answered.
    Blocked,
    /// A partial packet, which is copied in front of the next read.
    Copied,
    /// A partial packet that is expensive to copy: the next read is appended to it. `judged` says that it is
    /// a PUBLISH that lacks only payload, and is not parsed again before it is whole.
    Gathered { judged: bool },
}

/// What is at the front of the rest of a scan, and so why it stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leftover {
    /// Packets to scan later.
    Unscanned,
    /// A request without room.
    Blocked,
    /// A partial packet. `judged` says that it is a PUBLISH that lacks only payload.
    Partial { judged: bool },
}

impl Inbox {
    /// The bytes that were read together with CONNECT.
    pub(crate) fn new(bytes: BytesMut) -> Self {
        let content = Content {
            bytes,
            ..Content::default()
        };
        Self((!content.bytes.is_empty()).then(|| Box::new(content)))
    }

    /// Records since when the packets in it have waited, for their Message Expiry Interval.
    pub(crate) fn wait_since(&mut self, since: Instant) {
        if let Some(content) = &mut self.0 {
            content.since = Some(since);
        }
    }

    /// Bytes of memory that it takes.
    pub(super) fn size(&self) -> usize {
        self.0.as_ref().map_or(0, |it| it.bytes.capacity())
    }

    /// True if there is no input.
    pub(super) const fn is_none(&self) -> bool {
        self.0.is_none()
    }

    fn fill(&self) -> Option<Fill> {
        self.0.as_ref().map(|content| content.fill)
    }

    /// True if it may contain a whole packet.
    pub(super) fn is_unscanned(&self) -> bool {
        matches!(self.fill(), Some(Fill::Unscanned | Fill::Blocked))
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.fill() == Some(Fill::Blocked)
    }

    pub(super) fn is_partial(&self) -> bool {
        matches!(self.fill(), Some(Fill::Copied | Fill::Gathered { .. }))
    }

    pub(super) fn is_gathered(&self) -> bool {
        matches!(self.fill(), Some(Fill::Gathered { .. }))
    }

    /// True if parsing the packet before it is whole would find nothing new.
    pub(super) fn is_judged(&self) -> bool {
        self.fill() == Some(Fill::Gathered { judged: true })
    }

    /// There is room for a request again, or the hooks have finished the packet before.
    pub(super) fn rescan(&mut self) {
        if let Some(content) = &mut self.0 {
            content.fill = Fill::Unscanned;
        }
    }

    /// Bytes missing from the packet at the front.
    pub(super) fn missing(&self) -> usize {
        match Head::parse(self) {
            Ok(Some(head)) => head.total_len().saturating_sub(self.len()),
            _ => 0,
        }
    }

    /// Appends to the partial packet.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        if let Some(content) = &mut self.0 {
            content.bytes.extend_from_slice(bytes);
        }
    }

    /// Takes everything out, with the time since when it has waited.
    pub(super) fn take(&mut self) -> (BytesMut, Option<Instant>) {
        let content = self.0.take().map(|content| *content);
        let Content { bytes, since, .. } = content.unwrap_or_default();
        (bytes, since)
    }

    /// Keeps a copy of the rest of a scan of the thread's buffer. `read` says how much the last read
    /// brought.
    pub(super) fn keep(
        &mut self,
        rest: &[u8],
        read: usize,
        leftover: Leftover,
        since: Option<Instant>,
    ) {
        if rest.is_empty() {
            self.0 = None;
            return;
        }
        let content = self.0.get_or_insert_default();
        content.bytes.clear();
        content.bytes.extend_from_slice(rest);
        content.since = since;
        content.fill = Fill::after(leftover, rest, read);
    }

    /// Puts back the rest of a scan of a buffer that was taken out.
    pub(super) fn put_back(
        &mut self,
        buffer: Bytes,
        consumed: usize,
        read: usize,
        leftover: Leftover,
        since: Option<Instant>,
    ) {
        if consumed == buffer.len() {
            return;
        }
        let bytes = match buffer.try_into_mut() {
            Ok(mut rest) if consumed < rest.len() / 2 => {
                rest.advance(consumed);
                rest
            }
            // otherwise the end of a long buffer would keep all of it allocated
            Ok(long) => BytesMut::from(&long[consumed..]),
            Err(shared) => BytesMut::from(&shared[consumed..]),
        };
        let fill = Fill::after(leftover, &bytes, read);
        self.0 = Some(Box::new(Content { bytes, since, fill }));
    }
}

impl Fill {
    /// Decides how the next read continues the rest of a scan; see [`CHEAP_COPY`].
    fn after(leftover: Leftover, rest: &[u8], read: usize) -> Self {
        let judged = match leftover {
            Leftover::Unscanned => return Self::Unscanned,
            Leftover::Blocked => return Self::Blocked,
            Leftover::Partial { judged } => judged,
        };
        let is_dear = rest.len() > CHEAP_COPY || judged;
        match Head::parse(rest) {
            // it would not fit in front of a read
            Ok(Some(head)) if head.total_len() > SCRATCH_LEN => Self::Gathered { judged },
            Ok(Some(_)) if is_dear && read < rest.len() / 2 => Self::Gathered { judged },
            _ => Self::Copied,
        }
    }
}

impl Deref for Inbox {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.0.as_deref().map_or(&[], |content| &content.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTIAL: Leftover = Leftover::Partial { judged: false };

    /// A PUBLISH of this many bytes on the wire, cut off after `len`.
    fn publish(total: usize, len: usize) -> Vec<u8> {
        let rest = total - 4;
        let length = [(rest % 128) as u8 | 0x80, (rest / 128 % 128) as u8 | 0x80];
        let mut packet = vec![0x30, length[0], length[1], (rest / 16384) as u8];
        packet.resize(len, 0);
        packet
    }

    #[test]
    fn an_empty_inbox_is_one_word_and_in_no_state() {
        assert_eq!(size_of::<Inbox>(), size_of::<usize>());
        let mut inbox = Inbox::new(BytesMut::new());
        inbox.rescan();
        inbox.keep(&[], 10, Leftover::Unscanned, None);
        assert!(inbox.0.is_none() && !inbox.is_unscanned() && !inbox.is_partial());
    }

    #[test]
    fn what_is_dear_to_copy_is_gathered() {
        let fill = |total, len, read, leftover| {
            let mut inbox = Inbox::default();
            inbox.keep(&publish(total, len), read, leftover, None);
            inbox.fill().unwrap()
        };
        let judged = Leftover::Partial { judged: true };
        for (total, len, read, leftover, wanted) in [
            (60_000, 100, 1, PARTIAL, Fill::Copied),
            (60_000, 5000, 1, PARTIAL, Fill::Gathered { judged: false }),
            (60_000, 5000, 5000, PARTIAL, Fill::Copied),
            (60_000, 100, 1, judged, Fill::Gathered { judged: true }),
            (70_000, 100, 100, PARTIAL, Fill::Gathered { judged: false }),
            (60_000, 3, 1, PARTIAL, Fill::Copied),
            (60_000, 5000, 1, Leftover::Unscanned, Fill::Unscanned),
            (60_000, 5000, 1, Leftover::Blocked, Fill::Blocked),
        ] {
            assert_eq!(
                fill(total, len, read, leftover),
                wanted,
                "{total} {len} {read}"
            );
        }
    }

    #[test]
    fn a_blocked_request_is_scanned_again_when_there_is_room() {
        let mut inbox = Inbox::default();
        let since = Instant::now();
        inbox.keep(b"\x82\x05", 2, Leftover::Blocked, Some(since));
        assert!(inbox.is_blocked() && inbox.is_unscanned() && !inbox.is_partial());
        inbox.rescan();
        assert!(!inbox.is_blocked() && inbox.is_unscanned());
        let (bytes, waited) = inbox.take();
        assert_eq!((&bytes[..], waited), (&b"\x82\x05"[..], Some(since)));
        assert!(inbox.is_empty());
    }

    #[test]
    fn the_end_of_a_long_buffer_does_not_keep_all_of_it() {
        for (consumed, shared) in [(10, false), (60_000, false), (60_000, true)] {
            let buffer = Bytes::from(publish(70_000, 60_100));
            let other = shared.then(|| buffer.clone());
            let mut inbox = Inbox::default();
            inbox.put_back(buffer, consumed, 100, PARTIAL, None);
            assert_eq!(inbox.len(), 60_100 - consumed);
            assert_eq!(inbox.size() < 1000, consumed > 10, "{}", inbox.size());
            drop(other);
        }
    }
}
