//! The rules as a layer of the CONNECT stage.

use std::sync::Arc;

use mproxy_codec::{KindSet, Properties, PropertyId, ReasonCode};
use mproxy_session::{Connect, ConnectRefusal, Filter, Heads, Hooks, JudgeConnect, Tap, WrapHooks};

use super::{
    Acl, AclToClient, AclToServer, memory::Memory, session::Client, shared::Shared,
    to_server::AclJudge,
};
use crate::{
    DeniedWill, Names, Observer,
    denials::Denials,
    identity::is_of_virtual_host,
    observed::{Observed, wrap},
};

/// How a SUBSCRIBE is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum SubscribePolicy {
    /// A filter is refused unless the client may read every topic that it can match.
    #[default]
    Strict,
    /// Every filter is granted, like in mosquitto, and messages that the client may not read are not
    /// delivered.
    ///
    /// Shared subscriptions (`$share/`, `$queue/`, `$oshare/`) and `$exclusive/` are the exception: they
    /// are judged as with [`Strict`](Self::Strict), because the broker gives each message to one client of
    /// the group, which would lose it if that client may not read it.
    FilterDeliveries,
}

/// How a denied packet is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnDeny {
    /// The client is told, if its MQTT version has a code for it.
    #[default]
    Reject,
    /// A PUBLISH is dropped and acknowledged as if it had arrived. A filter is still refused.
    Drop,
    /// The session ends; but a denied delivery is only dropped, because the client did not send it.
    Disconnect,
}

/// Settings of an [`AclLayer`] besides its rules.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) subscribe: SubscribePolicy,
    pub(super) on_deny: OnDeny,
    pub(super) will: DeniedWill,
    pub(super) response_topics: bool,
    pub(super) log_denials: bool,
    pub(super) reauthentication: bool,
}

/// Enforces an [`Acl`]: a layer for the CONNECT stage.
///
/// The client id and the user name are those in CONNECT at the place of the layer: changed by outer
/// layers, but not yet by inner ones.
///
/// * A will is judged like a PUBLISH, because the proxy does not see the broker publish it: a client
///   whose will is denied is not let in or, with [`DeniedWill::Strip`], it is let in without its will.
/// * A PUBLISH is judged by its topic, with any topic alias resolved.
/// * A SUBSCRIBE is judged filter by filter; the filters that are granted go on. With
///   [`SubscribePolicy::FilterDeliveries`] only shared subscriptions are judged.
/// * UNSUBSCRIBE is not judged: a device must be able to unsubscribe after the rules have changed.
/// * Deliveries are judged with [`SubscribePolicy::FilterDeliveries`], if some rule names them, if the
///   client may resume a session (Clean Start 0) with subscriptions from under other rules, or if the
///   session [is judged again](mproxy_session::SessionHandle::renew), because its subscriptions are
///   from under older rules. They are judged as the inner layers left them, so that the layer sees the
///   same topics in both directions.
///
/// See the [crate documentation](crate) for an example.
pub type AclLayer<O = ()> = Observed<Enforced, O>;

/// The rules of an [`AclLayer`], and what it does besides asking them.
#[derive(Debug, Clone)]
#[allow(unnameable_types)] // a parameter of types that nobody need write down
pub struct Enforced {
    acl: Acl,
    settings: Settings,
}

impl AclLayer {
    /// Enforces these rules strictly, and tells clients what was denied.
    pub const fn new(acl: Acl) -> Self {
        let settings = Settings {
            subscribe: SubscribePolicy::Strict,
            on_deny: OnDeny::Reject,
            will: DeniedWill::Refuse,
            response_topics: false,
            log_denials: true,
            reauthentication: false,
        };
        Self::by_nobody(Enforced { acl, settings })
    }
}

impl<O> AclLayer<O> {
    /// Sets how a SUBSCRIBE is answered.
    #[must_use]
    pub const fn subscribe_policy(mut self, policy: SubscribePolicy) -> Self {
        self.settings.settings.subscribe = policy;
        self
    }

    /// Sets how a denied packet is answered.
    #[must_use]
    pub const fn on_deny(mut self, on_deny: OnDeny) -> Self {
        self.settings.settings.on_deny = on_deny;
        self
    }

    /// Sets what happens to a client whose will is denied.
    #[must_use]
    pub const fn denied_will(mut self, will: DeniedWill) -> Self {
        self.settings.settings.will = will;
        self
    }

    /// Also judges the Response Topic of a PUBLISH or a will as if the client published there, because
    /// it makes another client do so. Off by default, because devices commonly use topics that they may
    /// only read.
    #[must_use]
    pub const fn check_response_topics(mut self, check: bool) -> Self {
        self.settings.settings.response_topics = check;
        self
    }

    /// Sets whether denials are logged. They are by default: for each action and rule, the first of a
    /// session at once, then one in ten seconds with the number of the others. A client that is refused
    /// for its will is not logged here: the
    /// [summary](mproxy_session::Summary::detail) of its session says which rule denied it.
    #[must_use]
    pub const fn log_denials(mut self, log: bool) -> Self {
        self.settings.settings.log_denials = log;
        self
    }

    /// Sets whether an MQTT 5.0 client may authenticate again while it is connected (AUTH 0x19),
    /// although rules use its names. By default it is closed with 0x8C, because for the
    /// broker it may be another user then, while the rules would stay those of the old one. Rules
    /// that are the same for all clients let it pass. `[MQTT-4.12.1-1]`
    #[must_use]
    pub const fn pass_reauthentication(mut self, pass: bool) -> Self {
        self.settings.settings.reauthentication = pass;
        self
    }
}

/// The state of a session.
#[derive(Debug)]
#[allow(unnameable_types)] // a parameter of types that nobody need write down
pub struct Session<O> {
    client: Client,
    layer: AclLayer<O>,
}

impl<O: Observer> JudgeConnect for AclLayer<O> {
    type Wrap = Session<O>;

    fn judge(&mut self, connect: &mut Connect) -> Result<Session<O>, ConnectRefusal> {
        let names = Names::of(connect);
        let other = names
            .username
            .is_some_and(|name| is_of_virtual_host(name, self.settings.acl.0.dialect()));
        if other && self.settings.acl.goes_by_names() {
            self.observer.connect(false);
            let refusal = ConnectRefusal::new(ReasonCode::NOT_AUTHORIZED);
            return Err(refusal.with_text(
                "the user name contains `:`, so the broker would read another user name",
            ));
        }
        Ok(Session {
            client: Client::new(Arc::clone(&self.settings.acl.0), names),
            layer: self.clone(),
        })
    }
}

impl<U, D, O: Observer> WrapHooks<U, D> for Session<O> {
    type ToServer = Heads<AclToServer<Tap<U>, O>>;
    type ToClient = Heads<AclToClient<Tap<D>, O>>;

    fn wrap(self, connect: &Connect, hooks: Hooks<U, D>) -> Hooks<Self::ToServer, Self::ToClient> {
        let Self { client, layer } = self;
        let Enforced { acl, settings } = layer.settings;
        let held = client.size();
        let judged_to_server = KindSet::PUBLISH | KindSet::SUBSCRIBE;
        let deliveries = settings.subscribe == SubscribePolicy::FilterDeliveries
            || client.judges_deliveries()
            // its subscriptions may be from before these rules, or not have been judged
            || !connect.info().clean_start()
            || connect.is_renewal();
        let judged_to_client = if deliveries {
            KindSet::PUBLISH
        } else {
            KindSet::NONE
        };
        let shared = Arc::new(Shared {
            client,
            info: connect.info().clone(),
            settings,
            observer: layer.observer,
            denials: Denials::default(),
        });
        let judges = acl.goes_by_names() && !settings.reauthentication;
        let delivering = deliveries.then(|| Arc::clone(&shared));
        let repeated = Arc::clone(&shared);
        hooks.holds(held).map(
            |tap| {
                let judges = judges || tap.judges_identity();
                tap.wrap_remembered(judged_to_server, repeated, |inner| {
                    let memory = Memory::default();
                    Filter::new(inner, AclJudge { shared, memory })
                })
                .judge_identity(judges)
            },
            |tap| {
                wrap(tap, judged_to_client, judges, |inner| {
                    AclToClient::new(inner, delivering)
                })
            },
        )
    }
}

/// Returns the Response Topic in these properties, if it must be judged.
pub(super) fn response_topic<'a>(
    settings: Settings,
    properties: &Properties<'a>,
) -> Option<&'a str> {
    if settings.response_topics {
        properties.str(PropertyId::ResponseTopic)
    } else {
        None
    }
}
