//! The state of the sender of a direction.

use std::io;

use crate::cause::{Cause, End};
use crate::summary::Side;

/// The state of the sender of a direction. Boxed, to be one word while the session goes on.
#[derive(Debug)]
pub(crate) struct Sender(Option<Box<Last>>);

/// The last event of a sender that has finished.
#[derive(Debug)]
enum Last {
    /// It has closed its connection.
    Closed,
    /// It has sent its last packet, or one side is broken: the queue is written, nothing is read.
    Done(End),
}

impl Sender {
    /// A sender that may send more.
    pub(super) const TALKING: Self = Self(None);

    #[inline]
    pub(super) const fn is_talking(&self) -> bool {
        self.0.is_none()
    }

    /// True if there is a cause, so nothing more is scanned.
    #[inline]
    pub(super) fn is_done(&self) -> bool {
        matches!(self.0.as_deref(), Some(Last::Done(_)))
    }

    /// True if nothing more can come from `side`, the sender.
    pub(super) fn has_closed(&self, side: Side) -> bool {
        match self.0.as_deref() {
            None => false,
            Some(Last::Closed) => true,
            Some(Last::Done(end)) => matches!(**end, Cause::Broke { side: it, .. } if it == side),
        }
    }

    pub(super) fn close(&mut self) {
        self.0.get_or_insert_with(|| Box::new(Last::Closed));
    }

    /// A side broke. An earlier cause stays.
    pub(super) fn broke(&mut self, side: Side, error: io::Error) {
        if !self.is_done() {
            self.say_last(Cause::broke(side, error));
        }
    }

    /// The sender has sent this, which is the cause.
    pub(super) fn say_last(&mut self, end: End) {
        self.0 = Some(Box::new(Last::Done(end)));
    }

    /// Takes the cause, if there is one.
    pub(super) fn take_end(&mut self) -> Option<End> {
        match self.0.take().map(|last| *last) {
            Some(Last::Done(end)) => Some(end),
            other => {
                self.0 = other.map(Box::new);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(side: Side) -> Sender {
        let mut sender = Sender::TALKING;
        sender.broke(side, io::ErrorKind::BrokenPipe.into());
        sender
    }

    #[test]
    fn a_cause_is_more_than_a_closed_connection_and_a_last_word_more_than_a_broken_one() {
        assert_eq!(size_of::<Sender>(), size_of::<usize>());
        let mut sender = Sender::TALKING;
        assert!(sender.is_talking() && sender.take_end().is_none());
        sender.close();
        assert!(sender.has_closed(Side::Client) && !sender.is_done());
        assert!(sender.take_end().is_none() && sender.has_closed(Side::Client));
        sender.broke(Side::Upstream, io::ErrorKind::BrokenPipe.into());
        sender.close();
        assert!(sender.is_done() && !sender.is_talking());
        sender.say_last(Cause::internal("a last word"));
        sender.broke(Side::Upstream, io::ErrorKind::BrokenPipe.into());
        let end = sender.take_end().map(|end| *end);
        assert!(matches!(end, Some(Cause::Defect { .. })), "{end:?}");
    }

    #[test]
    fn a_side_that_broke_has_closed_and_one_that_cannot_be_written_to_has_not() {
        assert!(broken(Side::Client).has_closed(Side::Client));
        assert!(!broken(Side::Upstream).has_closed(Side::Client));
    }
}
