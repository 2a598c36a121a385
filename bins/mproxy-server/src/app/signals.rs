//! Signals: which ones stop the proxy, which one reloads it, and which ones it ignores.
//!
//! | signal | what happens |
//! |---|---|
//! | `SIGTERM`, `SIGINT`, `SIGQUIT` | the first drains, the second ends at once |
//! | `SIGHUP` | the configuration is read again |
//! | `SIGUSR1`, `SIGUSR2` | ignored, with a line: for other servers they mean something |
//! | `SIGPIPE`, `SIGXFSZ` | writing fails instead: a log that cannot be written costs its lines |
//!
//! All others keep the default action. `SIGALRM` and `SIGABRT` are sent to kill, and
//! `SIGTSTP` and `SIGTTOU` are how a shell stops a job. Rust itself ignores `SIGPIPE`.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::SIGXFSZ;
use signal_hook::flag;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use super::event::{Asker, Event, Reload, Sender};

/// A shell reports a process killed by a signal as this plus the number of the signal.
pub(crate) const KILLED_BY_SIGNAL: u8 = 128;

/// The signals that stop the process.
pub(crate) const ENDING_SIGNALS: [SignalKind; 3] = [
    SignalKind::terminate(),
    SignalKind::interrupt(),
    SignalKind::quit(),
];

/// Signals with a meaning for other servers only, and what to do instead. Their default action
/// kills the process and every session, and tools such as logrotate send `SIGUSR1`.
const IGNORED: [(SignalKind, &str, &str); 2] = [
    (
        SignalKind::user_defined1(),
        "SIGUSR1",
        "SIGUSR1 ignored: mproxy has no log file to reopen; it logs to standard output or standard \
         error, so rotate the log where it is collected",
    ),
    (
        SignalKind::user_defined2(),
        "SIGUSR2",
        "SIGUSR2 ignored: it has no meaning for mproxy; the admin port shows the state at \
         /readyz?verbose and /metrics",
    ),
];

/// The signals of the process, watched from before the configuration is read until it ends.
#[derive(Debug)]
pub(crate) struct Signals {
    /// True while a signal to stop ends the process at once.
    starting: Arc<AtomicBool>,
}

impl Signals {
    /// Watches for signals. Call it before anything that takes time: an earlier signal
    /// has its default action, which is to kill.
    ///
    /// Until [`started`](Self::started), a signal to stop ends the process at once: nothing is served
    /// yet, and the configuration may come from a terminal. The kernel drops such a
    /// signal for process 1 of a container unless there is a handler.
    ///
    /// # Errors
    /// The system refuses a handler.
    pub(crate) fn watch(runtime: &Runtime, events: &Sender) -> io::Result<Self> {
        let _context = runtime.enter();
        for (kind, name, message) in IGNORED {
            let mut stream = signal(kind)?;
            tokio::spawn(async move {
                while stream.recv().await.is_some() {
                    tracing::warn!(
                        target: "mproxy::server",
                        event = "signal",
                        signal = name,
                        "{message}"
                    );
                }
            });
        }
        let mut hangups = signal(SignalKind::hangup())?;
        let sender = events.clone();
        tokio::spawn(async move {
            while hangups.recv().await.is_some() {
                let reload = Reload::by(Asker::Signal);
                sender.send(Event::Reload(reload)).await;
            }
        });
        // The default action would kill the process when the log file reaches its size limit.
        flag::register(SIGXFSZ, Arc::default())?;
        let signals = Self::of_ending(events)?;
        for kind in ENDING_SIGNALS {
            let number = kind.as_raw_value();
            let status = i32::from(KILLED_BY_SIGNAL) + number;
            let starting = Arc::clone(&signals.starting);
            flag::register_conditional_shutdown(number, status, starting)?;
        }
        Ok(signals)
    }

    /// Watches only for the signals that end the process: a demo ends with its terminal.
    ///
    /// # Errors
    /// The system refuses a handler.
    #[cfg(feature = "demo")]
    pub(crate) fn of_demo(events: &Sender) -> io::Result<Self> {
        let signals = Self::of_ending(events)?;
        signals.started();
        Ok(signals)
    }

    fn of_ending(events: &Sender) -> io::Result<Self> {
        for kind in ENDING_SIGNALS {
            let mut stream = signal(kind)?;
            let sender = events.clone();
            let signal = u8::try_from(kind.as_raw_value()).unwrap_or_default();
            tokio::spawn(async move {
                while stream.recv().await.is_some() {
                    sender.send(Event::Stop { signal }).await;
                }
            });
        }
        Ok(Self {
            starting: Arc::new(AtomicBool::new(true)),
        })
    }

    /// From now on, a signal to stop is an event, and the process goes on.
    pub(crate) fn started(&self) {
        self.starting.store(false, Ordering::SeqCst);
    }
}
