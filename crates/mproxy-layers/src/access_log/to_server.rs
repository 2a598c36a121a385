//! What the client asks for.

use std::{
    fmt::Write,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use mproxy_codec::{Kind, KindSet};
use mproxy_session::{Packet, SessionInfo, Verdict};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::line;
use crate::printable::Printable;

/// The most filters of one packet in a line: a SUBSCRIBE may have a hundred thousand.
const FILTERS: usize = 4;

/// The packet service that logs SUBSCRIBE and UNSUBSCRIBE.
#[derive(Debug)]
pub struct AccessLogToServer<S> {
    inner: S,
    info: SessionInfo,
    kinds: KindSet,
}

impl<S> AccessLogToServer<S> {
    pub(super) const fn new(inner: S, info: SessionInfo, kinds: KindSet) -> Self {
        Self { inner, info, kinds }
    }
}

impl<S> Service<Packet> for AccessLogToServer<S>
where
    S: Service<Packet, Response = Verdict>,
{
    type Response = Verdict;
    type Error = S::Error;
    type Future = SubscribeFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, packet: Packet) -> Self::Future {
        let asked = self
            .kinds
            .contains(packet.kind())
            .then(|| Asked::note(&self.info, &packet));
        SubscribeFuture {
            future: self.inner.call(packet),
            asked,
        }
    }
}

/// What a client asked for, as it wrote it: layers inside may change it.
#[derive(Debug)]
struct Asked(Box<(SessionInfo, bool, String)>);

impl Asked {
    #[cold]
    fn note(info: &SessionInfo, packet: &Packet) -> Self {
        let filters = match (packet.subscribe(), packet.unsubscribe()) {
            (Some(subscribe), _) => list(subscribe.subscriptions().map(|entry| entry.filter)),
            (_, Some(unsubscribe)) => list(unsubscribe.filters()),
            _ => String::new(),
        };
        Self(Box::new((
            info.clone(),
            packet.kind() == Kind::Subscribe,
            filters,
        )))
    }

    #[cold]
    fn log(&self, verdict: &Verdict) {
        let (info, subscribe, filters) = &*self.0;
        let outcome = match verdict {
            Verdict::Forward(_) => "forward",
            Verdict::Discard => "discard",
            Verdict::Refuse(_) => "refuse",
            Verdict::Close(_) => "close",
            _ => "other",
        };
        line::asked(info, *subscribe, filters, outcome);
    }
}

/// Writes the first filters, and how many more there are.
fn list<'a>(filters: impl Iterator<Item = &'a str>) -> String {
    let mut text = String::new();
    let mut more = 0_usize;
    for (place, filter) in filters.enumerate() {
        if place < FILTERS {
            let separator = if place == 0 { "" } else { " " };
            // Writing to a string does not fail.
            let _ = write!(text, "{separator}{}", Printable(filter));
        } else {
            more += 1;
        }
    }
    if more > 0 {
        let _ = write!(text, " and {more} more");
    }
    text
}

pin_project! {
    /// The response future of [`AccessLogToServer`].
    #[derive(Debug)]
    pub struct SubscribeFuture<F> {
        #[pin]
        future: F,
        asked: Option<Asked>,
    }
}

impl<F, E> Future for SubscribeFuture<F>
where
    F: Future<Output = Result<Verdict, E>>,
{
    type Output = Result<Verdict, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let verdict = ready!(this.future.poll(cx))?;
        if let Some(asked) = this.asked {
            asked.log(&verdict);
        }
        Poll::Ready(Ok(verdict))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_short() {
        assert_eq!(list(["a/+", "b c"].into_iter()), "a/+ b c");
        assert_eq!(
            list(std::iter::repeat_n("#", 100_000)),
            "# # # # and 99996 more"
        );
        let long = "\n".repeat(65_535);
        assert!(list(std::iter::repeat_n(long.as_str(), 10)).len() < 3_000);
    }
}
