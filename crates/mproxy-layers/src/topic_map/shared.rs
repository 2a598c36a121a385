//! What both directions of one session need.

use mproxy_session::SessionInfo;

use super::{MapError, SessionMap};
use crate::{Action, DeniedWill, Observer, denials::Denials, observe::Of};

/// The map of a session, and where to report.
#[derive(Debug)]
#[allow(unnameable_types)] // a parameter of types that callers need not name
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
    pub(super) fn note(&self, action: Action, of: Of, topic: &str, error: &MapError)
    where
        O: Observer,
    {
        self.observer.decision(action, false);
        if let Some(denials) = &self.denials {
            let kind = error.number();
            let why = &of.explain(action, error);
            denials.note(&self.info, action, kind, topic, why);
        }
    }
}
