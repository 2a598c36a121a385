//! The unread input of a direction.

use std::ops::Deref;

use bytes::BytesMut;
use tokio::time::Instant;

/// The unread input of a direction. Most connections have none, so it is one pointer wide when empty.
#[derive(Debug, Default)]
pub(crate) struct Inbox(Option<Box<Content>>);

#[derive(Debug, Default)]
struct Content {
    bytes: BytesMut,
    since: Option<Instant>,
}

impl Inbox {
    /// Holds these bytes.
    pub(crate) fn new(bytes: BytesMut) -> Self {
        let content = Content { bytes, since: None };
        Self((!content.bytes.is_empty()).then(|| Box::new(content)))
    }

    /// Takes the bytes.
    pub(crate) fn take(&mut self) -> BytesMut {
        self.0
            .take()
            .map_or_else(BytesMut::new, |content| content.bytes)
    }

    /// Appends to the buffer.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        let content = self.0.get_or_insert_default();
        content.bytes.extend_from_slice(bytes);
    }

    /// Holds these bytes instead.
    pub(crate) fn replace(&mut self, bytes: &[u8]) {
        let content = self.0.get_or_insert_default();
        content.since = None;
        content.bytes.clear();
        content.bytes.extend_from_slice(bytes);
    }

    /// Bytes that it takes.
    pub(crate) fn size(&self) -> usize {
        self.0
            .as_ref()
            .map_or(0, |content| content.bytes.capacity())
    }

    /// Since when the packets in it wait, if they do.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.0.as_ref().and_then(|content| content.since)
    }

    /// The packets in it, if there are any, wait since then.
    pub(crate) fn wait_since(&mut self, since: Instant) {
        if let Some(content) = &mut self.0 {
            content.since = Some(since);
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
