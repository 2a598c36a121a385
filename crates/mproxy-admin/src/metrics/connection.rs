//! One client connection from accept to end, counted exactly once.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::listener::{ClosedLabels, ConnackLabels, Series};
use crate::labels::{ConnectionLimit, Reason, RefuseReason, Side, Version};

/// Counts one client connection exactly once, however it ends.
///
/// Dropped without [`refused`](Self::refused), [`closed`](Self::closed) or
/// [`panicked`](Self::panicked), the connection counts as closed by the proxy for the reason
/// `internal`, and as a panic if the thread is unwinding.
pub struct ConnectionMetrics {
    series: Arc<Series>,
    accepted_at: Instant,
    /// Set while the connection is in the gauge of open connections.
    version: Option<Version>,
    /// True while the connection is in the gauge of those without a CONNECT.
    pending: bool,
    ended: bool,
}

impl ConnectionMetrics {
    pub(super) fn accept(series: Arc<Series>) -> Self {
        series.accepted.inc();
        series.pending.inc();
        Self {
            series,
            accepted_at: Instant::now(),
            version: None,
            pending: true,
            ended: false,
        }
    }

    /// The time since the connection was accepted.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.accepted_at.elapsed()
    }

    /// A complete and valid CONNECT was read: the connection is no longer pending.
    pub fn connect(&mut self) {
        if std::mem::take(&mut self.pending) {
            self.series.pending.dec();
        }
    }

    /// The broker accepted the client: the connection counts as open from here on.
    pub fn opened(&mut self, version: Version) {
        if let Some(before) = self.version.replace(version) {
            self.series.open[before as usize].dec();
        }
        self.series.open[version as usize].inc();
    }

    /// A CONNACK was sent. `reason_code` is the standard's name in snake case, as
    /// `not_authorized`.
    pub fn connack(&self, version: Version, reason_code: &'static str) {
        self.series
            .connect_duration
            .observe(self.age().as_secs_f64());
        self.series
            .connacks
            .get_or_create(&ConnackLabels {
                listener: Arc::clone(&self.series.name),
                version,
                reason_code,
            })
            .inc();
    }

    /// The connection was refused before its CONNECT was read, by no limit: see
    /// [`limited`](Self::limited).
    pub fn refused(mut self, reason: RefuseReason) {
        self.ended = true;
        self.series.refused[reason as usize].inc();
    }

    /// The connection was refused at once, because a limit is reached.
    pub fn limited(mut self, limit: ConnectionLimit) {
        self.ended = true;
        self.series.limited[limit as usize].inc();
    }

    /// The connection was closed, by `side` and for `reason`.
    pub fn closed(mut self, side: Side, reason: Reason) {
        self.end(side, reason);
    }

    /// The connection ended with a panic, caught outside of it.
    pub fn panicked(mut self) {
        self.series.panics.inc();
        self.end(Side::Proxy, Reason::Internal);
    }

    fn end(&mut self, side: Side, reason: Reason) {
        self.ended = true;
        self.series.duration.observe(self.age().as_secs_f64());
        self.series
            .closed
            .get_or_create(&ClosedLabels {
                listener: Arc::clone(&self.series.name),
                side,
                reason,
            })
            .inc();
    }
}

impl Drop for ConnectionMetrics {
    fn drop(&mut self) {
        if !self.ended {
            if std::thread::panicking() {
                self.series.panics.inc();
            }
            self.end(Side::Proxy, Reason::Internal);
        }
        self.connect();
        if let Some(version) = self.version {
            self.series.open[version as usize].dec();
        }
    }
}

impl fmt::Debug for ConnectionMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionMetrics")
            .field("listener", &self.series.name)
            .field("accepted_at", &self.accepted_at)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}
