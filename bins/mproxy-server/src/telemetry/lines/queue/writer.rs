//! The thread that writes queued lines, and reports those that it could not write.

use super::super::limiter::Limiter;
use super::super::line::Style;
use super::super::sink::Sink;
use super::super::stamp::Stamp;
use super::{Doing, PRESSING, Queue};
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Maximum memory in bytes that the thread keeps while the queue is empty.
const KEPT: usize = 64 << 10;

/// How long the thread lets lines accumulate after writing some. Waking it for each line would cost
/// more than the line.
const GATHER: Duration = Duration::from_millis(10);

/// How often it checks for missing lines to report, while there are
/// any.
const LOOK: Duration = Duration::from_secs(1);

/// The thread.
pub(super) struct Writer<W> {
    queue: Arc<Queue>,
    sink: Sink<W>,
    style: Style,
    limiter: Arc<Limiter>,
    stamp: Stamp,
    batch: String,
    /// When it last checked for repetitions that were left out.
    looked: Instant,
    lost: Lost,
}

/// Lines that are counted as lost but not reported yet.
#[derive(Debug, Default)]
struct Lost {
    lines: u64,
    /// Why writing failed the last time; `None` if the queue was full.
    error: Option<io::Error>,
    /// When it last tried to report them.
    tried: Option<Instant>,
}

impl Lost {
    /// How long the next try can wait; `None` if there is nothing to report.
    fn due_in(&self) -> Option<Duration> {
        let waited = self.tried.map_or(LOOK, |tried| tried.elapsed());
        (self.lines > 0).then(|| LOOK.saturating_sub(waited))
    }
}

impl<W: Write> Writer<W> {
    pub(super) fn new(queue: Arc<Queue>, sink: W, style: Style, limiter: Arc<Limiter>) -> Self {
        Self {
            queue,
            sink: Sink::new(sink),
            style,
            limiter,
            stamp: Stamp::default(),
            batch: String::new(),
            looked: Instant::now(),
            lost: Lost::default(),
        }
    }

    pub(super) fn run(&mut self) {
        loop {
            let mut state = self.queue.lock();
            let is_due = self.limiter.owes() && self.looked.elapsed() >= LOOK;
            let is_due = is_due || self.lost.due_in() == Some(Duration::ZERO);
            if state.waiting.is_empty() && state.dropped == 0 && !state.drains && !is_due {
                let report = self.limiter.owes().then_some(LOOK);
                let time = report.into_iter().chain(self.lost.due_in()).min();
                self.queue.wait(state, Doing::Rest, time);
                continue;
            }
            std::mem::swap(&mut self.batch, &mut state.waiting);
            state.writing = self.batch.len();
            let (dropped, drains) = (std::mem::take(&mut state.dropped), state.drains);
            drop(state);
            self.write(dropped, drains);
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

    /// Writes the batch between reports about missing lines: before it about
    /// those that could not be written, after it about the `dropped`, which came when the queue was
    /// full, and about repetitions.
    ///
    /// While the log cannot be written, only the metrics can tell: lost lines are counted at once, and
    /// logged as soon as something can be written again.
    fn write(&mut self, dropped: u64, all: bool) {
        let is_told = self.tell_lost();
        if self.limiter.owes() && (all || self.looked.elapsed() >= LOOK) {
            self.looked = Instant::now();
            // while nothing can be written, the limiter keeps its counts
            if is_told {
                self.report(all);
            }
        }
        let is_written = match is_told.then(|| self.sink.write(&self.batch)) {
            Some(Ok(())) => true,
            Some(Err(failed)) => {
                self.lost.error = Some(failed.error);
                self.lose(failed.lines);
                false
            }
            // if a report about lost lines does not fit, other lines do not fit either
            None => {
                self.lose(self.batch.lines().count() as u64);
                false
            }
        };
        self.lost.lines += dropped;
        if is_written {
            self.tell_lost();
        }
    }

    fn lose(&mut self, lines: u64) {
        self.queue.dropped.sink(lines);
        self.lost.lines += lines;
    }

    /// Writes a line about lines that were lost, if there are any: false if that fails.
    fn tell_lost(&mut self) -> bool {
        if self.lost.lines == 0 {
            return true;
        }
        let mut line = String::new();
        let time = (&mut self.stamp, SystemTime::now());
        let error = self.lost.error.as_ref();
        self.style.lost(&mut line, time, self.lost.lines, error);
        match self.sink.write(&line) {
            Ok(()) => {
                self.lost = Lost::default();
                true
            }
            Err(failed) => {
                self.lost.error = Some(failed.error);
                self.lost.tried = Some(Instant::now());
                false
            }
        }
    }

    /// Adds the reports about repetitions.
    fn report(&mut self, all: bool) {
        let now = SystemTime::now();
        for report in self.limiter.reports(self.looked, all) {
            let time = (&mut self.stamp, now);
            self.style.left_out(&mut self.batch, time, &report);
        }
    }
}
