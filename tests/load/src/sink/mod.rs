//! A broker stand-in that answers as fast as it can and keeps nothing.
//!
//! One thread, one large read buffer: it must never be what a benchmark measures. What it does
//! with each packet is in `session.rs`; there are no subscriptions and no routing, but three
//! filters are commands (only their last levels count, so that a topic mapping may put a prefix
//! before them):
//!
//! - `.../flood/N/SIZE`: send N PUBLISH with SIZE bytes of payload on this connection,
//! - `.../count`: send one PUBLISH whose payload is the number of PUBLISH packets received so far,
//! - `.../echo`: from now on send every PUBLISH to a topic that ends in `/echo` back at QoS 0.

mod flood;
mod session;

use std::collections::VecDeque;
use std::io::{ErrorKind, Read};
use std::time::Duration;

use crate::error::{During, Error};
use crate::net::{Endpoint, Interest, Listener, Poller, Ready};
use crate::stop::Stop;
use session::{Session, Wants};

/// One read. Larger than a proxy's buffer, so that a busy sink needs fewer calls than the proxy.
const READ: usize = 256 * 1024;

/// How long the stop flag may go unseen.
const TICK: Duration = Duration::from_millis(100);

/// The listening socket's token; connections count from 0.
const LISTENER: usize = usize::MAX;

/// Connections accepted before the others are looked at again.
const ACCEPTS: usize = 64;

/// The sink, listening.
#[derive(Debug)]
pub struct Sink {
    listener: Listener,
    endpoint: Endpoint,
    poller: Poller,
    sessions: Vec<Option<Session>>,
    /// Free places in `sessions`.
    free: VecDeque<usize>,
    /// What one read gave, for all connections.
    scratch: Vec<u8>,
    /// The answers to one read, for all connections.
    replies: Vec<u8>,
}

impl Sink {
    /// Binds; port 0 takes a free one.
    ///
    /// # Errors
    /// [`Error::Io`] when the address cannot be bound.
    pub fn bind(endpoint: &Endpoint) -> Result<Self, Error> {
        let listener = Listener::bind(endpoint).during(format!("bind the sink to {endpoint}"))?;
        let endpoint = listener
            .endpoint(endpoint)
            .during("read the sink's address")?;
        let poller = Poller::new().during("create an epoll instance")?;
        poller
            .add(&listener, LISTENER, Interest::Read)
            .during("watch the listening socket")?;
        Ok(Self {
            listener,
            endpoint,
            poller,
            sessions: Vec::new(),
            free: VecDeque::new(),
            scratch: vec![0; READ],
            replies: Vec::new(),
        })
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Serves until `stop` is set.
    ///
    /// # Errors
    /// [`Error::Io`] when waiting or accepting fails; never for what a single client does.
    pub fn run(mut self, stop: &Stop) -> Result<(), Error> {
        let mut ready = Vec::new();
        while !stop.is_set() {
            self.poller
                .wait(TICK, &mut ready)
                .during("wait for sockets")?;
            for &event in &ready {
                if event.token == LISTENER {
                    self.accept()?;
                } else if !self.serve(event) {
                    // Dropping the session closes the socket, which leaves the poller by itself.
                    self.sessions[event.token] = None;
                    self.free.push_back(event.token);
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> Result<(), Error> {
        for _ in 0..ACCEPTS {
            let stream = match self.listener.accept() {
                Ok(stream) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // The client gave up in the queue.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error).during("accept a connection"),
            };
            let token = self.free.pop_front().unwrap_or_else(|| {
                self.sessions.push(None);
                self.sessions.len() - 1
            });
            self.poller
                .add(&stream, token, Interest::Read)
                .during("watch a connection")?;
            self.sessions[token] = Some(Session::new(stream));
        }
        Ok(())
    }

    /// Reads and writes one connection; `false` ends it.
    fn serve(&mut self, event: Ready) -> bool {
        let Some(session) = self.sessions.get_mut(event.token).and_then(Option::as_mut) else {
            return true;
        };
        self.replies.clear();
        if event.readable && session.wants() != Wants::Write {
            match session.stream().read(&mut self.scratch) {
                Ok(0) => return false,
                Ok(len) => {
                    if session
                        .handle(&self.scratch[..len], &mut self.replies)
                        .is_err()
                    {
                        return false;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return false,
            }
        } else if event.readable && !event.writable {
            // Woken for writing only, and neither is possible: an error or a hang-up.
            return false;
        }
        if session.send(&self.replies).is_err() {
            return false;
        }
        let Some(wants) = session.changed_wants() else {
            return true;
        };
        let interest = match wants {
            Wants::Read => Interest::Read,
            Wants::Write => Interest::Write,
            Wants::Both => Interest::Both,
        };
        self.poller
            .change(session.stream(), event.token, interest)
            .is_ok()
    }
}
