//! A session as a future. The state for opening, judging again and closing is boxed
//! separately, so a long-lived session keeps room for none of it except a pointer.

use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use crate::cause::End;
use crate::pipe::Stop;
use crate::summary::Summary;

/// Not an async block, which would reserve room for its variables more than once.
pub(super) struct Run<L, P, O, R, RF, K, KF> {
    stage: Stage<L, O, RF, KF>,
    poll: P,
    renew: R,
    close: K,
}

enum Stage<L, O, RF, KF> {
    Opening(Pin<Box<O>>),
    Live(L),
    Renewing(Pin<Box<RF>>),
    Closing(Pin<Box<KF>>),
    Over,
}

impl<L, P, O, R, RF, K, KF> Run<L, P, O, R, RF, K, KF> {
    /// A session that starts with `opening`, and then moves packets with `poll`.
    pub(super) fn new(opening: O, poll: P, renew: R, close: K) -> Self {
        Self {
            stage: Stage::Opening(Box::pin(opening)),
            poll,
            renew,
            close,
        }
    }
}

impl<L, P, O, R, RF, K, KF> Run<L, P, O, R, RF, K, KF>
where
    O: Future<Output = Result<L, Box<Summary>>>,
    R: FnMut(L) -> RF,
    RF: Future<Output = Result<L, Box<(L, End)>>>,
    K: FnMut(L, End) -> KF,
    KF: Future<Output = Summary>,
{
    /// Goes on in a stage that moves no packets. `None` means that another stage has begun.
    ///
    /// Not inlined: its frame is some 20 KiB, and every packet would touch all pages of that.
    #[cold]
    #[inline(never)]
    fn poll_other(&mut self, cx: &mut Context<'_>) -> Poll<Option<Summary>> {
        self.stage = match &mut self.stage {
            Stage::Opening(opening) => match ready!(opening.as_mut().poll(cx)) {
                Ok(live) => Stage::Live(live),
                Err(summary) => {
                    self.stage = Stage::Over;
                    return Poll::Ready(Some(*summary));
                }
            },
            Stage::Renewing(renewing) => match ready!(renewing.as_mut().poll(cx)) {
                Ok(live) => Stage::Live(live),
                Err(ended) => {
                    let (live, end) = *ended;
                    Stage::Closing(Box::pin((self.close)(live, end)))
                }
            },
            Stage::Closing(closing) => {
                let summary = ready!(closing.as_mut().poll(cx));
                self.stage = Stage::Over;
                return Poll::Ready(Some(summary));
            }
            // `Live` is not polled here, and a future not after completion
            Stage::Live(_) | Stage::Over => return Poll::Pending,
        };
        Poll::Ready(None)
    }

    /// The pipe has stopped.
    #[cold]
    #[inline(never)]
    fn stopped(&mut self, stop: Stop) {
        self.stage = match (mem::replace(&mut self.stage, Stage::Over), stop) {
            (Stage::Live(live), Stop::End(end)) => {
                Stage::Closing(Box::pin((self.close)(live, end)))
            }
            (Stage::Live(live), Stop::Renewal) => Stage::Renewing(Box::pin((self.renew)(live))),
            (other, _) => other,
        };
    }
}

impl<L, P, O, R, RF, K, KF> Future for Run<L, P, O, R, RF, K, KF>
where
    L: Unpin,
    P: FnMut(&mut L, &mut Context<'_>) -> Poll<Stop> + Unpin,
    O: Future<Output = Result<L, Box<Summary>>>,
    R: FnMut(L) -> RF + Unpin,
    RF: Future<Output = Result<L, Box<(L, End)>>>,
    K: FnMut(L, End) -> KF + Unpin,
    KF: Future<Output = Summary>,
{
    type Output = Summary;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Summary> {
        let this = self.get_mut();
        loop {
            if let Stage::Live(live) = &mut this.stage {
                let stop = ready!((this.poll)(live, cx));
                this.stopped(stop);
            } else if let Some(summary) = ready!(this.poll_other(cx)) {
                return Poll::Ready(summary);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use crate::{Hooks, Peer, Session, new_hooks};

    /// An idle session consists of its pipe, its handle, and this.
    #[test]
    fn a_session_is_two_words_beside_what_is_boxed() {
        let (client, _near) = duplex(1);
        let session = Session::new(Peer::new("test"));
        let session = session.run(client, new_hooks(|_| Hooks::none()), |_| {
            std::future::ready(Ok::<_, std::io::Error>(duplex(1).0))
        });
        assert_eq!(size_of_val(&session), 2 * size_of::<usize>());
    }
}
