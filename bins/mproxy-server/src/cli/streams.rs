//! Output of commands on the standard streams, which may be on a full disk or closed.

use crate::exit::Exit;
use std::fmt::{Arguments, Display};
use std::io::{self, ErrorKind, Write};

/// Writes to standard error. If that fails, nobody can be told, and
/// the exit code must say it.
pub(crate) fn say(text: Arguments<'_>) {
    // in one write, so that it stays together
    let _ = io::stderr().write_all(text.to_string().as_bytes());
}

/// Writes all to standard output.
///
/// # Errors
/// It could not be written; this was reported.
pub(super) fn print(bytes: &[u8]) -> Result<(), Exit> {
    let mut out = io::stdout().lock();
    printed(out.write_all(bytes).and_then(|()| out.flush()))
}

/// Turns the result of writing the output into that of the command.
///
/// # Errors
/// It could not be written; this was reported.
pub(super) fn printed(written: io::Result<()>) -> Result<(), Exit> {
    match written {
        // `mproxy-server config default | head`: the reader has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|error| failed("cannot write", &error)),
    }
}

/// Reports a failure.
pub(super) fn failed(what: &str, error: &dyn Display) -> Exit {
    say(format_args!("error: {what}: {error}\n"));
    Exit::Failure
}
