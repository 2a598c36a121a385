//! What a service manager is told: systemd, by `Type=notify`, and others that have its protocol.
//!
//! Nothing is sent unless `NOTIFY_SOCKET` is set, and no failure to send matters to clients.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};

/// What `systemctl status` shows of a proxy that serves.
pub(super) const SERVING: &str = "serving";

/// The proxy listens.
pub(super) fn ready() {
    send(&[NotifyState::Ready, NotifyState::Status(SERVING)]);
}

/// What `systemctl status` is to show.
pub(super) fn status(text: &str) {
    send(&[NotifyState::Status(text)]);
}

/// The configuration is being read again; [`ready`] follows, whatever came of it.
pub(super) fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        send(&[NotifyState::Reloading, now]);
    }
}

/// The proxy drains, and then ends.
pub(super) fn stopping() {
    send(&[NotifyState::Stopping, NotifyState::Status("draining")]);
}

/// Gives it a listening socket to keep while the process restarts. False if it cannot be told.
pub(super) fn store(name: &str, socket: BorrowedFd<'_>) -> bool {
    let state = [NotifyState::FdStore, NotifyState::FdName(name)];
    match sd_notify::notify_with_fds(&state, &[socket]) {
        Ok(()) => true,
        Err(error) => {
            untold(&error);
            false
        }
    }
}

/// Has it close the sockets of this name that it keeps.
pub(super) fn forget(name: &str) {
    send(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)]);
}

/// Shows that the process is alive, twice as often as the service manager asks for (`WatchdogSec=`).
/// Returns at once if it does not.
pub(super) async fn be_watched() {
    let Some(patience) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut ticks = interval((patience / 2).max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        send(&[NotifyState::Watchdog]);
    }
}

fn send(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        untold(&error);
    }
}

fn untold(error: &io::Error) {
    tracing::debug!(target: "mproxy::server", %error, "the service manager is not told");
}
