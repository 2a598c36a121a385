//! How far the sender of a direction has come.

use crate::cause::{Cause, End};
use crate::summary::Side;

/// How far the sender of a direction has come.
#[derive(Debug)]
pub(crate) enum Sender {
    /// It may have more to say.
    Talking,
    /// It has closed its connection.
    Closed,
    /// It has said its last word, or one side is broken: what is queued is finished, nothing is read.
    Done(End),
}

impl Sender {
    pub(super) const fn is_talking(&self) -> bool {
        matches!(self, Self::Talking)
    }

    /// True when there is a cause, and so nothing more is scanned.
    pub(super) const fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }

    /// True when nothing can come from `side`, whose packets these are.
    pub(crate) fn has_closed(&self, side: Side) -> bool {
        match self {
            Self::Talking => false,
            Self::Closed => true,
            Self::Done(end) => matches!(&**end, Cause::Broke { side: it, .. } if *it == side),
        }
    }

    /// There is a cause to end. The first one counts.
    pub(super) fn done(&mut self, end: impl FnOnce() -> End) {
        if !self.is_done() {
            *self = Self::Done(end());
        }
    }

    /// Takes the cause, if there is one.
    pub(crate) fn take_end(&mut self) -> Option<End> {
        match std::mem::replace(self, Self::Closed) {
            Self::Done(end) => Some(end),
            other => {
                *self = other;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn broke(side: Side) -> End {
        Cause::broke(side, io::ErrorKind::BrokenPipe.into())
    }

    #[test]
    fn the_first_cause_counts_and_is_more_than_a_closed_connection() {
        let mut sender = Sender::Talking;
        assert!(sender.is_talking() && sender.take_end().is_none());
        sender = Sender::Closed;
        assert!(sender.has_closed(Side::Client) && !sender.is_done());
        assert!(sender.take_end().is_none() && sender.has_closed(Side::Client));
        sender.done(|| broke(Side::Upstream));
        sender.done(|| Cause::internal("a second one"));
        assert!(sender.is_done() && !sender.is_talking());
        let end = sender.take_end().map(|end| *end);
        assert!(matches!(end, Some(Cause::Broke { .. })));
    }

    #[test]
    fn a_side_that_broke_has_closed_and_one_that_cannot_be_written_to_has_not() {
        let has_closed = |broken| Sender::Done(broke(broken)).has_closed(Side::Client);
        assert!(has_closed(Side::Client));
        assert!(!has_closed(Side::Upstream));
    }
}
