//! The rules as a layer of the CONNECT stage.

use mproxy_codec::KindSet;
use mproxy_session::{Connect, ConnectRefusal, Filter, Heads, Hooks, JudgeConnect, Tap, WrapHooks};

use super::{PublishRules, PublishRulesToServer, to_server::PublishJudge};
use crate::{
    DeniedWill, Observer,
    denials::Denials,
    observed::{Observed, wrap},
};

/// Enforces [`PublishRules`]: a layer for the CONNECT stage.
///
/// See the [module documentation](super).
pub type PublishRulesLayer<O = ()> = Observed<Held, O>;

/// The rules of a [`PublishRulesLayer`], and what it does about what they refuse.
#[derive(Debug, Clone)]
#[allow(unnameable_types)] // a parameter of types that nobody need write down
pub struct Held {
    rules: PublishRules,
    will: DeniedWill,
    log_denials: bool,
}

impl PublishRulesLayer {
    /// Enforces these rules.
    pub const fn new(rules: PublishRules) -> Self {
        Self::by_nobody(Held {
            rules,
            will: DeniedWill::Refuse,
            log_denials: true,
        })
    }
}

impl<O> PublishRulesLayer<O> {
    /// Sets what happens to a client whose will is refused.
    #[must_use]
    pub const fn denied_will(mut self, will: DeniedWill) -> Self {
        self.settings.will = will;
        self
    }

    /// Sets whether refusals are logged, like those of an [`AclLayer`](crate::acl::AclLayer). They are
    /// by default.
    #[must_use]
    pub const fn log_denials(mut self, log: bool) -> Self {
        self.settings.log_denials = log;
        self
    }
}

/// The state of a session.
#[derive(Debug)]
#[allow(unnameable_types)] // a parameter of types that nobody need write down
pub struct Session<O>(PublishRulesLayer<O>);

impl<O: Observer> JudgeConnect for PublishRulesLayer<O> {
    type Wrap = Session<O>;

    fn judge(&mut self, _: &mut Connect) -> Result<Session<O>, ConnectRefusal> {
        Ok(Session(self.clone()))
    }
}

impl<U, D, O: Observer> WrapHooks<U, D> for Session<O> {
    type ToServer = Heads<PublishRulesToServer<Tap<U>, O>>;
    type ToClient = D;

    fn wrap(self, connect: &Connect, hooks: Hooks<U, D>) -> Hooks<Self::ToServer, D> {
        let Observed { settings, observer } = self.0;
        let kinds = match settings.rules.is_empty() {
            true => KindSet::NONE,
            false => KindSet::PUBLISH,
        };
        let judge = PublishJudge {
            rules: settings.rules,
            info: connect.info().clone(),
            will: settings.will,
            logs: settings.log_denials,
            observer,
            denials: Denials::default(),
        };
        hooks.map(
            |tap| wrap(tap, kinds, false, |inner| Filter::new(inner, judge)),
            |tap| tap,
        )
    }
}
