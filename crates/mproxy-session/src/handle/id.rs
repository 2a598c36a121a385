//! The number of a session.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

/// Identifies a session within its process: no two sessions of a process have the same, however long it
/// runs. It is a number, which [`Display`](fmt::Display) writes and [`FromStr`] reads, for logs and
/// administration; it says nothing about a session of another process.
///
/// ```
/// use mproxy_session::{SessionHandle, SessionId};
/// let id = SessionHandle::new().id();
/// assert_eq!(id.to_string().parse::<SessionId>(), Ok(id));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(u64);

impl SessionId {
    /// The next number.
    pub(super) fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The number: 1 for the first session of the process.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl From<SessionId> for u64 {
    fn from(id: SessionId) -> Self {
        id.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Reads a number as [`Display`](fmt::Display) writes it. A session of that number need not exist.
impl FromStr for SessionId {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}
