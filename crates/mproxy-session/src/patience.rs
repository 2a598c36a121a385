//! Deadlines that are noticed late. A process that the system has not run (SIGSTOP, a suspended machine,
//! no CPU) goes on with all its timers over, and may not have seen yet what its sockets have received
//! meanwhile. Then the proxy is late, not its peer. So a deadline that is over counts after a look at the sockets.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::Timeout;
use tokio::time::error::Elapsed;

/// How often a runtime looks at its sockets before a deadline that is over counts. The look that finds the
/// process running again is interrupted and finds nothing; each of the others finds 1,024 sockets at most.
const LOOKS: u8 = 32;

/// The looks that were taken since a deadline was over.
#[derive(Debug, Default)]
pub(crate) struct Looks(u8);

impl Looks {
    /// A deadline is over. Ready after all looks; until then, the task is polled again after the next.
    pub(crate) fn poll_last(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.0 == LOOKS {
            return Poll::Ready(());
        }
        self.0 += 1;
        yield_turn(cx);
        Poll::Pending
    }
}

/// Has the task polled again after the other tasks of the thread, and ready sockets, had
/// their turn. A task that wakes itself would be polled before the runtime checks any socket.
pub(crate) fn yield_turn(cx: &mut Context<'_>) {
    let turn = std::pin::pin!(tokio::task::yield_now());
    // pending at the first poll, which also wakes the task
    let _ = turn.poll(cx);
}

pin_project! {
    /// See [`timeout`].
    pub(crate) struct Patient<F> {
        #[pin]
        timed: Timeout<F>,
        looks: Looks,
    }
}

/// tokio's `timeout`, with a look at the sockets before it is over.
pub(crate) fn timeout<F: Future>(limit: Duration, future: F) -> Patient<F> {
    Patient {
        timed: tokio::time::timeout(limit, future),
        looks: Looks::default(),
    }
}

impl<F: Future> Future for Patient<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let timed = ready!(this.timed.poll(cx));
        if timed.is_err() {
            ready!(this.looks.poll_last(cx));
        }
        Poll::Ready(timed)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};

    use tokio::time::{Instant, advance};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    /// What is found with the `count`th look.
    fn found_with(count: u8) -> impl Future<Output = ()> {
        let mut polls = 0;
        poll_fn(move |_| {
            polls += 1;
            // the first poll, and the one that the timer caused, are no looks
            if polls == 2 + u32::from(count) {
                return Poll::Ready(());
            }
            Poll::Pending
        })
    }

    #[tokio::test(start_paused = true)]
    async fn what_had_come_when_the_time_was_over_counts() {
        for (count, is_found) in [(1, true), (LOOKS, true), (LOOKS + 1, false)] {
            let begun = Instant::now();
            let timed = timeout(LIMIT, found_with(count)).await;
            assert_eq!(timed.is_ok(), is_found, "{count}");
            assert_eq!(begun.elapsed().as_secs(), LIMIT.as_secs());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_looks_end_and_take_no_time() {
        let begun = Instant::now();
        assert!(timeout(LIMIT, pending::<()>()).await.is_err());
        assert_eq!(begun.elapsed().as_secs(), LIMIT.as_secs());
        let mut late = tokio_test::task::spawn(timeout(LIMIT, pending::<()>()));
        assert!(late.poll().is_pending());
        advance(LIMIT * 100).await;
        let mut looks = 0;
        while late.poll().is_pending() {
            looks += 1;
        }
        assert_eq!(looks, LOOKS);
    }
}
