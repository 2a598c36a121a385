//! Why a file could not be fetched.

use hyper::StatusCode;
use std::time::Duration;

use crate::{connect::DialCause, sources::Sources, tls::TlsFileErrors};

/// Why a file could not be fetched. Its URL is not part of the message.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// There is no connection.
    #[error("the server cannot be reached: {0}")]
    Dial(#[source] DialCause),
    /// It took too long.
    #[error("not fetched in {}", humane(.0))]
    TimedOut(Duration),
    /// The server sends the client elsewhere.
    #[error("the server redirects ({0}), and mproxy does not follow")]
    Redirect(StatusCode),
    /// The server has no such file, or does not give it.
    #[error("the server answers {0}")]
    Status(StatusCode),
    /// The body has more bytes than it may.
    #[error("it is larger than {0} bytes")]
    TooLarge(usize),
    /// The body is not what was asked for.
    #[error("{0}")]
    Unwanted(&'static str),
    /// There is no room for the body.
    #[error("there is no memory for it: it needs {needs} bytes, and {free} are free")]
    NoRoom {
        /// Bytes of memory that it needs as far as it has come.
        needs: usize,
        /// Bytes of memory that are free.
        free: usize,
    },
    /// The server does not speak HTTP, or stopped in the middle.
    #[error("HTTP failed: {}", Sources(.0))]
    Http(#[from] hyper::Error),
    /// The system has no CAs for `https://`.
    #[error("{0}")]
    Trust(#[source] TlsFileErrors),
    /// The URL does not make a request.
    #[error("the URL does not make a request")]
    Url,
    /// The process ends.
    #[error("stopped")]
    Stopped,
}

fn humane(time: &Duration) -> String {
    format!("{} s", time.as_secs_f64())
}
