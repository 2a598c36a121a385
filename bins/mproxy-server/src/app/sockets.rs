//! The listening sockets, by address: a reload opens new ones and closes those that the configuration no
//! longer has; all others go on accepting.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use mproxy_transport::{ListenAddr, ListenOptions, Listener};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::held::Held;
use super::plan::ListenerPlan;
use super::service::Service;
use super::workers::{Entrance, Workers};

/// An address on which mproxy cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("{what} cannot listen on {address}: {error}")]
pub(crate) struct BindError {
    pub(crate) what: String,
    pub(crate) address: ListenAddr,
    #[source]
    pub(crate) error: io::Error,
}

/// The key of a socket: its address; and, if the system chooses the port, the name of its listener.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key(ListenAddr, Option<Arc<str>>);

/// The sockets that are open.
#[derive(Default)]
pub(crate) struct Sockets {
    open: HashMap<Key, Socket>,
    held: Held,
    /// Ports that the system chose for sockets that a drain closed: if it is undone, clients come back
    /// to them.
    chosen: HashMap<Key, ListenAddr>,
    /// Cancelled when the process ends.
    ending: CancellationToken,
    /// Sockets that a drain has closed and that stay open: the service manager holds them.
    left: Vec<Socket>,
    /// Turns clients away at these sockets.
    turning_away: JoinSet<()>,
}

/// A socket that every worker accepts from.
struct Socket {
    /// Never accepts: used to change options of the socket.
    listener: Listener,
    address: ListenAddr,
    /// Whether it was to be one of Multipath TCP, which cannot change while it is open.
    multipath: bool,
    service: Arc<ArcSwap<Service>>,
    closed: CancellationToken,
    /// Whether a worker found that nobody can accept from it any more.
    broken: Arc<AtomicBool>,
}

/// Sockets that are open but do not accept yet.
#[derive(Default)]
pub(crate) struct Opened(HashMap<Key, NewSocket>);

struct NewSocket {
    listener: Listener,
    /// One for each worker.
    handles: Vec<Listener>,
    address: ListenAddr,
    multipath: bool,
}

impl Key {
    pub(super) fn of(listener: &ListenerPlan) -> Self {
        let is_chosen = listener.bind.port() == Some(0);
        Self(
            listener.bind.clone(),
            is_chosen.then(|| Arc::clone(&listener.name)),
        )
    }
}

impl Sockets {
    /// None are open; some may have been passed.
    pub(crate) fn new(held: Held) -> Self {
        Self {
            held,
            ..Self::default()
        }
    }

    /// Opens the configured sockets that are not open. Changes nothing else.
    ///
    /// # Errors
    /// The first address on which mproxy cannot listen.
    pub(crate) fn open_missing(
        &self,
        listeners: &[ListenerPlan],
        workers: usize,
    ) -> Result<Opened, BindError> {
        let mut opened = Opened::default();
        for listener in listeners {
            let key = Key::of(listener);
            if !self.open.contains_key(&key) {
                let addr = self.chosen.get(&key).unwrap_or(&listener.bind);
                let socket = bind(listener, addr, &self.held, workers)?;
                opened.0.insert(key, socket);
            }
        }
        Ok(opened)
    }

    /// The keys of open listeners that take effect when their sockets are opened, and are other ones now.
    pub(crate) fn fixed(&self, listeners: &[ListenerPlan]) -> Vec<String> {
        let fixed = listeners.iter().filter(|it| {
            let open = self.open.get(&Key::of(it));
            open.is_some_and(|open| open.multipath != it.multipath)
        });
        fixed
            .map(|it| format!("listeners.{}.multipath_tcp", it.name))
            .collect()
    }

    /// Our own socket with the same port, if that is why this address is in use.
    pub(crate) fn at_port_of(&self, address: &ListenAddr) -> Option<&ListenAddr> {
        let port = address.port().filter(|port| *port != 0);
        let mut open = self.open.values().map(|socket| &socket.address);
        open.find(|open| port.is_some() && open.port() == port)
    }

    /// Where a listener listens, with the real port if the system chose one.
    pub(crate) fn address(&self, listener: &ListenerPlan) -> Option<&ListenAddr> {
        let socket = self.open.get(&Key::of(listener))?;
        Some(&socket.address)
    }

    /// Whether connections of a listener are accepted.
    pub(crate) fn accepts(&self, listener: &ListenerPlan) -> bool {
        let socket = self.open.get(&Key::of(listener));
        socket.is_some_and(|it| !it.broken.load(Ordering::Relaxed))
    }

    /// From now on, serves the connections of each listener with its service, and closes the sockets of
    /// all others. `closing` ends all accepting. Returns the new listeners.
    pub(crate) fn apply<'a>(
        &mut self,
        mut opened: Opened,
        listeners: Vec<(&'a ListenerPlan, Arc<Service>)>,
        workers: &Workers,
        closing: &CancellationToken,
    ) -> Vec<&'a ListenerPlan> {
        let mut before = std::mem::take(&mut self.open);
        let mut new = Vec::new();
        for (plan, service) in listeners {
            let key = Key::of(plan);
            let socket = match (before.remove(&key), opened.0.remove(&key)) {
                (Some(socket), _) => {
                    socket.replace(plan, service);
                    socket
                }
                (None, Some(socket)) => {
                    new.push(plan);
                    self.held.keep(&plan.bind, &socket.listener);
                    let is_held = self.held.has(&plan.bind);
                    let left = is_held.then(|| self.ending.clone());
                    socket.open(service, workers, closing, left)
                }
                // `open_missing` was asked for the same listeners
                (None, None) => continue,
            };
            self.open.insert(key, socket);
        }
        for (key, socket) in before {
            self.held.release(&key.0);
            let name = &socket.service.load().name;
            let mut open = self.open.values();
            let moved = open.find(|it| it.service.load().name == *name);
            socket.close(moved.map(|it| &it.address));
        }
        self.chosen.clear();
        new
    }

    /// Closes all sockets, for a drain.
    pub(crate) fn close(&mut self) {
        for (key, socket) in self.open.drain() {
            if key.1.is_some() {
                self.chosen.insert(key, socket.address);
            } else if self.held.has(&key.0) && !self.ending.is_cancelled() {
                self.left.push(socket);
            }
        }
    }

    /// Nobody has taken over: closes the connections of clients that connect to sockets that are
    /// [closed](Self::close) but held by the service manager, until the process ends or
    /// [serves](Self::serves) again. Otherwise they would wait for a process that may not come.
    pub(crate) fn turn_away(&mut self) {
        for socket in self.left.drain(..) {
            self.turning_away
                .spawn(turn_away(socket.listener, socket.service));
        }
    }

    /// All sockets are open again.
    pub(crate) fn serves(&mut self) {
        self.left.clear();
        // dropped, they end
        self.turning_away = JoinSet::new();
    }

    /// The process ends: from now on, clients wait for the next one at sockets that the service manager holds.
    pub(crate) fn ends(&mut self) {
        self.ending.cancel();
        self.serves();
    }

    /// The start is over: sockets that were passed and that no listener uses have no use.
    pub(crate) fn judge_unused(&mut self) {
        self.held.judge_unused();
    }
}

impl NewSocket {
    fn open(
        self,
        service: Arc<Service>,
        workers: &Workers,
        closing: &CancellationToken,
        left: Option<CancellationToken>,
    ) -> Socket {
        let service = Arc::new(ArcSwap::new(service));
        let closed = closing.child_token();
        let broken = Arc::new(AtomicBool::new(false));
        workers.open(self.handles.into_iter().map(|listener| Entrance {
            listener,
            service: Arc::clone(&service),
            closed: closed.clone(),
            left: left.clone(),
            broken: Arc::clone(&broken),
        }));
        Socket {
            listener: self.listener,
            address: self.address,
            multipath: self.multipath,
            service,
            closed,
            broken,
        }
    }
}

impl Socket {
    fn replace(&self, plan: &ListenerPlan, service: Arc<Service>) {
        self.service.store(service);
        if plan.multipath != self.multipath {
            tracing::warn!(
                target: "mproxy::listener",
                event = "listen",
                listener = &*plan.name,
                remedy = "restart mproxy",
                "multipath_tcp of an open listener takes effect when mproxy is started again"
            );
        }
        if let Err(error) = self.listener.set_tcp_options(&plan.tcp) {
            tracing::warn!(
                target: "mproxy::listener",
                event = "error",
                listener = &*plan.name,
                detail = %error,
                "cannot change the TCP options of a listener"
            );
        }
    }

    /// Accepts nobody any more. `moved` is where its listener is now, if it still exists.
    fn close(&self, moved: Option<&ListenAddr>) {
        self.closed.cancel();
        let why = match moved {
            Some(to) => format!("its listener is now at {to}"),
            None => "the new configuration has no such listener".to_owned(),
        };
        tracing::info!(
            target: "mproxy::server",
            event = "listen",
            listener = &*self.service.load().name,
            address = %self.address,
            "stopped listening: {why}"
        );
    }
}

/// Closes all connections of a socket at once.
async fn turn_away(listener: Listener, service: Arc<ArcSwap<Service>>) {
    // a socket that cannot be accepted from was complained about when it was served
    let Ok(acceptor) = listener.into_acceptor() else {
        return;
    };
    while let Ok(accepted) = acceptor.accept().await {
        service.load().drained(&accepted);
    }
}

fn bind(
    listener: &ListenerPlan,
    addr: &ListenAddr,
    held: &Held,
    workers: usize,
) -> Result<NewSocket, BindError> {
    let cannot_bind = |error| BindError {
        what: format!("listener `{}`", listener.name),
        address: addr.clone(),
        error,
    };
    let mut options = ListenOptions::default();
    options.tcp = listener.tcp;
    options.multipath = listener.multipath;
    let socket = held.bind(addr, &options).map_err(cannot_bind)?;
    let handles = (0..workers).map(|_| socket.try_clone());
    let handles = handles.collect::<io::Result<_>>().map_err(cannot_bind)?;
    if listener.multipath && listener.bind.unix_path().is_none() && !socket.is_multipath() {
        tracing::warn!(
            target: "mproxy::listener",
            event = "listen",
            listener = &*listener.name,
            remedy = "set the sysctl net.mptcp.enabled to 1, or multipath_tcp to false; a socket of systemd needs SocketProtocol=mptcp",
            "the listener uses plain TCP: its socket cannot use Multipath TCP"
        );
    }
    // of a passed Unix socket without a path, the name is all there is
    let address = socket.local_addr().unwrap_or_else(|_| addr.clone());
    Ok(NewSocket {
        listener: socket,
        handles,
        address,
        multipath: listener.multipath,
    })
}

// ===== impl BindError =====

impl BindError {
    /// What to do about it.
    pub(crate) fn remedy(&self) -> Option<String> {
        match self.error.kind() {
            io::ErrorKind::AddrInUse => {
                Some("stop the program that listens there, or choose another address".to_owned())
            }
            _ => bind_advice(&self.address, &self.error),
        }
    }
}

/// What to do about an address that cannot be bound, although no other program uses it.
pub(crate) fn bind_advice(address: &ListenAddr, error: &io::Error) -> Option<String> {
    use io::ErrorKind::{AlreadyExists, NotFound, PermissionDenied};
    if let Some(name) = address.passed_name() {
        return Some(match error.kind() {
            NotFound => format!("start mproxy by a .socket unit with FileDescriptorName={name}"),
            _ => format!("each socket named {name} must be a ListenStream= of one .socket unit"),
        });
    }
    Some(match (error.kind(), address.unix_path()) {
        (PermissionDenied, None) => "ports below 1024 need CAP_NET_BIND_SERVICE".to_owned(),
        (PermissionDenied, Some(path)) => {
            format!("mproxy must be allowed to write to {}", folder(path))
        }
        (NotFound, Some(path)) => format!("create the folder {}", folder(path)),
        (AlreadyExists, Some(_)) => "choose another path".to_owned(),
        _ => return None,
    })
}

fn folder(path: &Path) -> std::path::Display<'_> {
    path.parent().unwrap_or(path).display()
}
