//! A program that was started and must not outlive the one who started it.
//!
//! Two safeguards. In order: the guard's drop sends SIGTERM, and SIGKILL if that does not help.
//! For the case that the driver itself is killed: every program is started through this tool's
//! own `exec` command, which asks the kernel for a SIGTERM at the parent's death and then becomes
//! the program.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, parent_id};
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

use crate::error::{During, Error};

/// From SIGTERM to SIGKILL.
const GRACE: Duration = Duration::from_secs(2);

/// Between two looks at a process that is about to begin or to end.
const LOOK: Duration = Duration::from_millis(2);

/// How much of a program's last words an error shows.
const LAST_WORDS: usize = 2000;

/// Becoming a program that dies with its parent.
#[derive(Debug)]
pub struct DeathPact {
    /// The process that must still be the parent when the pact is made.
    pub parent: u32,
    /// The program and its arguments.
    pub command: Vec<String>,
}

impl DeathPact {
    /// Replaces this process by the program; comes back only when that fails.
    ///
    /// # Errors
    /// [`Error::Stopped`] when the parent is already gone, [`Error::Io`] when the program cannot be
    /// started.
    pub fn exec(&self) -> Result<(), Error> {
        set_parent_process_death_signal(Some(Signal::TERM)).during("ask for a death signal")?;
        if parent_id() != self.parent {
            // It died before the pact was made.
            return Err(Error::Stopped);
        }
        let Some((program, args)) = self.command.split_first() else {
            return Ok(());
        };
        let source = Command::new(program).args(args).exec();
        Err(Error::Io {
            action: format!("start {program}"),
            source,
        })
    }
}

/// A running program. Dropping it ends the program and waits for its end.
#[derive(Debug)]
pub(crate) struct Child {
    name: String,
    process: process::Child,
    log: PathBuf,
}

impl Child {
    /// Starts `command`; everything it prints goes to the file `log`.
    ///
    /// The thread that calls this must live as long as the program is wanted: the kernel takes
    /// the end of the thread for the death of the parent.
    pub(crate) fn start(launcher: &Path, command: &[&str], log: PathBuf) -> Result<Self, Error> {
        let name = Path::new(command[0]).file_name().map_or_else(
            || command[0].into(),
            |name| name.to_string_lossy().into_owned(),
        );
        let file = File::create(&log).during(format!("create {}", log.display()))?;
        let errors = file.try_clone().during("share the log file")?;
        let process = Command::new(launcher)
            .arg("exec")
            .arg(format!("--parent={}", process::id()))
            .arg("--")
            .args(command)
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .during(format!("start {name}"))?;
        Ok(Self { name, process, log })
    }

    /// Process id of the program itself, not of the launcher: it has become the program.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it has printed so far.
    pub(crate) fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Calls `look` over and over until it succeeds.
    ///
    /// # Errors
    /// When the program ends, when `timeout` is over, or when the caller is to stop.
    pub(crate) fn await_answer<T>(
        &mut self,
        timeout: Duration,
        mut look: impl FnMut(&Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let end = Instant::now() + timeout;
        loop {
            if let Some(status) = self.process.try_wait().during("look after a program")? {
                let program = self.name.clone();
                return Err(Error::Ended {
                    program,
                    status,
                    log: self.last_words(),
                });
            }
            let error = match look(self) {
                Err(error) if !matches!(error, Error::Stopped) => error,
                result => return result,
            };
            if Instant::now() > end {
                return Err(Error::Unanswered {
                    program: self.name.clone(),
                    timeout,
                    log: self.last_words(),
                    source: Box::new(error),
                });
            }
            thread::park_timeout(LOOK);
        }
    }

    /// The end of what it printed, with a line break before it.
    fn last_words(&self) -> String {
        let mut words = Vec::new();
        // A log that cannot be read must not hide the error that it would explain.
        let _ = File::open(&self.log).and_then(|mut file| file.read_to_end(&mut words));
        let from = words.len().saturating_sub(LAST_WORDS);
        let words = String::from_utf8_lossy(&words[from..]).trim().to_owned();
        if words.is_empty() {
            words
        } else {
            format!("\n{words}")
        }
    }

    fn end(&mut self) -> io::Result<()> {
        if self.process.try_wait()?.is_some() {
            return Ok(());
        }
        if let Some(pid) = i32::try_from(self.id()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM)?;
        }
        let end = Instant::now() + GRACE;
        while Instant::now() < end {
            if self.process.try_wait()?.is_some() {
                return Ok(());
            }
            thread::park_timeout(LOOK);
        }
        self.process.kill()?;
        self.process.wait().map(drop)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Nothing is left to be done about a failure; the death pact still holds.
        let _ = self.end();
    }
}
