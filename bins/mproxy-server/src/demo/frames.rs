//! Whole packets from a byte stream, for both ends of the demo: its broker and its devices.

use std::io;

use bytes::{Bytes, BytesMut};
use mproxy_codec::{DecodeError, Direction, Head, Version};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The largest packet that either end reads. Nobody sends larger ones in a demo.
pub(super) const MAX_PACKET_LEN: usize = 2 * 1024 * 1024;

/// Room made for a read; a larger packet makes the buffer grow as its bytes arrive.
const READ_LEN: usize = 4 * 1024;

/// A stream without a whole packet.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    /// The stream failed, or ended within a packet.
    #[error("connection failed")]
    Io(#[from] io::Error),
    /// The next bytes are no packet.
    #[error("packet is not valid")]
    Decode(#[from] DecodeError),
}

/// Cuts a byte stream into packets.
#[derive(Debug)]
pub(super) struct Frames<R> {
    io: R,
    buffer: BytesMut,
    direction: Direction,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    /// Reads packets that travel in `direction` from `io`.
    pub(super) fn new(io: R, direction: Direction) -> Self {
        Self {
            io,
            buffer: BytesMut::new(),
            direction,
        }
    }

    /// The next whole packet; `None` at the end of the stream.
    ///
    /// # Errors
    /// [`FrameError::Decode`] as soon as the first bytes cannot begin a packet of at most
    /// [`MAX_PACKET_LEN`] bytes, [`FrameError::Io`] when the stream fails or ends within one.
    ///
    /// # Cancel safety
    /// Cancel safe: what has arrived stays in the buffer.
    pub(super) async fn next(&mut self, version: Version) -> Result<Option<Bytes>, FrameError> {
        loop {
            if let Some(packet) = self.whole(version)? {
                return Ok(Some(packet));
            }
            self.buffer.reserve(READ_LEN);
            if self.io.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
                };
            }
        }
    }

    fn whole(&mut self, version: Version) -> Result<Option<Bytes>, DecodeError> {
        let Some(&first) = self.buffer.first() else {
            return Ok(None);
        };
        Head::check_first_byte(first, version, self.direction)?;
        let Some(head) = Head::parse(&self.buffer)? else {
            return Ok(None);
        };
        if head.total_len() > MAX_PACKET_LEN {
            return Err(DecodeError::PacketTooLarge);
        }
        let is_whole = self.buffer.len() >= head.total_len();
        Ok(is_whole.then(|| self.buffer.split_to(head.total_len()).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn any_split_gives_the_same_packets() {
        let stream = b"\xc0\0\x30\x05\0\x01ahi\xe0\0";
        for at in 0..stream.len() {
            let (one, two) = stream.split_at(at);
            let mut frames = Frames::new(one.chain(two), Direction::ToServer);
            let mut lens = Vec::new();
            while let Some(packet) = frames.next(Version::V311).await.unwrap() {
                lens.push(packet.len());
            }
            assert_eq!(lens, [2, 7, 2], "split at {at}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_a_packet_is_refused_at_once() {
        // a length above the bound is refused before its bytes arrive
        let mut frames = Frames::new(&b"\x30\xff\xff\xff\x7f"[..], Direction::ToServer);
        let error = frames.next(Version::V5).await.unwrap_err();
        assert!(matches!(
            error,
            FrameError::Decode(DecodeError::PacketTooLarge)
        ));
        let mut frames = Frames::new(&b"\x30\x05\0"[..], Direction::ToServer);
        let error = frames.next(Version::V5).await.unwrap_err();
        assert!(
            matches!(error, FrameError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof)
        );
        let mut frames = Frames::new(&b"\xd0\0"[..], Direction::ToServer);
        let error = frames.next(Version::V5).await.unwrap_err();
        assert!(matches!(
            error,
            FrameError::Decode(DecodeError::WrongDirection)
        ));
    }
}
