//! Lines that wait to be written.

use super::line::Style;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// The most bytes that wait: a log that is not read must not become the proxy's memory.
const CAPACITY: usize = 4 << 20;

/// How long the last lines may take: a reader that is stuck must not keep the process alive.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// A bounded queue with a thread that writes.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Something was pushed.
    filled: Condvar,
    /// Everything was written.
    written: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: String,
    dropped: u64,
    writing: bool,
}

impl Queue {
    /// Starts the thread. It lives as long as the process.
    pub(super) fn start(sink: impl Write + Send + 'static, style: Style) -> Arc<Self> {
        let queue = Arc::new(Self::default());
        let shared = queue.clone();
        let thread = thread::Builder::new().name("log".to_owned());
        let spawned = thread.spawn(move || shared.write_to(sink, style));
        // Without the thread, lines are dropped once the queue is full: the proxy works on.
        drop(spawned);
        queue
    }

    /// Adds a line, or drops it when there is no room. Never waits for the sink.
    pub(super) fn push(&self, line: String) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.waiting.len() + line.len() > CAPACITY {
            state.dropped += 1;
            return;
        }
        match state.waiting.is_empty() {
            true => state.waiting = line,
            false => state.waiting.push_str(&line),
        }
        drop(state);
        self.filled.notify_one();
    }

    /// Waits until everything was written, or for a second.
    pub(super) fn drain(&self) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let busy = |state: &mut State| state.writing || !state.waiting.is_empty();
        let outcome = self.written.wait_timeout_while(state, DRAIN_TIMEOUT, busy);
        drop(outcome);
    }

    fn write_to(&self, mut sink: impl Write, style: Style) {
        loop {
            let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let idle = |state: &mut State| state.waiting.is_empty() && state.dropped == 0;
            let mut state = self
                .filled
                .wait_while(state, idle)
                .unwrap_or_else(PoisonError::into_inner);
            let mut batch = std::mem::take(&mut state.waiting);
            let dropped = std::mem::take(&mut state.dropped);
            state.writing = true;
            drop(state);
            if dropped > 0 {
                style.write_dropped(&mut batch, dropped);
            }
            // Nobody is left to be told that the log cannot be written.
            let _ = sink.write_all(batch.as_bytes()).and_then(|()| sink.flush());
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.writing = false;
            drop(state);
            self.written.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// Takes a write only when the test lets it.
    struct Gate {
        open: Receiver<()>,
        written: Sender<String>,
    }

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.open.recv();
            let text = String::from_utf8_lossy(bytes).into_owned();
            let _ = self.written.send(text);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_sink_that_is_stuck_costs_lines_and_neither_time_nor_memory() {
        let (let_go, open) = channel();
        let (written, lines) = channel();
        let queue = Queue::start(Gate { open, written }, Style::Json);
        let line = || format!("{}\n", "x".repeat(1 << 20));
        for _ in 0..20 {
            queue.push(line());
        }
        assert!(queue.state.lock().unwrap().waiting.len() <= CAPACITY);
        drop(let_go);
        queue.drain();
        drop(queue);
        let text: String = lines.try_iter().collect();
        assert!(
            text.contains(r#","event":"suppress","suppressed":1"#),
            "{}",
            text.len()
        );
    }
}
