//! A body as it comes.

use http_body_util::BodyExt;
use hyper::body::{Body as _, Bytes, Incoming};

use super::FetchError;

/// Judges a body as it comes, so that a server cannot fill the memory with something else.
pub trait Receive: Send {
    /// So many bytes are about to be allocated for the body, in all. The server has to wait until the future is
    /// ready.
    ///
    /// # Errors
    /// There is no room for them.
    fn room(&mut self, bytes: usize) -> impl Future<Output = Result<(), FetchError>> + Send;

    /// A body begins so. It is called again as more comes, up to 64 KiB, and `is_all` says whether there is no
    /// more of it yet.
    ///
    /// # Errors
    /// It is not what was asked for.
    fn judge(&self, first: &[u8], is_all: bool) -> Result<(), FetchError>;
}

/// Takes what comes, up to the size that it may have.
pub(super) struct Anything;

impl Receive for Anything {
    async fn room(&mut self, _: usize) -> Result<(), FetchError> {
        Ok(())
    }

    fn judge(&self, _: &[u8], _: bool) -> Result<(), FetchError> {
        Ok(())
    }
}

/// A body as far as it has come; what a header says about its length reserves nothing.
pub(super) struct Body {
    incoming: Incoming,
    max_size: usize,
    pub(super) bytes: Vec<u8>,
    /// How many of them were judged.
    judged: usize,
}

impl Body {
    pub(super) fn new(incoming: Incoming, max_size: usize) -> Result<Self, FetchError> {
        if incoming.size_hint().lower() > max_size as u64 {
            return Err(FetchError::TooLarge(max_size));
        }
        Ok(Self {
            incoming,
            max_size,
            bytes: Vec::new(),
            judged: 0,
        })
    }

    /// Waits for more of it; `None` at its end.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, FetchError> {
        while let Some(frame) = self.incoming.frame().await {
            if let Ok(data) = frame?.into_data() {
                let is_too_large = self.bytes.len() + data.len() > self.max_size;
                return match is_too_large {
                    true => Err(FetchError::TooLarge(self.max_size)),
                    false => Ok(Some(data)),
                };
            }
        }
        Ok(None)
    }

    /// Takes what has come, as soon as there is room for it.
    pub(super) async fn add(
        &mut self,
        new: &[u8],
        receive: &mut impl Receive,
    ) -> Result<(), FetchError> {
        let len = self.bytes.len() + new.len();
        if len > self.bytes.capacity() {
            // in steps of an eighth, so that little is allocated that is not used
            let step = new.len().max(len / 8);
            receive.room(self.bytes.len() + step).await?;
            self.bytes.reserve_exact(step);
        }
        self.bytes.extend_from_slice(new);
        // each time that it has twice as much: bytes that come one by one are not looked at again and again
        if self.judged < MAX_FIRST && (len >= 2 * self.judged || len >= MAX_FIRST) {
            self.judged = len;
            let first = &self.bytes[..len.min(MAX_FIRST)];
            receive.judge(first, len <= MAX_FIRST)?;
        }
        Ok(())
    }
}

/// What is judged of a body.
const MAX_FIRST: usize = 64 * 1024;
