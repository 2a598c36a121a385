//! The inner service of one that waits before it calls it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::Refusal;

/// A service that is called by the response future of the service around it, and so is shared with it.
///
/// The service that was made ready must be the one that is called. The usual way is to move that one into the
/// future and to keep a clone; but some of tower's limits are not `Clone`, and the others lose their
/// permit when cloned.
pub(super) struct Inner<S>(Arc<Mutex<State<S>>>);

struct State<S> {
    service: S,
    /// It is ready, and reserved for a future that has not called it yet.
    is_reserved: bool,
    /// The task that waits for that.
    waker: Option<Waker>,
}

impl<S> Inner<S> {
    pub(super) fn new(service: S) -> Self {
        Self(Arc::new(Mutex::new(State {
            service,
            is_reserved: false,
            waker: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State<S>> {
        // a panic in the service leaves this wrapper valid
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn poll_ready<R>(&self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>>
    where
        S: Service<R>,
    {
        let mut state = self.lock();
        if state.is_reserved {
            state.waker = Some(cx.waker().clone());
            return Poll::Pending;
        }
        ready!(state.service.poll_ready(cx))?;
        Poll::Ready(Ok(()))
    }

    /// Calls the service, which is ready.
    pub(super) fn call<R>(&self, request: R) -> S::Future
    where
        S: Service<R>,
    {
        self.lock().service.call(request)
    }

    /// Reserves the service, which is ready, for a later call.
    pub(super) fn reserve(&self) -> Reserved<S> {
        self.lock().is_reserved = true;
        Reserved(Self(Arc::clone(&self.0)))
    }
}

/// A service that is ready for one call. Dropping it without a call makes it available to others.
pub(super) struct Reserved<S>(Inner<S>);

impl<S> Reserved<S> {
    /// Calls the service, which is free again as soon as it has returned its future.
    pub(super) fn call<R>(self, request: R) -> S::Future
    where
        S: Service<R>,
    {
        self.0.call(request)
    }
}

impl<S> Drop for Reserved<S> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.is_reserved = false;
        if let Some(waker) = state.waker.take() {
            drop(state);
            waker.wake();
        }
    }
}

impl<S: Clone> Clone for Inner<S> {
    fn clone(&self) -> Self {
        Self::new(self.lock().service.clone())
    }
}

impl<S: fmt::Debug> fmt::Debug for Inner<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lock().service.fmt(f)
    }
}

impl<S> fmt::Debug for Reserved<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reserved").finish_non_exhaustive()
    }
}

pin_project! {
    /// The response future of services that wait for an answer before they ask the one inside: with what
    /// the answer lets in. What it does not is refused.
    pub struct AskFuture<S, A, F> {
        #[pin]
        state: Step<S, A, F>,
    }
}

pin_project! {
    #[project = StepProj]
    enum Step<S, A, F> {
        Answer { #[pin] answer: A, inner: Reserved<S> },
        Inner { #[pin] future: F },
    }
}

impl<S, A, F> AskFuture<S, A, F> {
    pub(super) const fn new(answer: A, inner: Reserved<S>) -> Self {
        Self {
            state: Step::Answer { answer, inner },
        }
    }
}

impl<S, A, F, R> Future for AskFuture<S, A, F>
where
    S: Service<R, Future = F, Response: From<Refusal>>,
    A: Future<Output = Result<R, Refusal>>,
    F: Future<Output = Result<S::Response, S::Error>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StepProj::Answer { answer, inner } => match ready!(answer.poll(cx)) {
                    Ok(request) => {
                        // the reservation ends with the step
                        let future = inner.0.call(request);
                        this.state.set(Step::Inner { future });
                    }
                    Err(refusal) => return Poll::Ready(Ok(refusal.into())),
                },
                StepProj::Inner { future } => return future.poll(cx),
            }
        }
    }
}

impl<S, A, F> fmt::Debug for AskFuture<S, A, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AskFuture").finish_non_exhaustive()
    }
}
