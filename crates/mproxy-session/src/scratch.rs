//! Buffers of the thread, so that an idle connection owns none.

use std::any::Any;
use std::cell::Cell;
use std::pin::Pin;

use bytes::BytesMut;

/// The size of the thread's read buffer: the maximum that is read at once, and the largest packet that
/// is never streamed.
pub(crate) const SCRATCH_LEN: usize = 64 * 1024;

thread_local! {
    static READ: Cell<Option<BytesMut>> = const { Cell::new(None) };
    static WRITE: Cell<Option<BytesMut>> = const { Cell::new(None) };
    /// A [`Shelf`] of the type that was used last.
    static SHELF: Cell<Option<Box<dyn Any>>> = const { Cell::new(None) };
}

/// The thread's read buffer: initialised, [`SCRATCH_LEN`] long.
///
/// The caller returns it with [`give_read`]. If a hook keeps a slice of it, it is not
/// returned, and the next caller gets a new one.
pub(crate) fn take_read() -> BytesMut {
    READ.take().unwrap_or_else(|| {
        // Split once, so that the buffer counts its references from the start: freezing it and
        // taking it back then allocates nothing.
        let mut buffer = BytesMut::zeroed(SCRATCH_LEN + 1);
        drop(buffer.split_off(SCRATCH_LEN));
        buffer
    })
}

/// Returns the read buffer.
pub(crate) fn give_read(buffer: BytesMut) {
    if buffer.len() == SCRATCH_LEN {
        READ.set(Some(buffer));
    }
}

/// The thread's empty buffer for assembling packets.
pub(crate) fn take_write() -> BytesMut {
    WRITE.take().unwrap_or_default()
}

/// Returns the write buffer, unless it has grown too large.
pub(crate) fn give_write(mut buffer: BytesMut) {
    if buffer.capacity() <= 2 * SCRATCH_LEN {
        buffer.clear();
        WRITE.set(Some(buffer));
    }
}

/// A pinned place for the future of a hook.
pub(crate) type FutureBox<F> = Pin<Box<Option<F>>>;

/// Where the thread keeps an empty [`FutureBox`] between two packets. A connection owns one only
/// while a hook waits.
pub(crate) type Shelf<F> = Box<Option<FutureBox<F>>>;

/// The thread's shelf, with or without a box. The caller returns it.
#[inline]
pub(crate) fn take_shelf<F: 'static>() -> Shelf<F> {
    let shelf = SHELF.take().and_then(|shelf| shelf.downcast().ok());
    shelf.unwrap_or_default()
}

/// Returns the shelf.
#[inline]
pub(crate) fn give_shelf<F: 'static>(shelf: Shelf<F>) {
    SHELF.set(Some(shelf));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_as_it_was_unless_a_slice_is_kept() {
        let buffer = take_read();
        let address = buffer.as_ptr();
        let frozen = buffer.freeze();
        drop(frozen.slice(10..20));
        give_read(frozen.try_into_mut().unwrap());
        let again = take_read();
        assert_eq!(again.as_ptr(), address);

        let frozen = again.freeze();
        let kept = frozen.slice(10..20);
        assert!(frozen.try_into_mut().is_err());
        let other = take_read();
        assert_ne!(other.as_ptr(), address);
        assert_eq!(other.len(), SCRATCH_LEN);
        assert_eq!(kept.len(), 10);
    }
}
