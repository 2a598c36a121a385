//! Listening sockets that the service manager opened, and passed to the process.

use std::{env, io};

use listenfd::ListenFd;
use socket2::SockRef;

use super::listener::ListenSocket;
use crate::addr::ListenAddr;

/// The sockets that systemd passed: those of a `.socket` unit, and those that it keeps for the service
/// while that restarts.
///
/// They stay open as long as this lives, so that a listener that a reload removes can be added again.
#[derive(Debug, Default)]
pub struct PassedSockets(Vec<PassedSocket>);

#[derive(Debug)]
struct PassedSocket {
    name: String,
    /// Or why it cannot be used.
    socket: Result<ListenSocket, &'static str>,
    is_taken: bool,
}

impl PassedSockets {
    /// Takes the sockets that the environment announces, sd_listen_fds(3), and removes the variables.
    ///
    /// Call it first of all in the process: it changes the environment, which other threads must not read
    /// meanwhile, and the numbers of the descriptors must still mean what they meant at the start.
    pub fn from_env() -> Self {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut passed = ListenFd::from_env();
        let mut names = names.split(':').filter(|name| !name.is_empty());
        let sockets = (0..passed.len().min(MAX_PASSED)).map(|index| PassedSocket {
            name: names.next().unwrap_or(NAMELESS).to_owned(),
            socket: take(&mut passed, index),
            is_taken: false,
        });
        Self(sockets.collect())
    }

    /// The names of the sockets that are not [marked](Self::mark).
    pub fn unused(&self) -> impl Iterator<Item = &str> {
        let unused = self.0.iter().filter(|it| !it.is_taken);
        unused.map(|it| &*it.name)
    }

    /// Closes the sockets of this name.
    pub fn close(&mut self, name: &str) {
        self.0.retain(|it| it.name != name);
    }

    /// Notes that a listener at this address has its socket from here.
    pub fn mark(&mut self, addr: &ListenAddr) {
        let mut sockets = self.0.iter_mut();
        if let Some(socket) = sockets.find(|it| it.is_at(addr)) {
            socket.is_taken = true;
        }
    }

    /// Whether a listener at this address has its socket from here.
    pub fn has(&self, addr: &ListenAddr) -> bool {
        self.0.iter().any(|it| it.is_at(addr))
    }

    /// Whether there is a socket of this name.
    pub fn has_name(&self, name: &str) -> bool {
        self.0.iter().any(|it| it.name == name)
    }

    /// The socket of this name, or at this address, if one was passed.
    ///
    /// # Errors
    ///
    /// It cannot be used, or there is more than one.
    pub(super) fn take(&self, addr: &ListenAddr) -> io::Result<Option<ListenSocket>> {
        let mut found = self.0.iter().filter(|it| it.is_at(addr));
        let (first, second) = (found.next(), found.next());
        let Some(first) = first else {
            return Ok(None);
        };
        if second.is_some() {
            let message = format!("{} sockets of this name were passed", found.count() + 2);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        match &first.socket {
            Ok(socket) => socket.try_clone().map(Some),
            Err(why) => Err(io::Error::new(io::ErrorKind::InvalidInput, *why)),
        }
    }

    /// Says that there is no socket of this name, and which there are.
    pub(super) fn missing(&self, name: &str) -> io::Error {
        let names: Vec<_> = self.0.iter().map(|it| format!("`{}`", it.name)).collect();
        let message = match names.is_empty() {
            true => "the service manager passed no socket".to_owned(),
            false => format!(
                "the service manager passed no socket named `{name}`, but {}",
                names.join(", ")
            ),
        };
        io::Error::new(io::ErrorKind::NotFound, message)
    }
}

impl PassedSocket {
    fn is_at(&self, addr: &ListenAddr) -> bool {
        match addr.passed_name() {
            Some(name) => self.name == name,
            None => self.address().as_ref() == Some(addr),
        }
    }

    fn address(&self) -> Option<ListenAddr> {
        self.socket.as_ref().ok()?.local_addr().ok()
    }
}

fn take(passed: &mut ListenFd, index: usize) -> Result<ListenSocket, &'static str> {
    let socket = if let Ok(Some(socket)) = passed.take_tcp_listener(index) {
        if !is_listening(SockRef::from(&socket)) {
            return Err(NOT_LISTENING);
        }
        let options = socket.set_nonblocking(true);
        options.map(|()| ListenSocket::Tcp(socket))
    } else if let Ok(Some(socket)) = passed.take_unix_listener(index) {
        if !is_listening(SockRef::from(&socket)) {
            return Err(NOT_LISTENING);
        }
        let options = socket.set_nonblocking(true);
        options.map(|()| ListenSocket::Unix(socket, None))
    } else {
        return Err("it is not a stream socket: use ListenStream= in its unit");
    };
    socket.map_err(|_| "it cannot be set to not block")
}

fn is_listening(socket: SockRef<'_>) -> bool {
    socket.is_listener().unwrap_or(false)
}

const NOT_LISTENING: &str = "it does not listen: remove Accept=yes from its unit";

/// What systemd itself calls a socket without a name.
const NAMELESS: &str = "unknown";

/// More descriptors than a unit has listeners; it bounds what a wrong `LISTEN_FDS` costs.
const MAX_PASSED: usize = 1024;
