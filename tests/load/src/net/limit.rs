//! The open file limit, which child processes inherit.

use crate::error::{During, Error};

/// More than this is never asked for: nginx and HAProxy size tables by it.
const ENOUGH: u64 = 65_536;

/// Raises the soft limit of open files as far as it goes and returns it.
///
/// # Errors
/// [`Error::Io`] when the limit cannot be read or set.
pub fn raise_file_limit() -> Result<u64, Error> {
    rlimit::increase_nofile_limit(ENOUGH).during("raise the open file limit")
}
