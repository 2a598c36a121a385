//! All connections of a load, and the one place where it waits.

use std::time::{Duration, Instant};

use super::client::{Client, prepare};
use super::link::ReadError;
use super::{Options, Target};
use crate::error::{During, Error};
use crate::net::{Interest, Poller, Ready};
use crate::stop::Stop;
use crate::wire::{DISCONNECT, Frame, Version, connect, first, subscribe};

/// One read of the generator.
const READ: usize = 256 * 1024;

/// No wait is longer, so that the stop flag is seen.
const TICK: Duration = Duration::from_millis(100);

/// Without any event for so long, the load gives up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Connections opened before their CONNACKs are awaited: below every program's accept queue.
const WINDOW: usize = 64;

/// Connections by number.
#[derive(Debug)]
pub(super) struct Pool {
    target: Target,
    version: Version,
    clients: Vec<Client>,
    poller: Poller,
    scratch: Vec<u8>,
    stop: Stop,
    last_event: Instant,
}

impl Pool {
    /// A pool without connections.
    pub(super) fn new(target: &Target, version: Version, options: &Options) -> Result<Self, Error> {
        Ok(Self {
            target: target.clone(),
            version,
            clients: Vec::new(),
            poller: Poller::new().during("create an epoll instance")?,
            scratch: vec![0; READ],
            stop: options.stop.clone(),
            last_event: Instant::now(),
        })
    }

    /// A pool of `count` connections that have their CONNACK.
    pub(super) fn connected(
        target: &Target,
        version: Version,
        options: &Options,
        count: usize,
    ) -> Result<Self, Error> {
        let mut pool = Self::new(target, version, options)?;
        pool.grow(count)?;
        Ok(pool)
    }

    /// Adds `count` connections and waits for their CONNACKs.
    pub(super) fn grow(&mut self, count: usize) -> Result<(), Error> {
        let end = self.clients.len() + count;
        while self.clients.len() < end {
            self.grow_at_once(WINDOW.min(end - self.clients.len()))?;
        }
        Ok(())
    }

    /// The same, without a wait before all of them are under way.
    pub(super) fn grow_at_once(&mut self, count: usize) -> Result<(), Error> {
        for _ in 0..count {
            self.open(self.clients.len())?;
        }
        self.await_each(count, |frame| frame.first == first::CONNACK)
    }

    /// Makes connection `client` anew and sends CONNECT.
    pub(super) fn open(&mut self, client: usize) -> Result<(), Error> {
        let mut connection = Client::connect(&self.target).during("connect")?;
        self.poller
            .add(connection.stream(), client, Interest::Read)
            .during("watch a socket")?;
        let mut packet = Vec::new();
        connect(&mut packet, self.version, &format!("load-{client:05}"));
        connection
            .send(&prepare(&self.target, &packet))
            .during("send CONNECT")?;
        match self.clients.get_mut(client) {
            // The old socket closes here and leaves the poller by itself.
            Some(place) => *place = connection,
            None => self.clients.push(connection),
        }
        Ok(())
    }

    /// How many connections there are.
    pub(super) fn len(&self) -> usize {
        self.clients.len()
    }

    /// Packets as they go over the wire.
    pub(super) fn prepare(&self, packets: &[u8]) -> Vec<u8> {
        prepare(&self.target, packets)
    }

    /// Sends what [`prepare`](Self::prepare) made; what the socket refuses goes out by itself
    /// during the coming waits. `false` while something is left.
    pub(super) fn send(&mut self, client: usize, prepared: &[u8]) -> Result<bool, Error> {
        let connection = &mut self.clients[client];
        connection.send(prepared).during("send")?;
        let flushed = connection.is_flushed();
        self.watch(client, !flushed)?;
        Ok(flushed)
    }

    /// Whether everything sent on a connection was taken by the socket.
    pub(super) fn is_flushed(&self, client: usize) -> bool {
        self.clients[client].is_flushed()
    }

    /// Sends DISCONNECT; the caller closes the connection next.
    pub(super) fn disconnect(&mut self, client: usize) -> Result<(), Error> {
        let packet = self.prepare(&DISCONNECT);
        self.send(client, &packet)?;
        self.clients[client].finish().during("send")
    }

    /// Asks to be woken when a connection can be written.
    pub(super) fn watch(&mut self, client: usize, for_write: bool) -> Result<(), Error> {
        let connection = &mut self.clients[client];
        if connection.watched_for_write == for_write {
            return Ok(());
        }
        connection.watched_for_write = for_write;
        let interest = if for_write {
            Interest::Both
        } else {
            Interest::Read
        };
        self.poller
            .change(connection.stream(), client, interest)
            .during("watch a socket")
    }

    /// Waits until a connection is ready, at most for `timeout`; may return early with nothing.
    ///
    /// Pending bytes are written on the way; `writable` is left set only on connections that can
    /// take more.
    pub(super) fn wait(&mut self, timeout: Duration, ready: &mut Vec<Ready>) -> Result<(), Error> {
        self.stop.check()?;
        self.poller
            .wait(timeout.min(TICK), ready)
            .during("wait for sockets")?;
        let now = Instant::now();
        if !ready.is_empty() {
            self.last_event = now;
        } else if now - self.last_event > PATIENCE {
            return Err(Error::Stalled(PATIENCE));
        }
        for event in ready {
            let connection = &mut self.clients[event.token];
            if event.writable && !connection.is_flushed() {
                connection.flush().during("send")?;
                event.writable = connection.is_flushed();
                if event.writable {
                    self.watch(event.token, false)?;
                }
            }
        }
        Ok(())
    }

    /// One read; calls `on` with each packet that it completed.
    pub(super) fn read(&mut self, client: usize, on: impl FnMut(Frame<'_>)) -> Result<(), Error> {
        let result = self.clients[client].read(&mut self.scratch, on);
        // A client that was upgraded may have had to keep a part of what waited for it.
        let pending = !self.clients[client].is_flushed();
        if pending {
            self.watch(client, true)?;
        }
        result.map_err(|error| match error {
            ReadError::Io(source) => Error::Io {
                action: format!("read connection {client}"),
                source,
            },
            ReadError::Closed => Error::Closed { client },
            ReadError::Protocol(error) => Error::Protocol {
                client,
                what: error.to_string(),
            },
        })
    }

    /// Waits until `on` has been true `count` times; every packet is shown to it.
    pub(super) fn await_each(
        &mut self,
        count: usize,
        mut on: impl FnMut(Frame<'_>) -> bool,
    ) -> Result<(), Error> {
        let mut seen = 0;
        let mut ready = Vec::new();
        while seen < count {
            self.wait(TICK, &mut ready)?;
            for event in ready.iter().filter(|event| event.readable) {
                self.read(event.token, |frame| seen += usize::from(on(frame)))?;
            }
        }
        Ok(())
    }

    /// Sends a SUBSCRIBE on every connection and waits for the SUBACKs.
    pub(super) fn subscribe_all(&mut self, filter: &str) -> Result<(), Error> {
        let packet = self.subscribe_packet(filter);
        for client in 0..self.len() {
            self.send(client, &packet)?;
        }
        self.await_each(self.len(), |frame| frame.first == first::SUBACK)
    }

    /// A SUBSCRIBE to one filter, prepared.
    pub(super) fn subscribe_packet(&self, filter: &str) -> Vec<u8> {
        let mut packet = Vec::new();
        subscribe(&mut packet, self.version, 1, filter);
        self.prepare(&packet)
    }

    /// Waits until the sink has seen everything, and compares its count with `sent`.
    pub(super) fn settle(&mut self, sent: u64) -> Result<(), Error> {
        let packet = self.subscribe_packet("load/count");
        for client in 0..self.len() {
            self.send(client, &packet)?;
        }
        let mut seen = 0;
        self.await_each(self.len(), |frame| {
            let count = frame.is_publish().then(|| counted(frame)).flatten();
            seen += count.unwrap_or(0);
            count.is_some()
        })?;
        if seen == sent {
            Ok(())
        } else {
            Err(Error::Lost { sent, seen })
        }
    }
}

/// The number at the end of the sink's answer; before it is the topic or a property length.
fn counted(frame: Frame<'_>) -> Option<u64> {
    let (_, rest) = frame.topic()?;
    let digits = rest
        .iter()
        .rposition(|byte| !byte.is_ascii_digit())
        .map_or(0, |at| at + 1);
    str::from_utf8(&rest[digits..]).ok()?.parse().ok()
}
