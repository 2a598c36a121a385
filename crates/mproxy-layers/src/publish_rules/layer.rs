//! The rules as a layer of the CONNECT stage.

use mproxy_codec::KindSet;
use mproxy_session::{
    Connect, ConnectRefusal, Filter, Heads, Hooks, JudgeConnect, OnConnect, OnConnectFuture, Tap,
    WrapHooks,
};
use tower_layer::Layer;

use super::{PublishRules, PublishRulesToServer, to_server::PublishJudge};
use crate::{DeniedWill, Observer, denials::Denials};

/// Holds what clients publish to [`PublishRules`]: a layer for the CONNECT stage.
///
/// See the [module documentation](super).
#[derive(Debug, Clone)]
pub struct PublishRulesLayer<O = ()> {
    rules: PublishRules,
    will: DeniedWill,
    log_denials: bool,
    observer: O,
}

impl PublishRulesLayer {
    /// Enforces these rules.
    pub const fn new(rules: PublishRules) -> Self {
        Self {
            rules,
            will: DeniedWill::Refuse,
            log_denials: true,
            observer: (),
        }
    }
}

impl<O> PublishRulesLayer<O> {
    /// Says what happens to a client whose will is refused.
    #[must_use]
    pub const fn denied_will(mut self, will: DeniedWill) -> Self {
        self.will = will;
        self
    }

    /// Says whether refusals are logged, as those of an [`AclLayer`](crate::acl::AclLayer) are. They are,
    /// until it is turned off.
    #[must_use]
    pub const fn log_denials(mut self, log: bool) -> Self {
        self.log_denials = log;
        self
    }

    /// Reports what is changed and refused to an observer.
    pub fn observer<P: Observer>(self, observer: P) -> PublishRulesLayer<P> {
        PublishRulesLayer {
            rules: self.rules,
            will: self.will,
            log_denials: self.log_denials,
            observer,
        }
    }
}

impl<S, O: Clone> Layer<S> for PublishRulesLayer<O> {
    type Service = PublishRulesConnect<S, O>;

    fn layer(&self, inner: S) -> Self::Service {
        OnConnect::new(inner, self.clone())
    }
}

/// The service of [`PublishRulesLayer`].
pub type PublishRulesConnect<S, O = ()> = OnConnect<S, PublishRulesLayer<O>>;

/// The response future of [`PublishRulesConnect`].
pub type ResponseFuture<F, O = ()> = OnConnectFuture<F, Session<O>>;

/// What a session is given.
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
        let Self(layer) = self;
        let kinds = match layer.rules.is_empty() {
            true => KindSet::NONE,
            false => KindSet::PUBLISH,
        };
        let shared = PublishJudge {
            rules: layer.rules,
            info: connect.info().clone(),
            will: layer.will,
            logs: layer.log_denials,
            observer: layer.observer,
            denials: Denials::default(),
        };
        hooks.map(
            |tap| {
                let judges = tap.judges_identity();
                tap.wrap_heads(kinds, |inner| Filter::new(inner, shared))
                    .judge_identity(judges)
            },
            |tap| tap,
        )
    }
}
