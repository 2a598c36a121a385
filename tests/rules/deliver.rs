//! Empty.
pub(crate) const TESTS: &[crate::registry::Registered] = &[];
