//! A flag that ends every loop of the tool soon after it is set.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Error;

/// Shared "please end" flag; clones see the same flag.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// A flag that is not set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks every holder to end.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the end was asked for.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// For the head of a loop.
    ///
    /// # Errors
    /// [`Error::Stopped`] once the flag is set.
    pub fn check(&self) -> Result<(), Error> {
        if self.is_set() {
            Err(Error::Stopped)
        } else {
            Ok(())
        }
    }
}
