//! Bytes that a connection holds now and then.

use std::ops::Deref;

use bytes::BytesMut;
use tokio::time::Instant;

/// A buffer that a connection mostly does not need: empty, it is one word.
#[derive(Debug, Default)]
pub(crate) struct Held(Option<Box<Content>>);

#[derive(Debug, Default)]
struct Content {
    bytes: BytesMut,
    since: Option<Instant>,
}

impl Held {
    /// Holds these bytes.
    pub(crate) fn new(bytes: BytesMut) -> Self {
        let content = Content { bytes, since: None };
        Self((!content.bytes.is_empty()).then(|| Box::new(content)))
    }

    /// Takes the bytes.
    pub(crate) fn take(&mut self) -> BytesMut {
        self.0.take().map_or_else(BytesMut::new, |held| held.bytes)
    }

    /// Appends to the buffer.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        let held = self.0.get_or_insert_default();
        held.bytes.extend_from_slice(bytes);
    }

    /// Holds these bytes instead.
    pub(crate) fn replace(&mut self, bytes: &[u8]) {
        let held = self.0.get_or_insert_default();
        held.since = None;
        held.bytes.clear();
        held.bytes.extend_from_slice(bytes);
    }

    /// Bytes that it takes.
    pub(crate) fn size(&self) -> usize {
        self.0.as_ref().map_or(0, |held| held.bytes.capacity())
    }

    /// Since when the packets in it wait, if they do.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.0.as_ref().and_then(|held| held.since)
    }

    /// The packets in it, if there are any, wait since then.
    pub(crate) fn wait_since(&mut self, since: Instant) {
        if let Some(held) = &mut self.0 {
            held.since = Some(since);
        }
    }
}

impl Deref for Held {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.0.as_deref().map_or(&[], |held| &held.bytes)
    }
}
