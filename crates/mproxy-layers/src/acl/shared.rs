//! What both directions of one session need.

use std::fmt;

use mproxy_codec::{Kind, ReasonCode};
use mproxy_session::{HeadOnly, Refusal, Repeated, SessionInfo};

use super::{
    layer::{OnDeny, Settings},
    session::{Client, Verdict},
};
use crate::{
    Action, DeniedWill, Observer,
    denials::Denials,
    observe::{Of, of_layer},
};

/// The rules of a session, and where to report decisions.
#[derive(Debug)]
#[allow(unnameable_types)] // a parameter of types that callers need not name
pub struct Shared<O> {
    pub(super) client: Client,
    pub(super) info: SessionInfo,
    pub(super) settings: Settings,
    pub(super) observer: O,
    pub(super) denials: Denials,
}

/// The reason for a verdict, which is only looked for if it is written.
struct Why<'a>(&'a Client, Action, &'a str, Verdict);

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(client, action, topic, verdict) = self;
        client.explain(*action, topic.as_bytes(), *verdict).fmt(f)
    }
}

/// The rules look at nothing but topic, QoS and RETAIN. When they change, the session gets a new tap, and
/// forgets what it remembered of this one.
impl<O: Observer> Repeated for Shared<O> {
    fn repeated(&self, count: u32) {
        self.observer.decisions(Action::Publish, true, count);
    }
}

impl<O: Observer> Shared<O> {
    /// Reports a verdict, and returns what to do with the packet; `None` if it is forwarded.
    #[inline]
    pub(super) fn settle<'a>(
        &self,
        action: Action,
        verdict: Verdict,
        of: Of,
        topic: impl FnOnce() -> &'a str,
    ) -> Option<mproxy_session::Verdict<HeadOnly>> {
        self.observer.decision(action, verdict.allowed());
        if verdict.allowed() {
            None
        } else {
            Some(self.deny(action, verdict, of, topic()))
        }
    }

    #[cold]
    fn deny(
        &self,
        action: Action,
        verdict: Verdict,
        of: Of,
        topic: &str,
    ) -> mproxy_session::Verdict<HeadOnly> {
        let why = Why(&self.client, action, topic, verdict);
        if action == Action::Will && self.settings.will == DeniedWill::Refuse {
            // The line about the refused client says everything.
            let text = of.will(topic, " is not allowed");
            let refusal = Refusal::new(ReasonCode::NOT_AUTHORIZED).with_text(text);
            let refusal = of_layer(&self.observer, refusal, Some(&why));
            return mproxy_session::Verdict::Refuse(refusal);
        }
        if self.settings.log_denials {
            let why = &of.explain(action, &why);
            self.denials
                .note(&self.info, action, verdict.rule(), topic, why);
        }
        // a filter is removed from its packet, and a will refuses a CONNECT: no packet is dropped
        if matches!(action, Action::Publish | Action::Deliver) {
            self.observer.dropped(Kind::Publish);
        }
        if action == Action::Will {
            return mproxy_session::Verdict::Discard;
        }
        match (self.settings.on_deny, action) {
            (OnDeny::Reject, _) => mproxy_session::Verdict::refuse(ReasonCode::NOT_AUTHORIZED),
            (OnDeny::Drop, _) | (OnDeny::Disconnect, Action::Deliver) => {
                mproxy_session::Verdict::Discard
            }
            (OnDeny::Disconnect, _) => mproxy_session::Verdict::Close(ReasonCode::NOT_AUTHORIZED),
        }
    }
}
