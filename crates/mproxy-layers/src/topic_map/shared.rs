//! What both directions of one session need.

use std::fmt;

use mproxy_session::SessionInfo;

use super::SessionMap;
use crate::{Action, DeniedWill, denials::Denials};

/// The map of a session, and what reports are about.
#[derive(Debug)]
#[allow(unnameable_types)] // a parameter of types that nobody need write down
pub struct Shared<O> {
    pub(super) map: SessionMap,
    pub(super) info: SessionInfo,
    pub(super) will: DeniedWill,
    pub(super) observer: O,
    /// `None` if denials are not logged.
    pub(super) denials: Option<Denials>,
}

impl<O> Shared<O> {
    #[cold]
    pub(super) fn note(&self, action: Action, topic: &str, reason: &dyn fmt::Display) {
        if let Some(denials) = &self.denials {
            denials.note(&self.info, action, topic, reason);
        }
    }
}
