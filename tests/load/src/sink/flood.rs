//! Messages sent to the client in bulk.

use std::io;

use crate::wire::{Publish, Version, publish};

/// About this much is handed to the socket in one write.
const CHUNK: usize = 64 * 1024;

/// What one `flood/N/SIZE` may ask for.
const MAX_SIZE: usize = 1 << 20;

/// N copies of one PUBLISH, sent from a chunk that holds many of them.
#[derive(Debug)]
pub(super) struct Flood {
    chunk: Vec<u8>,
    /// Bytes already written of the chunk, always less than its length.
    at: usize,
    /// Bytes still to write in all.
    left: u64,
}

impl Flood {
    /// Understands the last three levels of a filter; `None` if it is no flood command.
    pub(super) fn parse(filter: &[u8], version: Version) -> Option<Self> {
        let mut levels = str::from_utf8(filter).ok()?.rsplit('/');
        let size = levels
            .next()?
            .parse()
            .ok()
            .filter(|size| *size <= MAX_SIZE)?;
        let count: u32 = levels.next()?.parse().ok()?;
        (levels.next()? == "flood").then(|| Self::new(filter, version, count, size))
    }

    fn new(topic: &[u8], version: Version, count: u32, size: usize) -> Self {
        let payload = vec![b'm'; size];
        let packet = Publish {
            version,
            qos: 0,
            id: 0,
            topic,
            properties: &[],
            payload: &payload,
        };
        let mut one = Vec::new();
        publish(&mut one, &packet);
        let left = one.len() as u64 * u64::from(count);
        let copies = (CHUNK / one.len()).max(1);
        Self {
            chunk: one.repeat(copies),
            at: 0,
            left,
        }
    }

    /// Whether everything was written.
    pub(super) fn is_done(&self) -> bool {
        self.left == 0
    }

    /// Writes one chunk or what is left of it; returns the bytes written.
    pub(super) fn write(&mut self, mut stream: impl io::Write) -> io::Result<usize> {
        let rest = &self.chunk[self.at..];
        let len = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(rest.len());
        let written = stream.write(&rest[..len])?;
        self.left -= written as u64;
        self.at = (self.at + written) % self.chunk.len();
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_command_is_understood() {
        for filter in ["flood/3/10", "site/a/flood/3/10"] {
            assert!(
                Flood::parse(filter.as_bytes(), Version::V3).is_some(),
                "{filter}"
            );
        }
        for filter in [
            "flood/3",
            "flood/x/10",
            "flod/3/10",
            "flood/3/1048577",
            "a/b",
        ] {
            assert!(
                Flood::parse(filter.as_bytes(), Version::V3).is_none(),
                "{filter}"
            );
        }
    }

    #[test]
    fn exactly_so_many_are_sent_whatever_the_socket_takes() {
        struct Takes(usize, Vec<u8>);
        impl io::Write for Takes {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let len = bytes.len().min(self.0);
                self.1.extend_from_slice(&bytes[..len]);
                Ok(len)
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let one = b"\x30\x0f\x00\x0bflood/5/002mm";
        for takes in [1, 7, 1 << 20] {
            let mut flood = Flood::parse(b"flood/5/002", Version::V3).unwrap();
            let mut socket = Takes(takes, Vec::new());
            while !flood.is_done() {
                flood.write(&mut socket).unwrap();
            }
            assert_eq!(socket.1, one.repeat(5), "{takes} bytes a write");
        }
    }
}
