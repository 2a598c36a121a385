//! Bytes that a connection holds now and then.

use std::ops::Deref;

use bytes::{Buf, BytesMut};

/// A buffer of which a connection has several and mostly needs none: empty, it is one word.
#[derive(Debug, Default)]
pub(crate) struct Held(Option<Box<BytesMut>>);

impl Held {
    /// Holds these bytes.
    pub(crate) fn new(bytes: BytesMut) -> Self {
        Self((!bytes.is_empty()).then(|| Box::new(bytes)))
    }

    /// Takes the bytes.
    pub(crate) fn take(&mut self) -> BytesMut {
        self.0.take().map_or_else(BytesMut::new, |bytes| *bytes)
    }

    /// Appends to the buffer, which `make` provides if there is none.
    #[inline]
    pub(crate) fn extend(&mut self, bytes: &[u8], make: impl FnOnce() -> BytesMut) {
        self.0
            .get_or_insert_with(|| Box::new(make()))
            .extend_from_slice(bytes);
    }

    /// Holds these bytes instead.
    pub(crate) fn replace(&mut self, bytes: &[u8]) {
        let buffer = self.0.get_or_insert_default();
        buffer.clear();
        buffer.extend_from_slice(bytes);
    }

    /// Forgets the first `count` bytes.
    pub(crate) fn advance(&mut self, count: usize) {
        if let Some(buffer) = &mut self.0 {
            buffer.advance(count);
        }
    }

    /// How many bytes the buffer has room for.
    pub(crate) fn capacity(&self) -> usize {
        self.0.as_ref().map_or(0, |buffer| buffer.capacity())
    }
}

impl Deref for Held {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.0.as_deref().map_or(&[], |buffer| buffer)
    }
}
