//! Bytes that somebody did not take yet.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncWrite, ReadBuf};

/// What is left to be taken. Without memory while that is nothing.
#[derive(Debug, Default)]
pub(super) struct Rest(Option<Box<(Vec<u8>, usize)>>);

impl Rest {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Bytes that it holds memory for.
    pub(super) fn capacity(&self) -> usize {
        self.0.as_ref().map_or(0, |rest| rest.0.capacity())
    }

    /// Appends bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            let rest = self.0.get_or_insert_default();
            rest.0.extend_from_slice(bytes);
        }
    }

    /// Moves as much as there is room for.
    pub(super) fn read(&mut self, buf: &mut ReadBuf<'_>) {
        if let Some(rest) = &mut self.0 {
            let (bytes, taken) = &mut **rest;
            let len = buf.remaining().min(bytes.len() - *taken);
            buf.put_slice(&bytes[*taken..*taken + len]);
            *taken += len;
            if *taken == bytes.len() {
                self.0 = None;
            }
        }
    }

    /// Writes until nothing is left.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        while let Some(rest) = &mut self.0 {
            let (bytes, taken) = &mut **rest;
            let len = ready!(Pin::new(&mut *io).poll_write(cx, &bytes[*taken..]))?;
            if len == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *taken += len;
            if *taken == bytes.len() {
                self.0 = None;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes these bytes behind what is left, as far as they are taken now, and keeps the others.
    pub(super) fn send(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut (impl AsyncWrite + Unpin),
        mut bytes: &[u8],
    ) -> io::Result<()> {
        if self.poll_write(cx, io)?.is_ready() {
            while !bytes.is_empty() {
                match Pin::new(&mut *io).poll_write(cx, bytes)? {
                    Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Poll::Ready(len) => bytes = &bytes[len..],
                    Poll::Pending => break,
                }
            }
        }
        self.push(bytes);
        Ok(())
    }
}
