//! Programs that run beside a test.

use std::fmt::Display;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::deadline::{GLANCE, PATIENCE, within};

/// A running program whose every line is kept; killed, if it still runs, with this value.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Arc<Lines>,
}

/// What a program has printed so far, on both of its outputs.
#[derive(Debug)]
struct Lines {
    seen: Mutex<Vec<String>>,
    /// Counts the lines; closed when both outputs are.
    count: watch::Receiver<usize>,
}

impl Lines {
    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Process {
    /// Starts a program.
    ///
    /// # Panics
    /// If it cannot be started.
    #[track_caller]
    pub fn spawn(mut command: Command) -> Self {
        let name = command.as_std().get_program();
        let name = name.to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let (counter, count) = watch::channel(0);
        let lines = Arc::new(Lines {
            seen: Mutex::default(),
            count,
        });
        let counter = Arc::new(counter);
        if let Some(output) = child.stdout.take() {
            tokio::spawn(keep(output, Arc::clone(&lines), Arc::clone(&counter)));
        }
        if let Some(output) = child.stderr.take() {
            tokio::spawn(keep(output, Arc::clone(&lines), counter));
        }
        Self {
            name,
            stdin: child.stdin.take(),
            child,
            lines,
        }
    }

    /// Runs a program to its end: its exit code and what it printed.
    ///
    /// # Panics
    /// If it does not end in time.
    #[track_caller]
    pub fn run(command: Command) -> impl Future<Output = (i32, String)> {
        let mut process = Self::spawn(command);
        process.stdin = None;
        async move { process.ended().await }
    }

    /// The identifier of the process.
    ///
    /// # Panics
    /// If it was waited for.
    pub fn id(&self) -> u32 {
        self.child.id().expect("the process was not waited for")
    }

    /// Waits for a line, which may have come already.
    ///
    /// # Panics
    /// If it does not come in time, or the program ends without it.
    #[track_caller]
    pub fn line(
        &self,
        what: impl Display,
        mut wanted: impl FnMut(&str) -> bool,
    ) -> impl Future<Output = String> {
        let mut count = self.lines.count.clone();
        let ended = format!("{} ended without: {what}", self.name);
        let search = async move {
            let mut from = 0;
            loop {
                let known = *count.borrow_and_update();
                {
                    let lines = self.lines.lock();
                    if let Some(line) = lines[from..known].iter().find(|line| wanted(line)) {
                        return line.clone();
                    }
                }
                from = known;
                assert!(count.changed().await.is_ok(), "{ended}");
            }
        };
        within(what, search)
    }

    /// Waits until `enough` accepts the lines so far: false if it does not within `patience`, or before
    /// the program ends.
    pub async fn lines_are(
        &self,
        patience: Duration,
        mut enough: impl FnMut(&[String]) -> bool,
    ) -> bool {
        let mut count = self.lines.count.clone();
        let waiting = async {
            loop {
                count.borrow_and_update();
                if enough(&self.lines.lock()) {
                    return true;
                }
                // at the end of the output nothing more comes
                if count.changed().await.is_err() {
                    return enough(&self.lines.lock());
                }
                // all lines are looked at, which is not worth it for each of many
                sleep(GLANCE).await;
            }
        };
        timeout(patience, waiting).await.unwrap_or(false)
    }

    /// Everything that it printed so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().clone()
    }

    /// Writes to its standard input.
    ///
    /// # Panics
    /// If it was closed.
    pub async fn write(&mut self, bytes: &[u8]) {
        assert!(self.try_write(bytes).await, "the program reads its input");
    }

    /// Writes to its standard input: false if that was closed.
    pub async fn try_write(&mut self, bytes: &[u8]) -> bool {
        let Some(stdin) = self.stdin.as_mut() else {
            return false;
        };
        within("input to be read", stdin.write_all(bytes))
            .await
            .is_ok()
    }

    /// Closes its standard input.
    pub fn close_input(&mut self) {
        self.stdin = None;
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// If the process has ended.
    pub fn signal(&self, signal: Signal) {
        let id = self.id().cast_signed();
        let id = Pid::from_raw(id).expect("no process has the number 0");
        kill_process(id, signal).expect("the process runs");
    }

    /// Waits for the end: the exit code, or 128 and the number of the signal that ended it, and all
    /// that was printed.
    ///
    /// # Panics
    /// If it does not end in time.
    pub async fn ended(mut self) -> (i32, String) {
        let code = self.code(PATIENCE).await;
        let text = self.lines.lock().join("\n");
        (code, text)
    }

    /// Waits for the end, no longer than `patience`: the exit code, as in [`ended`](Self::ended).
    /// After that [`lines`](Self::lines) has all that was printed.
    ///
    /// # Panics
    /// If it does not end in time.
    pub async fn code(&mut self, patience: Duration) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        let status = timeout(patience, self.child.wait()).await;
        let status = status.unwrap_or_else(|_| {
            panic!("{} runs after {patience:?}\n{}", self.name, self.printed())
        });
        let status = status.expect("a child can be waited for");
        // both outputs are read to their ends
        let mut count = self.lines.count.clone();
        within("the end of the output", async {
            while count.changed().await.is_ok() {}
        })
        .await;
        let signal = || 128 + status.signal().expect("a code or a signal");
        status.code().unwrap_or_else(signal)
    }

    fn printed(&self) -> String {
        self.lines.lock().join("\n")
    }
}

/// A test that failed is understood from what its programs said.
impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.name, self.printed());
        }
    }
}

async fn keep(output: impl AsyncRead + Unpin, lines: Arc<Lines>, count: Arc<watch::Sender<usize>>) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    // what is no text is kept too, in its own way
    while let Ok(1..) = output.read_until(b'\n', &mut line).await {
        let text = String::from_utf8_lossy(&line);
        let mut seen = lines.lock();
        seen.push(text.trim_end_matches('\n').to_owned());
        let known = seen.len();
        drop(seen);
        count.send_replace(known);
        line.clear();
    }
}
