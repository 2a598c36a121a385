//! Buffers of the thread, so that an idle connection owns none.

use std::any::Any;
use std::cell::Cell;
use std::pin::Pin;

use bytes::BytesMut;

/// The size of the thread's read buffer: the maximum that is read at once, and the largest packet that
/// is never streamed.
pub(crate) const SCRATCH_LEN: usize = 64 * 1024;

/// Where reads begin in memory. Linux copies what it received with one instruction, which takes three times as long
/// to an address that is no multiple of 16 on current processors: 13 us for 32 KiB instead of 4, more than all the rest
/// of a read.
const ALIGNMENT: usize = 64;

/// The buffer has room to put what is kept right in front of an aligned address.
const BUFFER_LEN: usize = SCRATCH_LEN + ALIGNMENT;

thread_local! {
    static READ: Cell<Option<BytesMut>> = const { Cell::new(None) };
    static WRITE: Cell<Option<BytesMut>> = const { Cell::new(None) };
    /// A [`Shelf`] of the type that was used last.
    static SHELF: Cell<Option<Box<dyn Any>>> = const { Cell::new(None) };
}

/// The thread's read buffer: initialised, [`BUFFER_LEN`] long.
///
/// The caller returns it with [`give_read`]. If a hook keeps a slice of it, it is not
/// returned, and the next caller gets a new one.
pub(crate) fn take_read() -> BytesMut {
    READ.take().unwrap_or_else(|| {
        // Split once, so that the buffer counts its references from the start: freezing it and
        // taking it back then allocates nothing.
        let mut buffer = BytesMut::zeroed(BUFFER_LEN + 1);
        drop(buffer.split_off(BUFFER_LEN));
        buffer
    })
}

/// Where to put bytes in the read buffer so that what is read behind them is aligned. Without any it is the
/// front: the allocator aligns that.
pub(crate) fn align_behind(buffer: &[u8], len: usize) -> usize {
    match len {
        0 => 0,
        len => (buffer.as_ptr().addr() + len).wrapping_neg() % ALIGNMENT,
    }
}

/// Returns the read buffer.
pub(crate) fn give_read(buffer: BytesMut) {
    if buffer.len() == BUFFER_LEN {
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
        assert_eq!(other.len(), BUFFER_LEN);
        assert_eq!(kept.len(), 10);
    }

    #[test]
    fn reads_are_aligned_whatever_stands_in_front_of_them() {
        let buffer = take_read();
        assert_eq!(align_behind(&buffer, 0), 0);
        for len in [1, 15, 16, 63, 64, 65, 1000, SCRATCH_LEN] {
            let start = align_behind(&buffer, len);
            let read = &buffer[start + len..];
            assert_eq!(read.as_ptr().addr() % ALIGNMENT, 0, "{len}");
            assert!(start < ALIGNMENT, "{len}");
        }
    }
}
