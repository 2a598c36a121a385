//! [`RefuseErrorsLayer`]: refuses if a service inside fails.

use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use mproxy_codec::ReasonCode;
use pin_project_lite::pin_project;
use tower::load_shed::error::Overloaded;
use tower::timeout::error::Elapsed;
use tower_layer::Layer;
use tower_service::Service;

use super::verdict::sources;
use super::{Packet, Refusal, Verdict};
use crate::BoxError;
use crate::admit::{Admission, Connect};

/// Refuses the CONNECT or the packet at which a service inside fails, instead of ending the
/// session. A layer for both stages.
///
/// | error | CONNECT | packet |
/// |---|---|---|
/// | [`Refusal`] | as it says | as it says |
/// | tower's `Elapsed`, of a `Timeout` | 0x88 Server unavailable | 0x83 Implementation specific error |
/// | tower's `Overloaded`, of a `LoadShed` | 0x89 Server busy | 0x97 Quota exceeded |
/// | others | the code from [`with`](Self::with) | the code from [`with`](Self::with) |
///
/// It also recognizes an error that is the [source](Error::source) of another. An error that is not in the
/// table stays an error, and so does an error of `poll_ready`: hooks fail closed.
///
/// ```
/// use std::time::Duration;
/// use mproxy_session::{Forward, RefuseErrorsLayer};
/// use tower::ServiceBuilder;
///
/// // a PUBLISH without a decision after one second is refused, and the client stays
/// let stack = ServiceBuilder::new()
///     .layer(RefuseErrorsLayer::new())
///     .timeout(Duration::from_secs(1))
///     .service(Forward);
/// # let _ = stack;
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct RefuseErrorsLayer<F = KnownErrors> {
    map: F,
}

/// Which errors refuse, and with what reason code. Every closure of the right type is one.
pub trait MapError {
    /// The reason code for this error, or `None` if it stays an error.
    fn reason(&self, error: &(dyn Error + 'static)) -> Option<ReasonCode>;
}

impl<F: Fn(&(dyn Error + 'static)) -> Option<ReasonCode>> MapError for F {
    fn reason(&self, error: &(dyn Error + 'static)) -> Option<ReasonCode> {
        self(error)
    }
}

/// No errors but those that [`RefuseErrorsLayer`] knows.
// a function pointer in its place would have a lifetime in its type, and the compiler cannot prove that a future
// of `async` with such a type inside is `Send`
#[derive(Clone, Copy, Debug, Default)]
#[allow(clippy::exhaustive_structs)] // complete: it maps nothing
pub struct KnownErrors;

impl MapError for KnownErrors {
    fn reason(&self, _error: &(dyn Error + 'static)) -> Option<ReasonCode> {
        None
    }
}

impl RefuseErrorsLayer {
    /// A layer that refuses for the errors in the table.
    #[must_use]
    pub const fn new() -> Self {
        Self { map: KnownErrors }
    }

    /// Also refuses for other errors: those for which `map` returns a reason code. It is called first, with
    /// the error and then with each source. In an `async` block that is spawned, such a stack has to come from a
    /// function: see the [guide](crate::guide#if-a-stack-does-not-compile).
    pub fn with<F>(self, map: F) -> RefuseErrorsLayer<F>
    where
        F: Fn(&(dyn Error + 'static)) -> Option<ReasonCode>,
    {
        RefuseErrorsLayer { map }
    }
}

impl<S, F: Clone> Layer<S> for RefuseErrorsLayer<F> {
    type Service = RefuseErrors<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        RefuseErrors {
            inner,
            map: self.map.clone(),
        }
    }
}

/// See [`RefuseErrorsLayer`].
#[derive(Clone, Copy, Debug)]
pub struct RefuseErrors<S, F = KnownErrors> {
    inner: S,
    map: F,
}

/// The response of a stage, which can be a refusal.
trait Refusable: From<Refusal> {
    const ELAPSED: ReasonCode;
    const OVERLOADED: ReasonCode;
}

impl<P> Refusable for Verdict<P> {
    const ELAPSED: ReasonCode = ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR;
    const OVERLOADED: ReasonCode = ReasonCode::QUOTA_EXCEEDED;
}

impl<U, D> Refusable for Admission<U, D> {
    const ELAPSED: ReasonCode = ReasonCode::SERVER_UNAVAILABLE;
    const OVERLOADED: ReasonCode = ReasonCode::SERVER_BUSY;
}

fn refusal<R: Refusable>(error: &(dyn Error + 'static), map: &impl MapError) -> Option<Refusal> {
    let mapped = sources(error).find_map(|error| map.reason(error));
    if let Some(reason) = mapped {
        return Some(Refusal::new(reason).with_origin(error.to_string()));
    }
    Refusal::in_error(error).or_else(|| {
        let reason = sources(error).find_map(|error| {
            if error.is::<Elapsed>() {
                Some(R::ELAPSED)
            } else {
                error.is::<Overloaded>().then_some(R::OVERLOADED)
            }
        });
        reason.map(|reason| Refusal::new(reason).with_origin(error.to_string()))
    })
}

macro_rules! stage {
    ($request:ty, $response:ty $(, $generic:ident)*) => {
        impl<S, F $(, $generic)*> Service<$request> for RefuseErrors<S, F>
        where
            S: Service<$request, Response = $response>,
            S::Error: Into<BoxError>,
            F: MapError + Clone,
        {
            type Response = $response;
            type Error = BoxError;
            type Future = RefuseErrorsFuture<S::Future, F>;

            #[inline]
            fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
                self.inner.poll_ready(cx).map_err(Into::into)
            }

            #[inline]
            fn call(&mut self, request: $request) -> Self::Future {
                RefuseErrorsFuture {
                    future: self.inner.call(request),
                    map: self.map.clone(),
                }
            }
        }
    };
}

stage!(Packet<P>, Verdict<P>, P);
stage!(Connect, Admission<U, D>, U, D);

pin_project! {
    /// The response future of [`RefuseErrors`].
    #[derive(Debug)]
    pub struct RefuseErrorsFuture<Fut, F> {
        #[pin]
        future: Fut,
        map: F,
    }
}

#[allow(private_bounds)] // the responses of both stages have it, and nothing else needs it
impl<Fut, F, R, E> Future for RefuseErrorsFuture<Fut, F>
where
    Fut: Future<Output = Result<R, E>>,
    R: Refusable,
    E: Into<BoxError>,
    F: MapError,
{
    type Output = Result<R, BoxError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.future.poll(cx)).map_err(Into::into);
        Poll::Ready(answer.or_else(|error| {
            let refusal = refusal::<R>(&*error, this.map);
            refusal.map(R::from).ok_or(error)
        }))
    }
}
