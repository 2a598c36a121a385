//! A PUBLISH that is logged once it is known to go on.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use mproxy_codec::QoS;
use mproxy_session::{Packet, SessionInfo, Verdict};
use pin_project_lite::pin_project;

use super::line;
use crate::printable::Printable;

/// What the line says: the PUBLISH as the client wrote it, for layers inside may change it.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) session: SessionInfo,
    /// Printable, and as long as a line allows.
    pub(super) topic: String,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    /// Of the payload.
    pub(super) bytes: usize,
}

impl Published {
    /// Takes down what is in a PUBLISH, if somebody listens.
    #[cold]
    pub(super) fn of(session: &SessionInfo, packet: &Packet) -> Option<Box<Self>> {
        if !line::is_published_read() {
            return None;
        }
        let publish = packet.publish()?;
        Some(Box::new(Self {
            session: session.clone(),
            topic: Printable(publish.topic()).to_string(),
            qos: publish.qos(),
            retain: publish.retain(),
            bytes: publish.payload_len(),
        }))
    }
}

pin_project! {
    /// The response future of [`AccessLogToServer`](super::AccessLogToServer).
    #[derive(Debug)]
    pub struct ToServerFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProj]
    #[derive(Debug)]
    enum State<F> {
        Inner { #[pin] future: F },
        // what is logged is boxed: it is rare, and all futures are as large as the largest
        Sampled { #[pin] future: F, published: Box<Published> },
    }
}

impl<F> ToServerFuture<F> {
    /// Waits for the inner service, and logs what there is to log if it forwards the packet.
    #[inline]
    pub(super) fn new(future: F, published: Option<Box<Published>>) -> Self {
        Self {
            state: match published {
                None => State::Inner { future },
                Some(published) => State::Sampled { future, published },
            },
        }
    }
}

impl<F, E> Future for ToServerFuture<F>
where
    F: Future<Output = Result<Verdict, E>>,
{
    type Output = Result<Verdict, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Inner { future } => future.poll(cx),
            StateProj::Sampled { future, published } => {
                let verdict = ready!(future.poll(cx));
                if matches!(verdict, Ok(Verdict::Forward(_))) {
                    line::published(published);
                }
                Poll::Ready(verdict)
            }
        }
    }
}
