//! Where lines go, and how a cut line ends.

use std::io::{self, ErrorKind, Write};
use std::thread;
use std::time::Duration;

/// How long to wait before writing again to a full sink that does not block. Nothing wakes the
/// thread then, and a reader of the log does not notice so short a time.
const RETRY: Duration = Duration::from_millis(10);

/// Writes lines, and knows whether the last one is whole.
///
/// The inner writer must not buffer: what it accepts counts as written.
#[derive(Debug)]
pub(super) struct Sink<W> {
    inner: W,
    /// True if the last line was cut.
    torn: bool,
}

/// Lines that were not written, including a cut one.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) lines: u64,
    pub(super) error: io::Error,
}

impl<W: Write> Sink<W> {
    pub(super) const fn new(inner: W) -> Self {
        Self { inner, torn: false }
    }

    /// Writes lines, each with its end. After a cut line, they begin on a new line.
    ///
    /// # Errors
    /// The sink accepts no more of these lines. If a sink is only full, this waits for it, as
    /// with blocking writes.
    pub(super) fn write(&mut self, lines: &str) -> Result<(), Failed> {
        let mut rest = lines.as_bytes();
        let written = self.mend().and_then(|()| self.put(&mut rest));
        written.map_err(|error| {
            let ends = rest.iter().filter(|byte| **byte == b'\n').count() as u64;
            // a line that lacks only its end is not lost
            let whole = self.torn && rest.first() == Some(&b'\n');
            let lines = ends - u64::from(whole);
            Failed { lines, error }
        })
    }

    /// Ends a cut line.
    fn mend(&mut self) -> io::Result<()> {
        match self.torn {
            true => self.put(&mut b"\n".as_slice()),
            false => Ok(()),
        }
    }

    /// Writes all, and leaves in `rest` what was not written.
    fn put(&mut self, rest: &mut &[u8]) -> io::Result<()> {
        while !rest.is_empty() {
            match self.inner.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => {
                    let (done, left) = rest.split_at(count.min(rest.len()));
                    self.torn = done.last() != Some(&b'\n');
                    *rest = left;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::park_timeout(RETRY),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with some room left; each write takes what fits.
    #[derive(Default)]
    struct Disk {
        room: usize,
        text: Vec<u8>,
        /// Errors that come first.
        errors: Vec<ErrorKind>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Some(kind) = self.errors.pop() {
                return Err(kind.into());
            }
            let count = bytes.len().min(self.room);
            if count == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            self.room -= count;
            self.text.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn disk(room: usize) -> Sink<Disk> {
        Sink::new(Disk {
            room,
            ..Disk::default()
        })
    }

    /// The disk was full in the middle of a line, and the first line after it continued that half: a
    /// collector could read neither.
    #[test]
    fn a_line_that_was_cut_ends_before_the_next_begins() {
        // bytes of room, lines lost, what is there once there is room again
        for (room, lost, text) in [
            (0, 3, "next\n"),
            (1, 3, "o\nnext\n"),
            (3, 2, "one\nnext\n"),
            (4, 2, "one\nnext\n"),
            (6, 2, "one\ntw\nnext\n"),
            (13, 0, "one\ntwo\nthree\nnext\n"),
            (14, 0, "one\ntwo\nthree\nnext\n"),
        ] {
            let mut sink = disk(room);
            let outcome = sink.write("one\ntwo\nthree\n");
            let failed = outcome.err().map_or(0, |failed| failed.lines);
            assert_eq!(failed, lost, "{room}");
            // as long as there is none, nothing changes
            let torn = sink.torn;
            assert_eq!(sink.write("").is_err(), torn, "{room}");
            sink.inner.room = 100;
            sink.write("next\n").unwrap();
            assert_eq!(String::from_utf8_lossy(&sink.inner.text), text, "{room}");
        }
    }

    #[test]
    fn a_sink_that_is_busy_loses_nothing() {
        let mut sink = disk(100);
        sink.inner.errors = vec![ErrorKind::WouldBlock, ErrorKind::Interrupted];
        sink.write("one\n").unwrap();
        assert_eq!(sink.inner.text, b"one\n");
    }
}
