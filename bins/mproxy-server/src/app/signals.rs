//! Signals: which ones end the proxy, which ones it survives, and from when on.
//!
//! | signal | what happens |
//! |---|---|
//! | `SIGTERM`, `SIGINT`, `SIGQUIT` | the first drains, the second ends at once |
//! | `SIGHUP`, `SIGUSR1`, `SIGUSR2` | ignored, with a line: for other servers they mean something |
//! | `SIGPIPE`, `SIGXFSZ` | writing fails instead: a log that cannot be written costs its lines |
//!
//! All others keep the action of the system. Who sends `SIGALRM` or `SIGABRT` means to kill, and
//! `SIGTSTP` and `SIGTTOU` are how a shell stops what it runs. Rust itself ignores `SIGPIPE`.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::SIGXFSZ;
use signal_hook::flag;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// A shell reports the death by a signal as this plus the number of the signal.
const KILLED_BY_SIGNAL: u8 = 128;

/// The signals that ask the process to end.
pub(crate) const ENDING_SIGNALS: [SignalKind; 3] = [
    SignalKind::terminate(),
    SignalKind::interrupt(),
    SignalKind::quit(),
];

/// Signals that mean something to other servers, and what to do here instead. Their default action
/// kills, and with the process every session: `kill -HUP` is typed by habit, and tools such as
/// logrotate send `SIGUSR1` unasked.
const IGNORED: [(SignalKind, &str, &str); 3] = [
    (
        SignalKind::hangup(),
        "SIGHUP",
        "SIGHUP ignored: this version cannot reload its configuration; restart mproxy to apply changes",
    ),
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

/// The signals that came. Watched from before the configuration is read until the process ends.
#[derive(Debug)]
pub(crate) struct Signals {
    /// True as long as an ending signal ends the process at once.
    starting: Arc<AtomicBool>,
    ending: watch::Receiver<Ending>,
}

/// The signals so far that asked the process to end.
#[derive(Clone, Copy, Debug, Default)]
struct Ending {
    count: u32,
    last: u8,
}

/// How often the process was asked to end. Each part of the server that waits for it has its own.
#[derive(Clone, Debug)]
pub(crate) struct Requests(watch::Receiver<Ending>);

// ===== impl Signals =====

impl Signals {
    /// Watches for signals. To be called before anything that takes time: a signal that comes
    /// earlier has the action of the system, which is to kill.
    ///
    /// Until [`started`](Self::started), a signal to end ends the process at once: nothing is served
    /// yet, and what takes the time may be a configuration that is typed. The kernel drops such a
    /// signal for process 1 of a container unless there is a handler.
    ///
    /// # Errors
    /// The system refuses a handler.
    pub(crate) fn watch(runtime: &Runtime) -> io::Result<Self> {
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
        // The default action would kill when the log is a file that may not grow further.
        flag::register(SIGXFSZ, Arc::default())?;
        let signals = Self::of_ending()?;
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
    pub(crate) fn of_demo() -> io::Result<Self> {
        let signals = Self::of_ending()?;
        signals.started();
        Ok(signals)
    }

    fn of_ending() -> io::Result<Self> {
        let (sender, ending) = watch::channel(Ending::default());
        for kind in ENDING_SIGNALS {
            let mut stream = signal(kind)?;
            let sender = sender.clone();
            let last = u8::try_from(kind.as_raw_value()).unwrap_or_default();
            tokio::spawn(async move {
                while Signal::recv(&mut stream).await.is_some() {
                    sender.send_modify(|ending| {
                        ending.count += 1;
                        ending.last = last;
                    });
                }
            });
        }
        Ok(Self {
            starting: Arc::new(AtomicBool::new(true)),
            ending,
        })
    }

    /// From now on a signal to end is counted, and the process goes on.
    pub(crate) fn started(&self) {
        self.starting.store(false, Ordering::SeqCst);
    }

    /// What the server waits for.
    pub(crate) fn requests(&self) -> Requests {
        Requests(self.ending.clone())
    }

    /// The exit code of a process that was ended by the last signal.
    pub(crate) fn killed(&self) -> u8 {
        KILLED_BY_SIGNAL + self.ending.borrow().last
    }
}

// ===== impl Requests =====

impl Requests {
    /// Waits until the process was asked `count` times to end.
    ///
    /// # Cancel safety
    /// Nothing is lost: what came is counted.
    pub(crate) async fn reach(&mut self, count: u32) {
        let reached = self.0.wait_for(|ending| ending.count >= count);
        if reached.await.map(drop).is_err() {
            // Nobody is left who could tell of a signal.
            std::future::pending().await
        }
    }
}
