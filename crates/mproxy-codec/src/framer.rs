//! Whole packets from a byte stream that arrives in pieces.

use core::fmt;

use bytes::{Bytes, BytesMut};

use crate::error::DecodeError;
use crate::head::Head;
use crate::kind::{Direction, Kind};
use crate::packet::{ConnectPacket, View};
use crate::version::Version;

/// Cuts the bytes of one direction of a connection into packets.
///
/// Feed it what has arrived ([`push`](Self::push)), then take frames until there are none
/// ([`next_frame`](Self::next_frame)). It judges fixed headers, and reads CONNECT to learn the
/// version; [`Frame::view`] validates the rest of a packet. It is strict: what
/// [`tolerance`](crate::tolerance) repairs is an error here.
///
/// ```
/// use mproxy_codec::{Framer, View};
/// // a connection of a client: the first packet must be CONNECT and says the version
/// let mut framer = Framer::before_connect(64 * 1024);
/// let mut topics = Vec::new();
/// for piece in [&b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01c\x30"[..], b"\x06\0\x03a/b", b"!"] {
///     framer.push(piece);
///     while let Some(frame) = framer.next_frame()? {
///         if let View::Publish(publish) = frame.view()? {
///             topics.push(publish.topic().to_owned());
///         }
///     }
/// }
/// assert_eq!(topics, ["a/b"]);
/// // at the end of the stream: nothing may be left
/// assert!(framer.unread().is_empty());
/// # Ok::<(), mproxy_codec::DecodeError>(())
/// ```
///
/// # Memory
/// A framer holds the bytes that were pushed and not yet taken. A length field reserves nothing: the
/// buffer grows with the bytes that arrive. If frames are taken after each push, a framer never
/// holds more than one packet of the maximum size and one push. A [`Frame`] shares the buffer's
/// memory; copy what you keep for long.
pub struct Framer {
    buffer: BytesMut,
    direction: Direction,
    /// Not known before CONNECT.
    version: Option<Version>,
    max_packet_size: usize,
    /// After a malformed packet, it is unknown where the next one begins.
    error: Option<DecodeError>,
}

impl Framer {
    /// For what a client sends, from its first byte on: only CONNECT is accepted, and says the
    /// [`version`](Self::version) [MQTT-3.1.0-1].
    ///
    /// `max_packet_size` is in bytes, fixed header included; it is for CONNECT too.
    #[must_use]
    pub fn before_connect(max_packet_size: usize) -> Self {
        Self::with(None, Direction::ToServer, max_packet_size)
    }

    /// For one direction of a connection whose CONNECT is known: what a broker sends, or what a
    /// client sends after CONNECT.
    ///
    /// `max_packet_size` is in bytes, fixed header included.
    #[must_use]
    pub fn new(version: Version, direction: Direction, max_packet_size: usize) -> Self {
        Self::with(Some(version), direction, max_packet_size)
    }

    fn with(version: Option<Version>, direction: Direction, max_packet_size: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            direction,
            version,
            max_packet_size,
            error: None,
        }
    }

    /// The version of the connection; `None` until a whole and valid CONNECT has come.
    #[must_use]
    pub const fn version(&self) -> Option<Version> {
        self.version
    }

    /// Changes the maximum packet size, in bytes: after CONNECT or CONNACK another may be in force.
    pub const fn set_max_packet_size(&mut self, max_packet_size: usize) {
        self.max_packet_size = max_packet_size;
    }

    /// Appends what has arrived. Bytes that come after an error are dropped.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.error.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// The bytes that were pushed and not taken: the beginning of a packet, or the packet at which
    /// an error was found. [`ConnectPacket::version_of`] derives from them the version in which to
    /// refuse a malformed CONNECT; [`Foreign`](crate::Foreign) recognises other protocols.
    #[must_use]
    pub fn unread(&self) -> &[u8] {
        &self.buffer
    }

    /// Takes the next packet; `Ok(None)` when more bytes are needed.
    ///
    /// A packet with a wrong type, flags or length is refused before the rest of it has arrived.
    ///
    /// # Errors
    /// [`DecodeError::PacketTooLarge`] above the maximum packet size, [`DecodeError::NotConnect`]
    /// and [`DecodeError::SecondConnect`] for a missing or a second CONNECT, those of
    /// [`Head::parse`] and [`Head::check_first_byte`], [`DecodeError::NotMinimal`] in MQTT 5.0, and
    /// those of [`ConnectPacket::parse`]. After an error, every later call returns the same error.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, DecodeError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let taken = self.take();
        self.error = taken.as_ref().err().copied();
        taken
    }

    fn take(&mut self) -> Result<Option<Frame>, DecodeError> {
        let Some(head) = self.head()? else {
            return Ok(None);
        };
        if head.total_len() > self.max_packet_size {
            return Err(DecodeError::PacketTooLarge);
        }
        let Some(packet) = self.buffer.get(..head.total_len()) else {
            return Ok(None);
        };
        let version = match self.version {
            Some(version) => version,
            None => ConnectPacket::parse(Bytes::copy_from_slice(packet))?.version(),
        };
        self.version = Some(version);
        Ok(Some(Frame {
            bytes: self.buffer.split_to(head.total_len()).freeze(),
            head,
            version,
            direction: self.direction,
        }))
    }

    /// The fixed header of the next packet, judged as far as it has come.
    fn head(&self) -> Result<Option<Head>, DecodeError> {
        let Some(&first) = self.buffer.first() else {
            return Ok(None);
        };
        match (self.version, Kind::from_first_byte(first)) {
            // CONNECT judges its own flags and length, by the version that it names
            (None, Some(Kind::Connect)) => Head::parse(&self.buffer),
            (None, _) => Err(DecodeError::NotConnect),
            (Some(_), Some(Kind::Connect)) if self.direction == Direction::ToServer => {
                Err(DecodeError::SecondConnect)
            }
            (Some(version), _) => Head::parse_checked(&self.buffer, version, self.direction),
        }
    }
}

/// Says how much there is, not what: the bytes may hold passwords.
impl fmt::Debug for Framer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Framer")
            .field("direction", &self.direction)
            .field("version", &self.version)
            .field("max_packet_size", &self.max_packet_size)
            .field("unread", &self.buffer.len())
            .field("error", &self.error)
            .finish()
    }
}

/// One whole packet that a [`Framer`] cut from its stream: a valid fixed header, and as many bytes as
/// it announces.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    bytes: Bytes,
    head: Head,
    version: Version,
    direction: Direction,
}

impl Frame {
    /// The packet type.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.head.kind()
    }

    /// The version of the connection.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// The fixed header.
    #[must_use]
    pub const fn head(&self) -> Head {
        self.head
    }

    /// The packet's bytes as they came, fixed header included. MQTT 3.x allows variants of a few of
    /// them: [`normalise`](crate::normalise) writes the form that every reader accepts.
    #[must_use]
    pub const fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The packet's bytes as they came, without a copy.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// Validates the packet.
    ///
    /// # Errors
    /// Whatever the packet breaks.
    pub fn view(&self) -> Result<View<'_>, DecodeError> {
        View::of_whole(self.head, self.version, self.direction, &self.bytes)
    }
}

/// Says what it is, not what is in it: the bytes may hold passwords.
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("kind", &self.kind())
            .field("version", &self.version)
            .field("direction", &self.direction)
            .field("len", &self.bytes.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The longest length that there is, 256 MiB, and one byte of it.
    #[test]
    fn a_length_field_reserves_nothing() {
        let mut framer = Framer::new(Version::V5, Direction::ToServer, usize::MAX);
        framer.push(b"\x30\xff\xff\xff\x7f\0");
        assert!(framer.next_frame().unwrap().is_none());
        assert!(framer.buffer.capacity() < 1024);
    }
}
