//! The futures of callbacks: boxed only if they wait.

use std::any::Any;
use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::HandlerFuture;
use crate::BoxError;
use crate::hook::Verdict;

thread_local! {
    /// An empty [`Slot`] of the type that was used last: callbacks that answer at once cost no
    /// allocation.
    static SLOT: Cell<Option<Box<dyn Any>>> = const { Cell::new(None) };
}

/// A pinned place for the future of callbacks, whose type has no name.
type Slot<F> = Pin<Box<Option<F>>>;

/// The response future of [`HandlerPackets`](super::HandlerPackets).
///
/// Callbacks are polled when they are called; if they are not ready then, they are polled again with a real
/// waker.
pub struct HandlerAnswer(Answer);

enum Answer {
    /// `None` once it was returned.
    Ready(Option<Result<Verdict, BoxError>>),
    Waiting(HandlerFuture<Verdict>),
}

impl HandlerAnswer {
    pub(super) fn of<F>(future: F) -> Self
    where
        F: Future<Output = Result<Verdict, BoxError>> + Send + 'static,
    {
        let slot = SLOT.take().and_then(|slot| slot.downcast::<Slot<F>>().ok());
        let mut slot = slot.unwrap_or_else(|| Box::new(Box::pin(None)));
        slot.as_mut().set(Some(future));
        match poll(&mut slot, &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(verdict) => {
                SLOT.set(Some(slot));
                Self(Answer::Ready(Some(verdict)))
            }
            Poll::Pending => Self(Answer::Waiting(Box::pin(Waiting(*slot)))),
        }
    }
}

impl Future for HandlerAnswer {
    type Output = Result<Verdict, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.get_mut().0 {
            Answer::Ready(verdict) => {
                // `None` only if polled after completion, which Future forbids
                let verdict = verdict.take();
                Poll::Ready(verdict.unwrap_or_else(|| Err("polled after completion".into())))
            }
            Answer::Waiting(future) => future.as_mut().poll(cx),
        }
    }
}

/// Callbacks that wait, in their slot.
struct Waiting<F>(Slot<F>);

impl<F: Future<Output = Result<Verdict, BoxError>>> Future for Waiting<F> {
    type Output = Result<Verdict, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        poll(&mut self.get_mut().0, cx)
    }
}

fn poll<F>(slot: &mut Slot<F>, cx: &mut Context<'_>) -> Poll<Result<Verdict, BoxError>>
where
    F: Future<Output = Result<Verdict, BoxError>>,
{
    let polled = match slot.as_mut().as_pin_mut() {
        Some(future) => future.poll(cx),
        None => Poll::Ready(Err("polled after completion".into())),
    };
    if polled.is_ready() {
        slot.as_mut().set(None);
    }
    polled
}

impl fmt::Debug for HandlerAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerAnswer").finish_non_exhaustive()
    }
}
