//! Turns: what one connection may do before others have theirs.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll},
};

/// Puts the task behind all others of its thread that have something to do.
///
/// To wake the task would put it at the end of the queue of tasks. A runtime of one thread looks
/// at its sockets when that queue is empty, or every 61 tasks: a single task that wakes itself
/// would have 61 turns before anybody else is heard.
pub(crate) fn yield_to_sockets<T>(cx: &mut Context<'_>) -> Poll<T> {
    let yielding = pin!(tokio::task::yield_now());
    match yielding.poll(cx) {
        Poll::Pending => {}
        Poll::Ready(()) => cx.waker().wake_by_ref(),
    }
    Poll::Pending
}
