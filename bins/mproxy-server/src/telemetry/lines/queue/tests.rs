//! What waits, and what is said of what is lost.

use super::*;
use std::sync::atomic::{AtomicBool, Ordering};
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
    queue.push("first\n");
    // a thread that starts late would take some of those that are lost with what it writes
    while queue.lock().writing == 0 {
        thread::yield_now();
    }
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

/// A disk that is full until there is room again.
#[derive(Clone)]
struct Disk {
    is_full: Arc<AtomicBool>,
    written: Sender<String>,
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.is_full.load(Ordering::SeqCst) {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        let text = String::from_utf8_lossy(bytes).into_owned();
        let _ = self.written.send(text);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn on_disk() -> (Arc<Queue>, Arc<AtomicBool>, Receiver<String>) {
    let (written, writes) = channel();
    let is_full = Arc::new(AtomicBool::new(true));
    let disk = Disk {
        is_full: Arc::clone(&is_full),
        written,
    };
    (start(disk), is_full, writes)
}

/// The disk was full for a night, and in the morning nothing in the log said that a line was missing.
#[test]
fn what_could_not_be_written_is_told_before_the_next_line() {
    let (queue, is_full, writes) = on_disk();
    for _ in 0..3 {
        queue.push("lost\nlost\n");
        queue.drain();
    }
    assert_eq!(writes.try_iter().count(), 0);
    is_full.store(false, Ordering::SeqCst);
    queue.push("next\n");
    queue.drain();
    let text: String = writes.try_iter().collect();
    let (told, rest) = text.split_once('\n').unwrap();
    assert!(told.contains(r#""event":"suppress""#), "{told}");
    assert!(told.contains(r#""detail":"no storage space""#), "{told}");
    assert!(told.ends_with(r#""suppressed":6}"#), "{told}");
    assert_eq!(rest, "next\n");
    // it is told once
    queue.push("more\n");
    queue.drain();
    assert_eq!(writes.try_iter().collect::<String>(), "more\n");
}

/// On a quiet night the line about the loss would have come with the first client of the morning.
#[test]
fn what_could_not_be_written_is_told_without_a_next_line() {
    let (queue, is_full, writes) = on_disk();
    queue.push("lost\n");
    queue.drain();
    is_full.store(false, Ordering::SeqCst);
    let told = writes.recv_timeout(Duration::from_secs(30)).unwrap();
    assert!(told.ends_with("\"suppressed\":1}\n"), "{told}");
}
