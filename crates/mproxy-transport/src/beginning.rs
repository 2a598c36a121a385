//! What a client sent first: known also when nothing came of it.

use std::io;

/// The first bytes of a client, how many there were in all, and how reading failed, if it did.
#[derive(Debug, Default)]
pub(crate) struct Beginning {
    first: [u8; FIRST],
    received: u64,
    failed: Option<io::ErrorKind>,
}

impl Beginning {
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    pub(crate) fn first(&self) -> &[u8] {
        &self.first[..self.kept()]
    }

    /// The error of the socket, if reading from it failed. The HTTP library hides it.
    pub(crate) fn failure(&self) -> Option<io::Error> {
        self.failed.map(io::Error::from)
    }

    pub(crate) fn fail(&mut self, error: &io::Error) {
        self.failed = Some(error.kind());
    }

    fn kept(&self) -> usize {
        usize::try_from(self.received).map_or(FIRST, |received| received.min(FIRST))
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        let kept = self.kept();
        for (to, from) in self.first[kept..].iter_mut().zip(bytes) {
            *to = *from;
        }
        self.received += bytes.len() as u64;
    }
}

/// Enough for every protocol that could be meant: the longest, PROXY v2, begins with 12 bytes.
const FIRST: usize = 32;
