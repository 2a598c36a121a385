//! Lines that wait to be written.

mod writer;

use self::writer::Writer;
use super::limiter::Limiter;
use super::line::Style;
use mproxy_admin::LogMetrics;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Maximum bytes queued or being written: a log that is not read must not fill the proxy's
/// memory.
const CAPACITY: usize = 4 << 20;

/// With this many bytes, the thread writes without waiting for more.
const PRESSING: usize = 256 << 10;

/// How long the last lines may take: a reader that is stuck must not keep the process alive.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// A bounded queue with a thread that writes.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    /// Wakes the thread.
    go_on: Condvar,
    /// Notified when everything was written.
    written: Condvar,
    dropped: LogMetrics,
}

#[derive(Debug, Default)]
struct State {
    waiting: String,
    /// Bytes that the thread has taken but not written yet.
    writing: usize,
    /// Lines that were dropped and not reported yet.
    dropped: u64,
    thread: Doing,
    /// Write and report everything now.
    drains: bool,
}

/// The state of the thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Doing {
    /// It writes, or is about to.
    #[default]
    Work,
    /// It lets lines accumulate.
    Gather,
    /// It waits for something to do.
    Rest,
}

impl Queue {
    /// Starts the thread. It lives as long as the process.
    pub(super) fn start(
        sink: impl Write + Send + 'static,
        style: Style,
        limiter: Arc<Limiter>,
        dropped: LogMetrics,
    ) -> Arc<Self> {
        let queue = Arc::new(Self {
            dropped,
            ..Self::default()
        });
        let mut writer = Writer::new(Arc::clone(&queue), sink, style, limiter);
        let thread = thread::Builder::new().name("log".to_owned());
        let spawned = thread.spawn(move || writer.run());
        // Without the thread, lines are dropped once the queue is full, and the proxy goes on.
        drop(spawned);
        queue
    }

    /// Adds a line, or drops it if there is no room. Never waits for the sink.
    pub(super) fn push(&self, line: &str) {
        let mut state = self.lock();
        if state.waiting.len() + state.writing + line.len() > CAPACITY {
            state.dropped += 1;
            drop(state);
            self.dropped.sink(1);
            return;
        }
        state.waiting.push_str(line);
        let calls = match state.thread {
            Doing::Rest => true,
            Doing::Gather => state.waiting.len() >= PRESSING,
            Doing::Work => false,
        };
        if calls {
            self.call(state);
        }
    }

    /// Makes the thread check for lines that were left out.
    pub(super) fn wake(&self) {
        let state = self.lock();
        if state.thread == Doing::Rest {
            self.call(state);
        }
    }

    /// Waits until everything was written, or for a second.
    pub(crate) fn drain(&self) {
        let mut state = self.lock();
        state.drains = true;
        self.call(state);
        let busy =
            |state: &mut State| state.drains || state.writing > 0 || !state.waiting.is_empty();
        let outcome = self
            .written
            .wait_timeout_while(self.lock(), DRAIN_TIMEOUT, busy);
        drop(outcome);
    }

    fn call(&self, mut state: MutexGuard<'_, State>) {
        state.thread = Doing::Work;
        drop(state);
        self.go_on.notify_one();
    }

    /// Waits until the thread is woken, or for a time.
    fn wait(&self, mut state: MutexGuard<'_, State>, doing: Doing, time: Option<Duration>) {
        state.thread = doing;
        let is_waiting = |state: &mut State| state.thread == doing;
        match time {
            Some(time) => {
                let outcome = self.go_on.wait_timeout_while(state, time, is_waiting);
                let (mut state, _) = outcome.unwrap_or_else(PoisonError::into_inner);
                state.thread = Doing::Work;
            }
            None => drop(self.go_on.wait_while(state, is_waiting)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
