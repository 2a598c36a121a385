//! Buffers of the thread, so that an idle connection owns none.

use std::cell::Cell;

/// The most that is worked on at once: the held end of a record, or a whole handshake message, and one
/// read behind it.
const IN_LEN: usize = 96 * 1024;

/// Of a cache line.
const ALIGNMENT: usize = 64;

/// Room for what one write becomes: [`WRITE_LEN`] in two or three records with their headers and tags.
const OUT_LEN: usize = 40 * 1024;

/// The most plaintext that one write takes.
pub(super) const WRITE_LEN: usize = 32 * 1024;

thread_local! {
    static IN: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
    static OUT: Cell<Option<Out>> = const { Cell::new(None) };
}

/// Lends the thread's buffer of [`IN_LEN`] bytes.
pub(super) fn with_input<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    let mut buffer = IN
        .take()
        .unwrap_or_else(|| vec![0; IN_LEN].into_boxed_slice());
    let result = work(&mut buffer);
    IN.set(Some(buffer));
    result
}

/// The buffer from where `len` bytes end at an address to which Linux copies what it received as fast as it can.
/// To one that is no multiple of 16, it takes three times as long.
pub(super) fn align_behind(buffer: &mut [u8], len: usize) -> &mut [u8] {
    let start = (buffer.as_ptr().addr() + len).wrapping_neg() % ALIGNMENT;
    &mut buffer[start..]
}

/// Lends the thread's buffer for what is to be sent: empty.
pub(super) fn with_output<T>(work: impl FnOnce(&mut Out) -> T) -> T {
    let mut out = OUT.take().unwrap_or_default();
    out.filled = 0;
    let result = work(&mut out);
    // a long chain of certificates may have made it grow
    out.bytes.truncate(OUT_LEN);
    OUT.set(Some(out));
    result
}

/// Encrypted bytes on their way to the socket.
#[derive(Debug)]
pub(super) struct Out {
    bytes: Vec<u8>,
    filled: usize,
}

impl Out {
    /// What is to be sent.
    pub(super) fn filled(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }

    /// Appends what `encode` writes. It is asked again, with more room, when it says how much it needs.
    ///
    /// # Errors
    /// Those of `encode`, but for too little room.
    pub(super) fn append<E>(
        &mut self,
        mut encode: impl FnMut(&mut [u8]) -> Result<usize, TooSmall<E>>,
    ) -> Result<(), E> {
        loop {
            match encode(&mut self.bytes[self.filled..]) {
                Ok(len) => {
                    self.filled += len;
                    return Ok(());
                }
                Err(TooSmall::Needs(len)) => self.bytes.resize(self.filled + len, 0),
                Err(TooSmall::Failed(error)) => return Err(error),
            }
        }
    }
}

impl Default for Out {
    fn default() -> Self {
        Self {
            bytes: vec![0; OUT_LEN],
            filled: 0,
        }
    }
}

/// Why nothing was encoded.
pub(super) enum TooSmall<E> {
    /// It needs so many bytes of room.
    Needs(usize),
    Failed(E),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_grew_is_as_large_as_before_when_it_is_lent_again() {
        let long = vec![7; 3 * OUT_LEN];
        with_output(|out| {
            let appended = out.append(|room| match room.get_mut(..long.len()) {
                Some(room) => {
                    room.copy_from_slice(&long);
                    Ok(long.len())
                }
                None => Err(TooSmall::<()>::Needs(long.len())),
            });
            assert_eq!(appended, Ok(()));
            assert_eq!(out.filled(), long);
        });
        with_output(|out| {
            assert_eq!(out.filled(), b"");
            assert_eq!(out.bytes.len(), OUT_LEN);
        });
    }
}
