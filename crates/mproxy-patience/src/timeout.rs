//! Time limits of futures.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Timeout, error::Elapsed};

use super::Looks;

pin_project! {
    /// See [`timeout`].
    #[derive(Debug)]
    pub struct Patient<F> {
        #[pin]
        timed: Timeout<F>,
        looks: Looks,
    }
}

/// tokio's `timeout`, with looks at the sockets before it is over.
///
/// # Errors
/// As tokio's: the future was not ready in time, nor after what the sockets had received by then.
pub fn timeout<F: Future>(limit: Duration, future: F) -> Patient<F> {
    tokio::time::timeout(limit, future).into()
}

/// tokio's `timeout_at`, with looks at the sockets before it is over.
///
/// # Errors
/// As [`timeout`].
pub fn timeout_at<F: Future>(deadline: Instant, future: F) -> Patient<F> {
    tokio::time::timeout_at(deadline, future).into()
}

impl<F> From<Timeout<F>> for Patient<F> {
    fn from(timed: Timeout<F>) -> Self {
        Self {
            timed,
            looks: Looks::default(),
        }
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

    use tokio::time::advance;

    use super::*;
    use crate::looks::LOOKS;

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
