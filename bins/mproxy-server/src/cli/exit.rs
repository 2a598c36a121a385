//! Exit codes, those of `sysexits.h` where it has one.

use crate::diagnostics::Class;
use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// It did what it should.
    Success = 0,
    /// It failed.
    Failure = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// The broker, or the admin port, does not answer.
    Unavailable = 69,
    /// The system does not permit it, as a port below 1024.
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
