//! One readiness check and its handle.

use std::fmt;
use std::sync::Arc;

use tracing::{info, warn};

use super::Health;

/// Sets the state of one check of a [`Health`]; clones set the same check.
///
/// Dropping the handle leaves the check as it was last set. A check that starts to fail or to
/// pass is logged, a repetition is not, so a probe may set its result every time.
#[derive(Clone)]
pub struct CheckHandle {
    pub(super) health: Health,
    pub(super) kind: Kind,
    pub(super) name: Arc<str>,
}

impl CheckHandle {
    /// The check passes.
    pub fn ok(&self) {
        self.write(State::Ok, None);
    }

    /// The check fails, and why: one short line without secrets, for anyone who may read `/readyz`.
    pub fn fail(&self, why: impl fmt::Display) {
        self.write(State::Failed(one_line(&why.to_string())), None);
    }

    /// Like [`fail`](Self::fail), with what an operator can do about it, for the log.
    pub fn fail_with(&self, why: impl fmt::Display, remedy: &str) {
        self.write(State::Failed(one_line(&why.to_string())), Some(remedy));
    }

    /// The check cannot be done, because another check fails. Such a check does not pass; nothing is
    /// logged, because the other check was.
    pub fn skip(&self, why: impl fmt::Display) {
        self.write(State::Skipped(one_line(&why.to_string())), None);
    }

    /// What it is about was closed on purpose. The check does not pass, and nothing is logged: who closed
    /// it says so.
    pub fn close(&self, why: impl fmt::Display) {
        self.write(State::Closed(one_line(&why.to_string())), None);
    }

    /// What to say of the check while it passes: one short word without secrets, for anyone who may read
    /// `/readyz`.
    pub fn note(&self, note: Option<String>) {
        let mut checks = self.health.checks();
        let own = |check: &&mut Check| check.is(self.kind, &self.name);
        if let Some(check) = checks.iter_mut().find(own) {
            check.note = note.map(|note| one_line(&note));
        }
    }

    fn write(&self, state: State, remedy: Option<&str>) {
        let mut checks = self.health.checks();
        let own = |check: &&mut Check| check.is(self.kind, &self.name);
        // none: the configuration does not have it any more
        let Some(check) = checks.iter_mut().find(own) else {
            return;
        };
        if check.state == state {
            return;
        }
        let failed_before = matches!(check.state, State::Failed(_));
        check.state = state.clone();
        drop(checks);
        let (kind, name) = (self.kind, one_line(&self.name));

        let is = |wanted: &[Kind]| wanted.contains(&kind).then_some(&*name);
        let upstream = is(&[Kind::Upstream, Kind::Connack]);
        let listener = is(&[Kind::Listener]);
        match state {
            State::Failed(_) if failed_before => {}
            State::Failed(detail) => warn!(
                target: "mproxy::health",
                event = "check",
                listener,
                detail,
                remedy,
                upstream,
                "not ready: {}",
                kind.fails()
            ),
            State::Ok => info!(
                target: "mproxy::health",
                event = "check",
                listener,
                upstream,
                "{}",
                kind.holds()
            ),
            State::Skipped(_) | State::Closed(_) | State::Pending => {}
        }
    }
}

impl fmt::Debug for CheckHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckHandle")
            .field("kind", &self.kind)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub(super) struct Check {
    pub(super) kind: Kind,
    pub(super) name: Arc<str>,
    pub(super) state: State,
    /// What to say of it while it passes.
    pub(super) note: Option<String>,
}

impl Check {
    pub(super) fn is(&self, kind: Kind, name: &str) -> bool {
        self.kind == kind && *self.name == *name
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Listener,
    /// Connecting to a broker works.
    Upstream,
    /// A broker answers CONNECT.
    Connack,
}

impl Kind {
    /// The log message of a check that passes.
    const fn holds(self) -> &'static str {
        match self {
            Self::Listener => "the listener accepts connections",
            Self::Upstream => "the broker can be reached",
            Self::Connack => "the broker answers CONNECT",
        }
    }

    /// The log message of a check that fails.
    const fn fails(self) -> &'static str {
        match self {
            Self::Listener => "the listener accepts no connections",
            Self::Upstream => "the broker cannot be reached",
            Self::Connack => "the broker does not answer CONNECT",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Listener => "listener",
            Self::Upstream => "upstream",
            Self::Connack => "connack",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// Registered, but not set yet.
    Pending,
    Ok,
    Failed(String),
    /// Another check fails, so this one could not be done.
    Skipped(String),
    /// It does not pass, as it should be.
    Closed(String),
}

/// Makes any text safe as part of one line: what could break or disguise the line is escaped, and
/// the length is bounded.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::new();
    for char in text.chars().take(MAX_TEXT_CHARS) {
        match char {
            // Line and paragraph separators and the bidirectional controls.
            '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                line.extend(char.escape_unicode());
            }
            char if char.is_control() => line.extend(char.escape_unicode()),
            char => line.push(char),
        }
    }
    line
}

/// An operating system's error is shorter; a broker's own words may not be.
const MAX_TEXT_CHARS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_on_one_line() {
        assert_eq!(one_line("a\r\n[+]all ok"), "a\\u{d}\\u{a}[+]all ok");
        assert_eq!(one_line("\u{202e}x\u{2028}"), "\\u{202e}x\\u{2028}");
        assert_eq!(one_line(&"x".repeat(1000)).len(), MAX_TEXT_CHARS);
    }
}
