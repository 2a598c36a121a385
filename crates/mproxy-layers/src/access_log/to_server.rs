//! What the client asks for.

use std::{
    fmt::Write,
    task::{Context, Poll},
};

use mproxy_codec::{Kind, KindSet};
use mproxy_session::{HeadOnly, PacketHead, ReviewFuture, SessionInfo, Verdict};
use tower_service::Service;

use super::{line, publish::Published, sample::Sample};
use crate::cut::cut;

/// The most filters of one packet in a line: a SUBSCRIBE may have a hundred thousand.
const FILTERS: usize = 4;

/// The packet service that logs SUBSCRIBE and UNSUBSCRIBE, and a share of PUBLISH.
#[derive(Debug)]
pub struct AccessLogToServer<S> {
    inner: S,
    info: SessionInfo,
    kinds: KindSet,
    sample: Sample,
}

impl<S> AccessLogToServer<S> {
    pub(super) const fn new(inner: S, info: SessionInfo, kinds: KindSet, sample: Sample) -> Self {
        Self {
            inner,
            info,
            kinds,
            sample,
        }
    }
}

impl<S> Service<PacketHead> for AccessLogToServer<S>
where
    S: Service<PacketHead, Response = Verdict<HeadOnly>>,
{
    type Response = Verdict<HeadOnly>;
    type Error = S::Error;
    type Future = ToServerFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, packet: PacketHead) -> Self::Future {
        let published = match packet.kind() {
            // a will is not published yet, and belongs to the line of its CONNECT
            Kind::Publish if packet.is_will() => None,
            Kind::Publish if self.sample.picks() => Published::of(&self.info, &packet),
            Kind::Publish => None,
            kind => {
                if self.kinds.contains(kind) {
                    self.log(&packet);
                }
                None
            }
        };
        ReviewFuture::new(self.inner.call(packet), published)
    }
}

/// The response future of [`AccessLogToServer`]: a PUBLISH is logged if it goes on.
// what is logged is boxed: it is rare, and all futures are as large as the largest
pub type ToServerFuture<F> = ReviewFuture<F, Box<Published>>;

impl<S> AccessLogToServer<S> {
    /// Logs what the client asked for, as it wrote it: layers inside may change it.
    #[cold]
    fn log(&self, packet: &PacketHead) {
        if let Some(subscribe) = packet.subscribe() {
            let filters = list(subscribe.subscriptions().map(|entry| entry.filter));
            line::subscribes(&self.info, &filters);
        } else if let Some(unsubscribe) = packet.unsubscribe() {
            line::unsubscribes(&self.info, &list(unsubscribe.filters()));
        }
    }
}

/// Writes the first filters, and how many more there are.
fn list<'a>(filters: impl Iterator<Item = &'a str>) -> String {
    let mut text = String::new();
    let mut more = 0_usize;
    for (place, filter) in filters.enumerate() {
        if place < FILTERS {
            let separator = if place == 0 { "" } else { " " };
            text.push_str(separator);
            text.push_str(&cut(filter));
        } else {
            more += 1;
        }
    }
    if more > 0 {
        // Writing to a string does not fail.
        let _ = write!(text, " and {more} more");
    }
    text
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
