//! How many connections mproxy accepts, and whether the system allows as many as expected.

use std::num::NonZeroUsize;

use rlimit::Resource;

use mproxy_config::{Config, Server};

/// File descriptors that are neither connections nor listeners: runtimes, admin port, log, files of
/// `/proc`, and some to spare.
const RESERVED_DESCRIPTORS: u64 = 64;

/// Descriptors of a connection: one to the client, one to the broker.
const DESCRIPTORS_PER_CONNECTION: u64 = 2;

/// Fewer connections than this cause a warning, unless configured. The usual
/// limit of a shell, 1024 descriptors, is below it; the limits of systemd and of containers are far above.
const SMALL: usize = 1000;

/// Assumed if the system does not report its limit.
const USUAL_DESCRIPTORS: u64 = 1024;

/// How many connections mproxy accepts: what is configured, but never more than there are file
/// descriptors for, so that accepting never fails for lack of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Capacity {
    pub(super) connections: usize,
    /// How many there are descriptors for.
    possible: usize,
    /// File descriptors that the process may have open.
    pub(super) descriptors: u64,
    /// Whether the process could have more if server.raise_fd_limit was true.
    can_be_raised: bool,
}

impl Capacity {
    /// Raises the limit of file descriptors, if configured, and computes the capacity.
    pub(super) fn of(config: &Config, workers: usize) -> Self {
        let server = &config.server;
        let usual = (USUAL_DESCRIPTORS, USUAL_DESCRIPTORS);
        let (soft, hard) = Resource::NOFILE.get().unwrap_or(usual);
        let raise = server.raise_fd_limit && soft < hard;
        let descriptors = match raise && Resource::NOFILE.set(hard, hard).is_ok() {
            true => hard,
            false => soft,
        };
        // each worker has its own descriptor of each listener, and the supervisor has one
        let listeners = config.listeners.len().saturating_mul(workers + 1);
        let listeners = u64::try_from(listeners).unwrap_or(u64::MAX);
        let capacity = Self::within(descriptors, listeners, server.max_connections);
        Self {
            can_be_raised: descriptors < hard,
            ..capacity
        }
    }

    fn within(descriptors: u64, listeners: u64, wanted: Option<NonZeroUsize>) -> Self {
        let reserved = RESERVED_DESCRIPTORS.saturating_add(listeners);
        let possible = descriptors.saturating_sub(reserved) / DESCRIPTORS_PER_CONNECTION;
        let possible = usize::try_from(possible).unwrap_or(usize::MAX).max(1);
        let connections = wanted.map_or(possible, |wanted| wanted.get().min(possible));
        Self {
            connections,
            possible,
            descriptors,
            can_be_raised: false,
        }
    }

    /// True if the descriptors, not the configuration, make the capacity small.
    fn is_small(&self, wanted: Option<NonZeroUsize>) -> bool {
        wanted.is_none() && self.possible < SMALL
    }

    /// What an operator can do for more connections, if the descriptors, not a key, set the limit.
    pub(super) fn descriptor_remedy(&self, server: &Server) -> Option<&'static str> {
        let is_enough = |wanted: NonZeroUsize| wanted.get() <= self.possible;
        (!server.max_connections.is_some_and(is_enough)).then(|| self.remedy())
    }

    const fn remedy(&self) -> &'static str {
        if self.can_be_raised {
            "set server.raise_fd_limit to true"
        } else {
            "raise the limit of open files: LimitNOFILE of the systemd unit, `ulimit -n` of a shell, \
             --ulimit nofile of a container"
        }
    }

    /// Logs that there are fewer connections than configured, or than expected.
    pub(super) fn warn(&self, server: &Server) {
        let (capacity, descriptors) = (self.connections, self.descriptors);
        let remedy = self.remedy();
        match server.max_connections {
            Some(wanted) if wanted.get() > self.possible => tracing::warn!(
                target: "mproxy::server",
                event = "limit",
                limit = "server.max_connections",
                value = wanted.get(),
                capacity,
                descriptors,
                remedy,
                "server.max_connections is more than the file descriptor limit allows"
            ),
            wanted if self.is_small(wanted) => tracing::warn!(
                target: "mproxy::server",
                event = "limit",
                capacity,
                descriptors,
                remedy,
                "the file descriptor limit allows few connections"
            ),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_what_is_wanted_and_possible() {
        let wanted = NonZeroUsize::new;
        for (descriptors, listeners, max, connections, small) in [
            // the default of a shell, with nothing configured
            (1024, 2, None, 479, true),
            (1024, 2, wanted(100), 100, false),
            (1024, 2, wanted(5000), 479, false),
            (1 << 20, 2, None, 524_255, false),
            (1 << 20, 2, wanted(5000), 5000, false),
            // as few as remain, but at least one
            (64, 1, None, 1, true),
            (0, u64::MAX, None, 1, true),
            // 500 listeners of 8 threads
            (10_000, 4000, None, 2968, false),
            (2064, 0, None, 1000, false),
            (2062, 0, None, 999, true),
        ] {
            let capacity = Capacity::within(descriptors, listeners, max);
            let found = (capacity.connections, capacity.is_small(max));
            assert_eq!(
                found,
                (connections, small),
                "{descriptors} {listeners} {max:?}"
            );
        }
    }
}
