//! The end of a connection whose client is to read why.

use std::time::Duration;

use mproxy_patience::timeout;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::stream::Stream;

/// Lets a last answer arrive: closing a socket with unread input sends a reset, which destroys the
/// answer on its way.
pub(crate) async fn linger(mut stream: Stream) {
    let discard = async {
        stream.shutdown().await?;
        let mut scratch = [0; 1024];
        let mut left = LINGER_BYTES;
        while let Some(rest) = left.checked_sub(stream.read(&mut scratch).await?) {
            if rest == left {
                break;
            }
            left = rest;
        }
        std::io::Result::Ok(())
    };
    // The answer is what counts; how the client takes it changes nothing.
    let _ = timeout(LINGER_TIME, discard).await;
}

const LINGER_BYTES: usize = 64 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(1);
