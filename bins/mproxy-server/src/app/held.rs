//! Listening sockets that the service manager holds while the process restarts. Clients that connect
//! meanwhile wait in their queues, instead of being refused.
//!
//! Either it opened them, by a `.socket` unit, or it keeps those that mproxy opened: `FDSTORE=1` of
//! sd_notify(3), if the unit has `FileDescriptorStoreMax=`.

use std::collections::HashMap;
use std::env;
use std::io;
use std::os::fd::AsFd;

use mproxy_transport::{ListenAddr, ListenOptions, Listener, PassedSockets};

use super::service_manager;

/// The names of sockets that mproxy has stored start with this, and those of units need not.
const STORED: &str = "mproxy_";

/// What the service manager holds.
#[derive(Debug, Default)]
pub(crate) struct Held {
    passed: PassedSockets,
    /// Stored by this process, or by the one before and taken by this one. They stay open, as long as they
    /// are in the store, for a drain that is undone.
    stored: HashMap<ListenAddr, Listener>,
    /// It keeps what it is given.
    has_store: bool,
}

impl Held {
    /// What the process was given. Call it before any thread is started.
    pub(crate) fn of_process() -> Self {
        Self {
            passed: PassedSockets::from_env(),
            stored: HashMap::new(),
            has_store: has_store(env::var("FDSTORE").ok().as_deref()),
        }
    }

    /// Takes the socket of this address, or opens it.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn bind(&self, addr: &ListenAddr, options: &ListenOptions) -> io::Result<Listener> {
        match self.stored.get(addr) {
            Some(listener) => listener.try_clone(),
            None => Listener::bind_or_take(addr, options, &self.passed),
        }
    }

    /// Whether the socket stays open when this process ends.
    pub(super) fn has(&self, addr: &ListenAddr) -> bool {
        self.stored.contains_key(addr) || self.passed.has(addr)
    }

    /// Clients are served at this address now: from now on the service manager keeps the socket, too.
    pub(super) fn keep(&mut self, addr: &ListenAddr, listener: &Listener) {
        self.passed.mark(addr);
        let name = stored_name(addr).filter(|_| self.has_store);
        let Some(name) = name.filter(|_| !self.stored.contains_key(addr)) else {
            return;
        };
        // one that was stored by the process before is in the store already
        if self.passed.has(addr) && !self.passed.has_name(&name) {
            return;
        }
        // without a descriptor to spare, it is like any other socket
        if let Ok(own) = listener.try_clone()
            && service_manager::store(&name, own.as_fd())
        {
            self.stored.insert(addr.clone(), own);
        }
    }

    /// Clients are no longer served at this address. A socket in the store must not outlive that: its
    /// clients would connect, and wait forever.
    pub(super) fn release(&mut self, addr: &ListenAddr) {
        if self.stored.remove(addr).is_some()
            && let Some(name) = stored_name(addr)
        {
            self.passed.close(&name);
            service_manager::forget(&name);
        }
    }

    /// Closes what the process before has stored and no listener took, and complains about other
    /// sockets without a listener.
    pub(super) fn judge_unused(&mut self) {
        let unused: Vec<_> = self.passed.unused().map(str::to_owned).collect();
        for name in unused {
            if name.starts_with(STORED) {
                self.passed.close(&name);
                service_manager::forget(&name);
                continue;
            }
            tracing::warn!(
                target: "mproxy::server",
                event = "listen",
                socket = name,
                remedy = "add a listener with bind = \"systemd:\" and this name, or remove the socket from the unit",
                "the service manager passed a socket that no listener uses: its clients wait forever"
            );
        }
    }
}

/// The name in the store: `None` for an address that the next process would not find again.
fn stored_name(addr: &ListenAddr) -> Option<String> {
    let addr = addr.socket_addr().filter(|it| it.port() != 0)?;
    // a colon would end the name
    Some(format!("{STORED}{addr}").replace(':', "_"))
}

/// systemd 254 and later say how many descriptors they keep.
fn has_store(variable: Option<&str>) -> bool {
    variable
        .and_then(|it| it.parse().ok())
        .is_some_and(|max: u32| max > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_the_store_are_those_that_systemd_accepts() {
        let name = |addr: &str| stored_name(&addr.parse().unwrap());
        assert_eq!(name("0.0.0.0:1884").unwrap(), "mproxy_0.0.0.0_1884");
        assert_eq!(name("[::1]:1884").unwrap(), "mproxy_[__1]_1884");
        for addr in ["127.0.0.1:0", "unix:/run/a.sock", "systemd:mqtt"] {
            assert_eq!(name(addr), None, "{addr}");
        }
    }

    #[test]
    fn only_a_service_manager_that_says_so_has_a_store() {
        for (variable, has) in [
            (None, false),
            (Some("0"), false),
            (Some("x"), false),
            (Some("16"), true),
        ] {
            assert_eq!(has_store(variable), has, "{variable:?}");
        }
    }
}
