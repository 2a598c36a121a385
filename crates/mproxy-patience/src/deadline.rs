//! One time limit for several waits.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::{Poll, ready},
};

use tokio::time::{Instant, error::Elapsed, timeout_at};

use super::Looks;

/// A time limit for several waits for a peer, with other waits in between that are not the peer's fault.
#[derive(Debug)]
pub struct Deadline {
    at: Instant,
    /// Of all waits together, or a peer could stretch them.
    looks: Looks,
}

impl Deadline {
    /// A limit that is over at this time.
    pub fn new(at: Instant) -> Self {
        Self {
            at,
            looks: Looks::default(),
        }
    }

    /// Waits for the peer.
    ///
    /// # Errors
    /// The time is over, and the looks at the sockets, of which there are as many as in
    /// [`timeout`](super::timeout) for all waits together, brought nothing.
    pub async fn wait<F: Future>(&mut self, future: F) -> Result<F::Output, Elapsed> {
        let mut timed = pin!(timeout_at(self.at, future));
        poll_fn(|cx| {
            let timed = ready!(timed.as_mut().poll(cx));
            if timed.is_err() {
                ready!(self.looks.poll_last(cx));
            }
            Poll::Ready(timed)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::time::Duration;

    use tokio::{task::yield_now, time::advance};

    use super::*;
    use crate::looks::LOOKS;

    #[tokio::test(start_paused = true)]
    async fn what_has_come_counts_however_late_and_the_looks_are_shared() {
        let begun = Instant::now();
        let mut deadline = Deadline::new(begun + Duration::from_secs(10));
        advance(Duration::from_secs(100)).await;
        for _ in 0..1000 {
            assert!(deadline.wait(ready(())).await.is_ok());
        }
        for _ in 0..LOOKS {
            assert!(deadline.wait(yield_now()).await.is_ok());
        }
        assert!(deadline.wait(yield_now()).await.is_err());
        assert!(deadline.wait(pending::<()>()).await.is_err());
        assert_eq!(begun.elapsed().as_secs(), 100);
    }
}
