//! Errors of hyper in words.

use std::{error::Error, fmt};

/// An error with all its sources: hyper's own message leaves them out.
pub(crate) struct Sources<'a>(pub(crate) &'a hyper::Error);

impl fmt::Display for Sources<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}
