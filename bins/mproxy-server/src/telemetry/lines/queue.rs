//! Lines that wait to be written.

use super::limiter::Limiter;
use super::line::Style;
use super::stamp::Stamp;
use mproxy_admin::LogMetrics;
use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// The most bytes that wait or are being written: a log that is not read must not become the proxy's
/// memory.
const CAPACITY: usize = 4 << 20;

/// So many bytes are written without waiting for more.
const PRESSING: usize = 256 << 10;

/// The most bytes of memory that the thread keeps while nothing waits.
const KEPT: usize = 64 << 10;

/// How long the thread lets lines gather after it has written some. Waking it for each line would cost
/// more than the line.
const GATHER: Duration = Duration::from_millis(10);

/// How often it looks for repetitions that were left out, as long as there are some.
const LOOK: Duration = Duration::from_secs(1);

/// How long the last lines may take: a reader that is stuck must not keep the process alive.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// A bounded queue with a thread that writes.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    /// The thread is to go on.
    go_on: Condvar,
    /// Everything was written.
    written: Condvar,
    dropped: LogMetrics,
}

#[derive(Debug, Default)]
struct State {
    waiting: String,
    /// Bytes that the thread has taken and not written yet.
    writing: usize,
    /// Lines that were dropped and not told of.
    dropped: u64,
    thread: Doing,
    /// Everything is to be written now, and told of.
    drains: bool,
}

/// What the thread does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Doing {
    /// It writes, or is about to.
    #[default]
    Work,
    /// It lets lines gather.
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
        let mut writer = Writer {
            queue: Arc::clone(&queue),
            sink,
            style,
            limiter,
            stamp: Stamp::default(),
            batch: String::new(),
            looked: Instant::now(),
        };
        let thread = thread::Builder::new().name("log".to_owned());
        let spawned = thread.spawn(move || writer.run());
        // Without the thread, lines are dropped once the queue is full: the proxy works on.
        drop(spawned);
        queue
    }

    /// Adds a line, or drops it when there is no room. Never waits for the sink.
    pub(super) fn push(&self, line: &str) {
        let mut state = self.lock();
        if state.waiting.len() + state.writing + line.len() > CAPACITY {
            state.dropped += 1;
            drop(state);
            self.dropped.sink();
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

    /// Has the thread look after what was left out.
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

    /// Waits until the thread is called, or for a time.
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

/// The thread.
struct Writer<W> {
    queue: Arc<Queue>,
    sink: W,
    style: Style,
    limiter: Arc<Limiter>,
    stamp: Stamp,
    batch: String,
    /// When it looked for repetitions that were left out.
    looked: Instant,
}

impl<W: Write> Writer<W> {
    fn run(&mut self) {
        loop {
            let mut state = self.queue.lock();
            let is_due = self.limiter.owes() && self.looked.elapsed() >= LOOK;
            if state.waiting.is_empty() && state.dropped == 0 && !state.drains && !is_due {
                let time = self.limiter.owes().then_some(LOOK);
                self.queue.wait(state, Doing::Rest, time);
                continue;
            }
            std::mem::swap(&mut self.batch, &mut state.waiting);
            state.writing = self.batch.len();
            let (dropped, drains) = (std::mem::take(&mut state.dropped), state.drains);
            drop(state);
            self.tell(dropped, drains);
            // Nobody is left to be told that the log cannot be written.
            let written = self.sink.write_all(self.batch.as_bytes());
            let _ = written.and_then(|()| self.sink.flush());
            self.batch.clear();
            if self.batch.capacity() > KEPT {
                self.batch = String::new();
            }
            let mut state = self.queue.lock();
            state.writing = 0;
            if drains {
                state.drains = false;
            }
            self.queue.written.notify_all();
            if !state.drains && state.waiting.len() < PRESSING {
                self.queue.wait(state, Doing::Gather, Some(GATHER));
            }
        }
    }

    /// Adds what is to be said about lines that are not there.
    fn tell(&mut self, dropped: u64, all: bool) {
        let now = SystemTime::now();
        if dropped > 0 {
            let time = (&mut self.stamp, now);
            self.style.lost(&mut self.batch, time, dropped);
        }
        if self.limiter.owes() && (all || self.looked.elapsed() >= LOOK) {
            self.looked = Instant::now();
            for report in self.limiter.reports(self.looked, all) {
                let time = (&mut self.stamp, now);
                self.style.left_out(&mut self.batch, time, &report);
            }
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

    fn start(sink: impl Write + Send + 'static) -> Arc<Queue> {
        let dropped = LogMetrics::default();
        let limiter = Arc::new(Limiter::new(None, dropped.clone()));
        Queue::start(sink, Style::Json, limiter, dropped)
    }

    #[test]
    fn a_sink_that_is_stuck_costs_lines_and_neither_time_nor_memory() {
        let (let_go, open) = channel();
        let (written, lines) = channel();
        let queue = start(Gate { open, written });
        let line = format!("{}\n", "x".repeat(1 << 20));
        for _ in 0..20 {
            queue.push(&line);
        }
        let state = queue.state.lock().unwrap();
        assert!(state.waiting.len() + state.writing <= CAPACITY);
        let lost = state.dropped;
        assert!(lost >= 16, "{lost}");
        drop(state);
        drop(let_go);
        queue.drain();
        let text: String = lines.try_iter().collect();
        let told = format!(r#","event":"suppress","suppressed":{lost}}}"#);
        assert!(text.contains(&told), "{}", text.len());
    }

    /// Each line woke the thread, which cost more than the line itself.
    #[test]
    fn lines_gather_while_the_sink_is_busy_and_are_written_in_order() {
        let (let_go, open) = channel();
        let (written, writes) = channel();
        let queue = start(Gate { open, written });
        for number in 0..1000 {
            queue.push(&format!("{number}\n"));
        }
        drop(let_go);
        queue.drain();
        let writes: Vec<String> = writes.try_iter().collect();
        let wanted: String = (0..1000).map(|number| format!("{number}\n")).collect();
        assert_eq!(writes.concat(), wanted);
        assert!(writes.len() <= 3, "{} writes", writes.len());
    }

    #[test]
    fn a_drained_queue_goes_on() {
        let (let_go, open) = channel();
        let (written, writes) = channel();
        let queue = start(Gate { open, written });
        drop(let_go);
        for number in 0..10 {
            queue.push(&format!("{number}\n"));
            queue.drain();
            assert_eq!(writes.try_iter().collect::<String>(), format!("{number}\n"));
        }
    }
}
