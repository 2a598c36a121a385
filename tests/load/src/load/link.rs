//! A socket of the generator, with or without TLS.

use std::io::{self, BufRead, ErrorKind, Read, Write};

use rustls::ClientConnection;

use super::Target;
use crate::net::Stream;
use crate::wire::WsError;

/// Why a read ended the connection.
#[derive(Debug)]
pub(super) enum ReadError {
    Io(io::Error),
    Closed,
    Protocol(WsError),
}

/// A socket that never blocks: what it does not take waits in a buffer.
#[derive(Debug)]
pub(super) struct Link {
    stream: Stream,
    /// Has a buffer of its own for what the socket did not take.
    tls: Option<Box<ClientConnection>>,
    /// Without TLS: bytes the socket did not take, from `at`. Loads send only when this is empty,
    /// or one short packet at a time, so it stays small.
    out: Vec<u8>,
    at: usize,
}

impl Link {
    /// Connects, and begins the handshake of TLS if there is to be one.
    pub(super) fn connect(target: &Target) -> io::Result<Self> {
        let stream = Stream::connect(&target.endpoint)?;
        let client = |tls: &crate::net::Tls| tls.client(&target.endpoint).map(Box::new);
        let mut link = Self {
            stream,
            tls: target.tls.as_ref().map(client).transpose()?,
            out: Vec::new(),
            at: 0,
        };
        link.flush()?;
        Ok(link)
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Whether everything was taken by the socket; what waits for a handshake counts as taken.
    pub(super) fn is_flushed(&self) -> bool {
        self.out.is_empty() && self.tls.as_ref().is_none_or(|tls| !tls.wants_write())
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.writer().write_all(bytes)?;
            return self.flush();
        }
        let written = if self.out.is_empty() {
            none_if_full(self.stream.write(bytes))?
        } else {
            0
        };
        self.out.extend_from_slice(&bytes[written..]);
        Ok(())
    }

    /// Writes what is pending.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            while tls.wants_write() && none_if_full(tls.write_tls(&mut self.stream))? > 0 {}
            return Ok(());
        }
        if self.out.is_empty() {
            return Ok(());
        }
        self.at += none_if_full(self.stream.write(&self.out[self.at..]))?;
        if self.at == self.out.len() {
            self.out = Vec::new();
            self.at = 0;
        }
        Ok(())
    }

    /// Says that nothing more comes; only TLS has words for it.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
        }
        self.flush()
    }

    /// One read; calls `on` with each piece of what came.
    pub(super) fn read(
        &mut self,
        scratch: &mut [u8],
        mut on: impl FnMut(&[u8]) -> Result<(), WsError>,
    ) -> Result<(), ReadError> {
        let mut bytes = match self.stream.read(scratch) {
            Ok(0) => return Err(ReadError::Closed),
            Ok(len) => &scratch[..len],
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(ReadError::Io(error)),
        };
        let Some(tls) = &mut self.tls else {
            return on(bytes).map_err(ReadError::Protocol);
        };
        while !bytes.is_empty() {
            tls.read_tls(&mut bytes).map_err(ReadError::Io)?;
            let state = tls.process_new_packets();
            let mut left = state
                .map_err(|error| ReadError::Io(io::Error::other(error)))?
                .plaintext_bytes_to_read();
            let mut reader = tls.reader();
            while left > 0 {
                let plain = reader.fill_buf().map_err(ReadError::Io)?;
                let len = plain.len();
                on(plain).map_err(ReadError::Protocol)?;
                reader.consume(len);
                left -= len;
            }
        }
        self.flush().map_err(ReadError::Io)
    }
}

fn none_if_full(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        result => result,
    }
}
