//! The one error type of the tool: what was being done, and why it failed.

use std::error;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// Why a load, a sink or a benchmark ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    #[error("{action}")]
    Io {
        /// What was being done, as in "bind the sink".
        action: String,
        /// The system's answer.
        source: io::Error,
    },
    /// An address is neither `IP:PORT` nor `unix:PATH`.
    #[error("`{0}` is neither IP:PORT nor unix:PATH")]
    Address(String),
    /// A signal asked for the end.
    #[error("stopped by a signal")]
    Stopped,
    /// Nothing arrived and nothing could be sent for too long.
    #[error("no progress for {0:?}")]
    Stalled(Duration),
    /// The peer closed a connection that a load still needs.
    #[error("connection {client} was closed by the peer")]
    Closed {
        /// Which of the load's connections.
        client: usize,
    },
    /// The peer sent bytes that are no MQTT packet or no WebSocket frame.
    #[error("connection {client}: {what}")]
    Protocol {
        /// Which of the load's connections.
        client: usize,
        /// What was wrong.
        what: String,
    },
    /// The sink counted another number of messages than were sent.
    #[error("{sent} messages were sent, {seen} arrived")]
    Lost {
        /// Messages written by the generator.
        sent: u64,
        /// Messages seen by the far end.
        seen: u64,
    },
    /// A file under `/proc` is not in the form that is expected.
    #[error("cannot make sense of {0}")]
    Proc(PathBuf),
    /// A program ended right after its start.
    #[error("{program} ended at its start: {status}{log}")]
    Ended {
        /// Name of the program.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it printed, with a line break before it; empty if nothing.
        log: String,
    },
    /// A program runs but does not answer.
    #[error("{program} did not answer within {timeout:?}{log}")]
    Unanswered {
        /// Name of the program.
        program: String,
        /// How long it was asked.
        timeout: Duration,
        /// The end of what it printed, with a line break before it; empty if nothing.
        log: String,
        /// What came of the last attempt.
        source: Box<Self>,
    },
    /// A load or peer name that does not exist.
    #[error("no {kind} is called `{name}`; there are: {known}")]
    Unknown {
        /// `load` or `peer`.
        kind: &'static str,
        /// The name given.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// The open file limit is too low for the number of connections.
    #[error("the open file limit is {limit}, this needs {needed}; raise it with `ulimit -n`")]
    FileLimit {
        /// The hard limit.
        limit: u64,
        /// What the load needs.
        needed: u64,
    },
    /// The report cannot be written as JSON.
    #[error("write the JSON report")]
    Json(#[from] serde_json::Error),
}

impl Error {
    /// The error and its causes in one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = error::Error::source(self);
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        text
    }
}

/// Adds "what was being done" to an [`io::Result`].
pub(crate) trait During<T> {
    /// Wraps the error with the action.
    fn during(self, action: impl Into<String>) -> Result<T, Error>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, action: impl Into<String>) -> Result<T, Error> {
        self.map_err(|source| Error::Io {
            action: action.into(),
            source,
        })
    }
}

/// Same, for the errors of the system-call crate.
impl<T> During<T> for Result<T, rustix::io::Errno> {
    fn during(self, action: impl Into<String>) -> Result<T, Error> {
        self.map_err(io::Error::from).during(action)
    }
}
