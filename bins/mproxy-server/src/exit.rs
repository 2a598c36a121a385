//! Exit codes, those of `sysexits.h` where it has one. `docs/signals-and-exit-codes.md` has the
//! table for operators.

use mproxy_config::diagnostics::Class;
use std::process::ExitCode;

/// The result of a command.
///
/// `run` ends with [`Success`](Self::Success) after every drain that one signal began, even if
/// it had to cut sessions when `server.drain_timeout` was over: a limit that the
/// operator set was kept. HAProxy (`hard-stop-after`) and nginx (`worker_shutdown_timeout`) end with
/// 0 as well, and for systemd and Kubernetes anything else is a service that failed.
///
/// After a second signal the code is 128 plus the number of that signal; also after a first one
/// that comes before the configuration is accepted. A systemd unit must list these as successes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// Success.
    Success = 0,
    /// Failure.
    Failure = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The configuration cannot be used here and now: a broker does not answer, an address
    /// is in use or does not belong to this machine.
    Unavailable = 69,
    /// The system does not permit it: a port below 1024, for example.
    Permission = 77,
    /// The configuration is refused.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl From<Class> for Exit {
    fn from(class: Class) -> Self {
        match class {
            Class::Config => Self::Config,
            Class::Permission => Self::Permission,
            Class::Unavailable => Self::Unavailable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::ENDING_SIGNALS;
    use std::collections::BTreeSet;

    const UNIT: &str = include_str!("../../../deploy/systemd/mproxy.service");
    const DOCS: &str = include_str!("../../../docs/signals-and-exit-codes.md");

    const ALL: [Exit; 6] = [
        Exit::Success,
        Exit::Failure,
        Exit::Usage,
        Exit::Unavailable,
        Exit::Permission,
        Exit::Config,
    ];

    /// The codes of a process that a signal ended.
    fn killed() -> BTreeSet<u8> {
        let numbers = ENDING_SIGNALS.iter().map(|it| it.as_raw_value());
        numbers.map(|it| 128 + u8::try_from(it).unwrap()).collect()
    }

    fn codes(text: &str) -> BTreeSet<u8> {
        let words = text.split([' ', ',']).filter(|it| !it.is_empty());
        words.map(|it| it.parse().expect("an exit code")).collect()
    }

    fn key(name: &str) -> BTreeSet<u8> {
        let mut lines = UNIT
            .lines()
            .filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        let value = lines.next().expect("the unit has the key");
        assert_eq!(lines.next(), None, "{name} is set once");
        codes(value)
    }

    /// Whether another start can end otherwise, although nobody has changed anything.
    fn can_mend_itself(exit: Exit) -> bool {
        match exit {
            Exit::Success | Exit::Failure | Exit::Unavailable => true,
            Exit::Usage | Exit::Permission | Exit::Config => false,
        }
    }

    /// A second Ctrl-\ ended mproxy with a code that systemd did not know, so it was started again;
    /// and a port that it was not permitted to use was tried ten times.
    #[test]
    fn the_unit_knows_every_code() {
        assert_eq!(key("SuccessExitStatus"), killed());
        let hopeless = ALL.into_iter().filter(|it| !can_mend_itself(*it));
        let hopeless: BTreeSet<_> = hopeless.map(|it| it as u8).collect();
        assert_eq!(key("RestartPreventExitStatus"), hopeless);
    }

    #[test]
    fn the_manual_has_every_code_and_no_other() {
        let (_, table) = DOCS
            .split_once("\n| exit code |")
            .expect("a table of exit codes");
        let rows = table.lines().skip(2).take_while(|it| it.starts_with('|'));
        let documented: Vec<_> = rows
            .map(|row| codes(row.split('|').nth(1).expect("a cell")))
            .collect();
        let documented: BTreeSet<_> = documented.into_iter().flatten().collect();
        let expected = ALL.into_iter().map(|it| it as u8).chain(killed());
        assert_eq!(documented, expected.collect());
    }
}
