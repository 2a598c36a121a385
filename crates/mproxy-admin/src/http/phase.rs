//! The phase of a connection's request, which decides which connection may be cut to make room.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::failure::Failure;

/// The request is not complete.
const WAITING: u8 = 0;
/// The answer is complete; what is left of it waits for the caller to read.
const WRITING: u8 = 1;
/// The request is being answered: it may have changed something, so its caller must get the answer.
const ANSWERING: u8 = 2;
/// The connection is cut.
const CUT: u8 = 3;

/// The phase of a connection's request; clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Phase(Arc<AtomicU8>);

impl Phase {
    /// Which connections are cut first; `None` if this one must not be cut.
    pub(super) fn rank(&self) -> Option<u8> {
        let phase = self.0.load(Ordering::Relaxed);
        (phase < ANSWERING).then_some(phase)
    }

    /// Marks the connection as cut, unless it has moved on from this rank.
    pub(super) fn cut(&self, rank: u8) -> bool {
        self.step(rank, CUT)
    }

    /// Moves from one phase to another, unless another task was first: a request that is cut before it is
    /// answered must not be executed.
    fn step(&self, from: u8, to: u8) -> bool {
        let order = Ordering::Relaxed;
        self.0.compare_exchange(from, to, order, order).is_ok()
    }
}

/// Reads the whole request before it is answered, and tracks the [`Phase`] of its connection.
pub(super) async fn follow(request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let phase = head.extensions.get::<Phase>().cloned().unwrap_or_default();
    let body = Bytes::from_request(Request::from_parts(head.clone(), body), &()).await;
    let body = match body {
        Ok(body) => body,
        Err(error) => {
            let remedy = "send a body of 16 KiB at most";
            return Failure::new(error.status(), error.body_text(), remedy).into_response();
        }
    };
    if !phase.step(WAITING, ANSWERING) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let response = next.run(Request::from_parts(head, Body::from(body))).await;
    phase.step(ANSWERING, WRITING);
    response
}
