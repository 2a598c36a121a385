//! Whole packets from a byte stream, for both ends of the demo: its broker and its devices.

use std::io;

use bytes::BytesMut;
use mproxy_codec::{DecodeError, Direction, Frame, Framer, Version};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// The largest packet that either end reads. Nobody sends larger ones in a demo.
pub(super) const MAX_PACKET_LEN: usize = 2 * 1024 * 1024;

/// Room made for a read.
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
    room: BytesMut,
    framer: Framer,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    /// Reads what a client sends, from CONNECT on.
    pub(super) fn of_client(io: R) -> Self {
        Self::new(io, Framer::before_connect(MAX_PACKET_LEN))
    }

    /// Reads what a broker sends to a client of this version.
    pub(super) fn of_broker(io: R, version: Version) -> Self {
        let direction = Direction::ToClient;
        Self::new(io, Framer::new(version, direction, MAX_PACKET_LEN))
    }

    fn new(io: R, framer: Framer) -> Self {
        Self {
            io,
            room: BytesMut::new(),
            framer,
        }
    }

    /// What was read and is not part of a whole packet: after an error, the packet that is wrong.
    pub(super) fn unread(&self) -> &[u8] {
        self.framer.unread()
    }

    /// The next whole packet; `None` at the end of the stream.
    ///
    /// # Errors
    /// [`FrameError::Decode`] as soon as the first bytes cannot begin a packet of at most
    /// [`MAX_PACKET_LEN`] bytes, [`FrameError::Io`] when the stream fails or ends within one.
    ///
    /// # Cancel safety
    /// Cancel safe: what has arrived stays in the framer.
    pub(super) async fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        loop {
            if let Some(frame) = self.framer.next_frame()? {
                return Ok(Some(frame));
            }
            self.room.clear();
            self.room.reserve(READ_LEN);
            if self.io.read_buf(&mut self.room).await? == 0 {
                return if self.unread().is_empty() {
                    Ok(None)
                } else {
                    Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
                };
            }
            self.framer.push(&self.room);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn any_split_gives_the_same_packets() {
        let stream = b"\xd0\0\x30\x05\0\x01ahi\x40\x02\0\x01";
        for at in 0..stream.len() {
            let (one, two) = stream.split_at(at);
            let mut frames = Frames::of_broker(one.chain(two), Version::V311);
            let mut lens = Vec::new();
            while let Some(frame) = frames.next().await.unwrap() {
                lens.push(frame.as_bytes().len());
            }
            assert_eq!(lens, [2, 7, 4], "split at {at}");
        }
    }

    #[tokio::test]
    async fn what_cannot_be_a_packet_is_refused_at_once() {
        // a length above the bound is refused before its bytes arrive
        let mut frames = Frames::of_broker(&b"\x30\xff\xff\xff\x7f"[..], Version::V5);
        let error = frames.next().await.unwrap_err();
        assert!(matches!(
            error,
            FrameError::Decode(DecodeError::PacketTooLarge)
        ));
        let mut frames = Frames::of_broker(&b"\x30\x05\0"[..], Version::V5);
        let error = frames.next().await.unwrap_err();
        assert!(
            matches!(error, FrameError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof)
        );
        let mut frames = Frames::of_broker(&b"\xc0\0"[..], Version::V5);
        let error = frames.next().await.unwrap_err();
        assert!(matches!(
            error,
            FrameError::Decode(DecodeError::WrongDirection)
        ));
    }
}
