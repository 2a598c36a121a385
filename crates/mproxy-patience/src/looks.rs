//! Looks at the sockets after a deadline.

use std::task::{Context, Poll};

use super::yield_turn;

/// How often a runtime looks at its sockets before a deadline that is over counts. The look that finds the
/// process running again is interrupted and finds nothing; each of the others finds 1,024 sockets at most.
pub(crate) const LOOKS: u8 = 32;

/// The looks that were taken since a deadline was over.
#[derive(Debug, Default)]
pub struct Looks(u8);

impl Looks {
    /// A deadline is over. Ready after all looks; until then, the task is polled again after the next.
    pub fn poll_last(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.0 == LOOKS {
            return Poll::Ready(());
        }
        self.0 += 1;
        yield_turn(cx)
    }
}
