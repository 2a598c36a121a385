//! One connection of the generator.

use std::io::{self, ErrorKind, Read, Write};

use super::Target;
use crate::net::Stream;
use crate::wire::{Deframer, Frame, Handshake, Scanner, WsError, client_frame, upgrade_request};

/// Why a read ended the connection.
#[derive(Debug)]
pub(super) enum ReadError {
    Io(io::Error),
    Closed,
    Protocol(WsError),
}

/// How MQTT is carried.
#[derive(Debug)]
enum Carrier {
    Plain,
    /// The upgrade is under way; the bytes wait until it is answered.
    Upgrading(Handshake, Vec<u8>),
    WebSocket(Deframer),
}

/// A connection that never blocks: what the socket does not take waits in a buffer.
#[derive(Debug)]
pub(super) struct Client {
    stream: Stream,
    scanner: Scanner,
    carrier: Carrier,
    /// Bytes the socket did not take, from `at`. Loads send only when this is empty, or one
    /// short packet at a time, so it stays small.
    out: Vec<u8>,
    at: usize,
    /// What the poller was last told.
    pub(super) watched_for_write: bool,
}

impl Client {
    /// Connects and sends the upgrade request if there is to be one.
    pub(super) fn connect(target: &Target) -> io::Result<Self> {
        let mut client = Self {
            stream: Stream::connect(&target.endpoint)?,
            scanner: Scanner::default(),
            carrier: Carrier::Plain,
            out: Vec::new(),
            at: 0,
            watched_for_write: false,
        };
        if let Some(path) = &target.websocket {
            client.write(&upgrade_request(path, &target.endpoint.to_string()))?;
            client.carrier = Carrier::Upgrading(Handshake::default(), Vec::new());
        }
        Ok(client)
    }

    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Whether everything was taken by the socket.
    pub(super) fn is_flushed(&self) -> bool {
        self.out.is_empty()
    }

    /// Sends bytes made by [`prepare`].
    pub(super) fn send(&mut self, prepared: &[u8]) -> io::Result<()> {
        if let Carrier::Upgrading(_, waiting) = &mut self.carrier {
            waiting.extend_from_slice(prepared);
            return Ok(());
        }
        self.write(prepared)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = if self.out.is_empty() {
            self.write_some(bytes)?
        } else {
            0
        };
        self.out.extend_from_slice(&bytes[written..]);
        Ok(())
    }

    /// Writes what is pending.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let out = std::mem::take(&mut self.out);
        self.at += self.write_some(&out[self.at..])?;
        if self.at < out.len() {
            self.out = out;
        } else {
            self.at = 0;
        }
        Ok(())
    }

    fn write_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.stream.write(bytes) {
            Ok(written) => Ok(written),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// One read; calls `on` with each packet that it completed.
    pub(super) fn read(
        &mut self,
        scratch: &mut [u8],
        mut on: impl FnMut(Frame<'_>),
    ) -> Result<(), ReadError> {
        let bytes = match self.stream.read(scratch) {
            Ok(0) => return Err(ReadError::Closed),
            Ok(len) => &scratch[..len],
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(ReadError::Io(error)),
        };
        let Self {
            scanner, carrier, ..
        } = self;
        match carrier {
            Carrier::Plain => scanner
                .feed(bytes, on)
                .map_err(|error| ReadError::Protocol(error.into())),
            Carrier::WebSocket(deframer) => deframer
                .feed(bytes, |payload| scanner.feed(payload, &mut on))
                .map_err(ReadError::Protocol),
            Carrier::Upgrading(handshake, waiting) => {
                let Some(behind) = handshake.feed(bytes).map_err(ReadError::Protocol)? else {
                    return Ok(());
                };
                let waiting = std::mem::take(waiting);
                let mut deframer = Deframer::default();
                deframer
                    .feed(&behind, |payload| scanner.feed(payload, &mut on))
                    .map_err(ReadError::Protocol)?;
                self.carrier = Carrier::WebSocket(deframer);
                self.write(&waiting).map_err(ReadError::Io)
            }
        }
    }
}

/// Packets as they go over the wire to `target`: unchanged, or as one masked frame.
pub(super) fn prepare(target: &Target, packets: &[u8]) -> Vec<u8> {
    if target.websocket.is_none() {
        return packets.to_vec();
    }
    let mut out = Vec::new();
    client_frame(&mut out, packets);
    out
}
