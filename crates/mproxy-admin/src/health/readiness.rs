//! A snapshot of all checks, written as kube-apiserver writes its own.

use std::fmt;

use super::check::{Check, Kind, State, one_line};

/// All checks at one moment: [`Health::readiness`](crate::Health::readiness).
///
/// `Display` is the body of `/readyz?verbose`: one line a check, `[+]` for ok and `[-]` for not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    ready: bool,
    lines: String,
}

impl Readiness {
    pub(super) fn new(draining: bool, checks: &[Check]) -> Self {
        let mut report = Report::default();
        let listeners = || checks.iter().filter(|check| check.kind == Kind::Listener);
        if listeners().count() == 0 {
            report.failed("listeners", "none yet");
        } else if listeners().all(|check| check.state == State::Ok) {
            report.ok("listeners");
        }
        for check in checks {
            let name = format!("{} {}", check.kind, check.name);
            let name = one_line(&name);
            match &check.state {
                // All of them share the one line above.
                State::Ok if check.kind == Kind::Listener => {}
                State::Ok => report.passed(&name, check.note.as_deref()),
                State::Pending => report.failed(&name, "not checked yet"),
                State::Failed(why) | State::Closed(why) => report.failed(&name, why),
                State::Skipped(why) => report.failed(&name, &format!("not checked: {why}")),
            }
        }
        if draining {
            report.failures += 1;
            report.lines.push_str("[-]draining\n");
        } else {
            report.ok("not draining");
        }

        let ready = report.failures == 0;
        report.lines.push_str(if ready {
            "readyz check passed\n"
        } else {
            "readyz check failed\n"
        });
        Self {
            ready,
            lines: report.lines,
        }
    }

    /// Whether the process should get traffic.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready
    }
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines)
    }
}

#[derive(Default)]
struct Report {
    lines: String,
    failures: usize,
}

impl Report {
    fn ok(&mut self, name: &str) {
        self.passed(name, None);
    }

    fn passed(&mut self, name: &str, note: Option<&str>) {
        self.lines.extend(["[+]", name, " ok"]);
        if let Some(note) = note {
            self.lines.extend([" (", note, ")"]);
        }
        self.lines.push('\n');
    }

    fn failed(&mut self, name: &str, why: &str) {
        self.failures += 1;
        self.lines.extend(["[-]", name, ": ", why, "\n"]);
    }
}

#[cfg(test)]
mod tests {
    use crate::Health;

    #[test]
    fn names_every_check_that_fails() {
        let health = Health::new();
        health.listener("mqtt").ok();
        health.listener("ws").fail("address in use");
        health
            .upstream("broker")
            .fail("connection refused (3 of 3)");
        health.connack("broker").skip("no connection");
        let _pending = health.upstream("spare");
        health.set_draining(true);
        assert_eq!(
            health.readiness().to_string(),
            "[-]listener ws: address in use\n\
             [-]upstream broker: connection refused (3 of 3)\n\
             [-]connack broker: not checked: no connection\n\
             [-]upstream spare: not checked yet\n\
             [-]draining\n\
             readyz check failed\n"
        );
    }

    #[test]
    fn says_what_there_is_to_say_of_a_check_that_passes() {
        let health = Health::new();
        health.listener("mqtt").ok();
        let broker = health.upstream("broker");
        broker.note(Some("addresses[0]".to_owned()));
        broker.ok();
        let lines = health.readiness().to_string();
        assert!(
            lines.contains("[+]upstream broker ok (addresses[0])\n"),
            "{lines}"
        );
        broker.note(None);
        let lines = health.readiness().to_string();
        assert!(lines.contains("[+]upstream broker ok\n"), "{lines}");
    }

    #[test]
    fn lists_what_is_ok() {
        let health = Health::new();
        health.listener("mqtt").ok();
        health.listener("ws").ok();
        health.upstream("broker").ok();
        assert_eq!(
            health.readiness().to_string(),
            "[+]listeners ok\n[+]upstream broker ok\n[+]not draining ok\nreadyz check passed\n"
        );
    }
}
