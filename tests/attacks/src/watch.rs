//! What the proxy takes of the machine while it is attacked.

use std::fs;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Looks at a process twenty times a second, on a thread of its own.
#[derive(Debug)]
pub struct Watch {
    pid: u32,
    stop: Sender<()>,
    begun: Instant,
    ticks: u64,
    thread: JoinHandle<u64>,
}

impl Watch {
    /// Begins.
    #[must_use]
    pub fn start(pid: u32) -> Self {
        let (stop, stopped) = channel::<()>();
        let thread = thread::spawn(move || {
            let mut peak = 0;
            loop {
                peak = peak.max(pss_kib(pid).unwrap_or(0));
                match stopped.recv_timeout(Duration::from_millis(50)) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return peak,
                }
            }
        });
        Self {
            pid,
            stop,
            begun: Instant::now(),
            ticks: ticks(pid).unwrap_or(0),
            thread,
        }
    }

    /// Ends: the highest Pss in KiB, and the CPU in percent of one core; of a process that is gone,
    /// none.
    ///
    /// # Panics
    /// If the thread panicked.
    #[must_use]
    pub fn stop(self) -> (u64, Option<u64>) {
        drop(self.stop);
        let peak = self.thread.join().expect("the watch does not panic");
        // hundredths of a second, as everywhere on Linux
        let used = ticks(self.pid).map(|ticks| ticks.saturating_sub(self.ticks));
        let passed = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        (peak, used.map(|used| used * 1000 / passed.max(1)))
    }
}

/// The proportional set size of a process, `None` if it is gone.
pub(crate) fn pss_kib(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix("kB")?.trim_end().parse().ok()
}

/// Processor time of a process in clock ticks, `None` if it is gone.
fn ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}
