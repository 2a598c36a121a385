//! Looks at the sockets after a deadline.

use std::task::{Context, Poll};

use super::yield_turn;

/// How often a runtime looks at its sockets before a deadline that is over counts. The look that finds the
/// process running again is interrupted and finds nothing; each of the others finds 1,024 sockets at most.
pub(crate) const LOOKS: u8 = 32;

/// The looks that were taken since a deadline was over: 32, and then it counts.
///
/// They are never reset: make new ones for each deadline, or a later one counts without a look at the sockets.
///
/// ```
/// use std::{future::poll_fn, task::{Poll, ready}, time::Duration};
/// use mproxy_patience::Looks;
/// use tokio::time::sleep;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let mut received = || None::<u8>; // what a peer has sent
/// let mut timer = std::pin::pin!(sleep(Duration::from_secs(10)));
/// let mut looks = Looks::default();
/// let answer = poll_fn(|cx| {
///     // before the timer: it is asked again after each look
///     if let Some(byte) = received() {
///         return Poll::Ready(Some(byte));
///     }
///     ready!(timer.as_mut().poll(cx));
///     ready!(looks.poll_last(cx));
///     Poll::Ready(None)
/// });
/// assert_eq!(answer.await, None);
/// # }
/// ```
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
