//! The end of a connection whose client is to read why.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use mproxy_patience::timeout;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};

use crate::stream::Stream;

/// Lets a last answer arrive: closing a socket with unread input sends a reset, which destroys the
/// answer on its way.
pub(crate) async fn linger(mut stream: Stream) {
    let lingering = async {
        stream.shutdown().await?;
        let mut left = LINGER_BYTES;
        poll_fn(|cx| discard(&mut stream, &mut left, cx)).await
    };
    // The answer is what counts; how the client takes it changes nothing.
    let _ = timeout(LINGER_TIME, lingering).await;
}

/// Reads until the end, or more than was `left`. The buffer is not in the future: many clients may be refused at a time.
fn discard(stream: &mut Stream, left: &mut usize, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    let mut scratch = [0; 1024];
    loop {
        let mut room = ReadBuf::new(&mut scratch);
        ready!(Pin::new(&mut *stream).poll_read(cx, &mut room))?;
        match left.checked_sub(room.filled().len()) {
            Some(rest) if rest < *left => *left = rest,
            _ => return Poll::Ready(Ok(())),
        }
    }
}

const LINGER_BYTES: usize = 64 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(1);
