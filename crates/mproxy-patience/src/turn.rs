//! Turns: what one connection may do before others have theirs.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll},
};

/// Puts the task behind all others of its thread that have something to do, and behind the sockets that are
/// ready. Always pending.
///
/// To wake the task would put it at the end of the queue of tasks. A runtime of one thread looks
/// at its sockets when that queue is empty, or every 61 tasks: a single task that wakes itself
/// would have 61 turns before anybody else is heard.
pub fn yield_turn<T>(cx: &mut Context<'_>) -> Poll<T> {
    let yielding = pin!(tokio::task::yield_now());
    match yielding.poll(cx) {
        // the first poll, which also wakes the task
        Poll::Pending => {}
        Poll::Ready(()) => cx.waker().wake_by_ref(),
    }
    Poll::Pending
}
