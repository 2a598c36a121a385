//! One connection of the generator.

use std::io;

use super::Target;
use super::link::{Link, ReadError};
use crate::net::Stream;
use crate::wire::{Deframer, Frame, Handshake, Scanner, WsError, client_frame, upgrade_request};

/// How MQTT is carried.
#[derive(Debug)]
enum Carrier {
    Plain,
    /// The upgrade is under way; the bytes wait until it is answered.
    Upgrading(Handshake, Vec<u8>),
    WebSocket(Deframer),
}

/// A connection that speaks MQTT.
#[derive(Debug)]
pub(super) struct Client {
    link: Link,
    scanner: Scanner,
    carrier: Carrier,
    /// What the poller was last told.
    pub(super) watched_for_write: bool,
}

impl Client {
    /// Connects and sends the upgrade request if there is to be one.
    pub(super) fn connect(target: &Target) -> io::Result<Self> {
        let mut client = Self {
            link: Link::connect(target)?,
            scanner: Scanner::default(),
            carrier: Carrier::Plain,
            watched_for_write: false,
        };
        if let Some(path) = &target.websocket {
            client
                .link
                .write(&upgrade_request(path, &target.endpoint.to_string()))?;
            client.carrier = Carrier::Upgrading(Handshake::default(), Vec::new());
        }
        Ok(client)
    }

    pub(super) fn stream(&self) -> &Stream {
        self.link.stream()
    }

    /// Whether everything was taken by the socket.
    pub(super) fn is_flushed(&self) -> bool {
        self.link.is_flushed()
    }

    /// Sends bytes made by [`prepare`].
    pub(super) fn send(&mut self, prepared: &[u8]) -> io::Result<()> {
        if let Carrier::Upgrading(_, waiting) = &mut self.carrier {
            waiting.extend_from_slice(prepared);
            return Ok(());
        }
        self.link.write(prepared)
    }

    /// Writes what is pending.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.link.flush()
    }

    /// Nothing more is sent.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.link.finish()
    }

    /// One read; calls `on` with each packet that it completed.
    pub(super) fn read(
        &mut self,
        scratch: &mut [u8],
        mut on: impl FnMut(Frame<'_>),
    ) -> Result<(), ReadError> {
        let Self {
            link,
            scanner,
            carrier,
            ..
        } = self;
        let mut waited = Vec::new();
        link.read(scratch, |bytes| match carrier {
            Carrier::Plain => scanner.feed(bytes, &mut on).map_err(WsError::from),
            Carrier::WebSocket(deframer) => {
                deframer.feed(bytes, |payload| scanner.feed(payload, &mut on))
            }
            Carrier::Upgrading(handshake, waiting) => {
                let Some(behind) = handshake.feed(bytes)? else {
                    return Ok(());
                };
                waited = std::mem::take(waiting);
                let mut deframer = Deframer::default();
                deframer.feed(&behind, |payload| scanner.feed(payload, &mut on))?;
                *carrier = Carrier::WebSocket(deframer);
                Ok(())
            }
        })?;
        if waited.is_empty() {
            return Ok(());
        }
        link.write(&waited).map_err(ReadError::Io)
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
