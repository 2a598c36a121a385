//! From the chains of the configuration to tower stacks. The one place where layers are put
//! together.

use mproxy_admin::{LayerMetrics, Metrics};
use mproxy_layers::DeniedWill;
use mproxy_layers::access_log::{AccessLogLayer, Events};
use mproxy_layers::acl::{Acl, AclLayer, OnDeny, SubscribePolicy};
use mproxy_layers::client_id::ClientIdLayer;
use mproxy_layers::property_edit::PropertyEditLayer;
use mproxy_layers::topic_map::TopicMapLayer;
use mproxy_session::BoxError;

use super::{AnyLayer, Chain as LayerChain, Count, NamedLayer};
use mproxy_config::{
    self as config, AccessEvent, AclOnDeny, AclSubscribe, Chain, ClientIdRequire, Dialect,
    LayerKind, Reauthentication,
};

/// A chain, ready for sessions.
#[derive(Clone, Debug)]
pub(crate) struct Composed {
    pub(crate) chain: LayerChain,
    /// What an access log says of the sessions of clients that are let in.
    pub(crate) access_log: Option<AccessLog>,
    /// The layers that go by the names of a client, which must not become another one.
    pub(crate) by_names: Vec<ByNames>,
}

/// A layer that refuses a client that authenticates again.
#[derive(Clone, Debug)]
pub(crate) struct ByNames {
    pub(crate) layer: String,
    pub(crate) metrics: LayerMetrics,
}

/// The part of an access log that the server writes: the layer sees that a session ends, but not what
/// an operator can do about it, and two lines about one end would be one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AccessLog {
    /// Every end has a line. Without this, only those have one that need attention.
    pub(crate) every_end: bool,
}

/// Composes a chain before a broker that reads topics like this.
///
/// # Errors
/// A layer whose settings do not fit together; the configuration has been validated, so this names
/// a rule that validation let pass.
pub(crate) fn compose(
    chain: &Chain,
    dialect: Dialect,
    metrics: &Metrics,
) -> Result<Composed, BoxError> {
    let log = access_log(chain);
    let logs_denials = log.is_none_or(|log| log.events.contains(&AccessEvent::Deny));
    let access_log = log.map(|log| AccessLog {
        every_end: log.events.contains(&AccessEvent::Disconnect),
    });
    let mut layers = Vec::with_capacity(chain.layers.len());
    let mut by_names = Vec::new();
    for layer in &chain.layers {
        let what = what(layer);
        let count = Count::new(metrics.layer(&layer.name), &what);
        // whether it refuses clients that authenticate again
        let mut judges = false;
        let any = match &layer.kind {
            LayerKind::AccessLog(log) => AnyLayer::AccessLog(
                AccessLogLayer::new()
                    .events(events(&log.events))
                    // the server's own lines have what to do about it, and are there without this layer
                    .refusals(false)
                    .publish_sample(log.publish_sample),
            ),
            LayerKind::Acl(settings) => {
                let rules = settings.compile(dialect)?;
                judges = rules.goes_by_names() && refuses(settings.reauthentication);
                AnyLayer::Acl(
                    acl(settings, rules)
                        .log_denials(logs_denials)
                        .observer(count),
                )
            }
            LayerKind::ClientId(settings) => {
                AnyLayer::ClientId(ClientIdLayer::new(settings.compile()?).observer(count))
            }
            LayerKind::PropertyEdit(settings) => {
                let up = settings.to_server.compile()?;
                let down = settings.to_client.compile()?;
                let by_names = up.goes_by_names() || down.goes_by_names();
                judges = by_names && refuses(settings.reauthentication);
                let layer = PropertyEditLayer::new(up, down)
                    .pass_reauthentication(settings.reauthentication == Reauthentication::Pass);
                AnyLayer::PropertyEdit(layer.observer(count))
            }
            LayerKind::TopicMap(settings) => {
                let map = settings.compile(dialect)?;
                judges = map.goes_by_names() && refuses(settings.reauthentication);
                let layer = TopicMapLayer::new(map)
                    .denied_will(denied_will(settings.will))
                    .log_denials(logs_denials)
                    .pass_reauthentication(settings.reauthentication == Reauthentication::Pass);
                AnyLayer::TopicMap(layer.observer(count))
            }
        };
        if judges {
            by_names.push(ByNames {
                layer: layer.name.clone(),
                metrics: metrics.layer(&layer.name),
            });
        }
        layers.push(NamedLayer {
            name: layer.name.as_str().into(),
            what: what.into(),
            layer: any,
        });
    }
    Ok(Composed {
        chain: LayerChain::new(layers),
        access_log,
        by_names,
    })
}

fn refuses(reauthentication: Reauthentication) -> bool {
    reauthentication == Reauthentication::Refuse
}

/// What the log calls a layer that refuses clients: its name, its type, and what it requires.
fn what(layer: &config::Layer) -> String {
    let name = &layer.name;
    let rule = match &layer.kind {
        LayerKind::ClientId(settings) => match (settings.require, &settings.template) {
            (ClientIdRequire::Any, _) => "client-id".to_owned(),
            (ClientIdRequire::EqualsUsername, _) => {
                "client-id, require = equals-username".to_owned()
            }
            (ClientIdRequire::PrefixUsername, _) => format!(
                "client-id, require = prefix-username, separator = {}",
                settings.separator
            ),
            (ClientIdRequire::Template, template) => format!(
                "client-id, require = template, template = {}",
                template.as_ref().map_or("", config::Template::as_str)
            ),
        },
        LayerKind::Acl(_) => "acl".to_owned(),
        LayerKind::TopicMap(_) => "topic-map".to_owned(),
        LayerKind::PropertyEdit(_) => "property-edit".to_owned(),
        LayerKind::AccessLog(_) => "access-log".to_owned(),
    };
    format!("layer `{name}` ({rule})")
}

fn access_log(chain: &Chain) -> Option<&config::AccessLog> {
    chain.layers.iter().find_map(|layer| match &layer.kind {
        LayerKind::AccessLog(log) => Some(log),
        LayerKind::Acl(_)
        | LayerKind::TopicMap(_)
        | LayerKind::ClientId(_)
        | LayerKind::PropertyEdit(_) => None,
    })
}

fn events(events: &[AccessEvent]) -> Events {
    events.iter().fold(Events::NONE, |set, event| {
        set | match event {
            AccessEvent::Connect => Events::CONNECT,
            AccessEvent::Subscribe => Events::SUBSCRIBE,
            AccessEvent::Unsubscribe => Events::UNSUBSCRIBE,
            AccessEvent::Publish => Events::PUBLISH,
            // ends are reported by the server, those by a layer that fails among them
            AccessEvent::Disconnect | AccessEvent::Error => Events::NONE,
            // denials are logged by the layers that deny
            AccessEvent::Deny => Events::NONE,
        }
    })
}

fn acl(settings: &config::Acl, rules: Acl) -> AclLayer {
    AclLayer::new(rules)
        .subscribe_policy(match settings.subscribe {
            AclSubscribe::Strict => SubscribePolicy::Strict,
            AclSubscribe::Mosquitto => SubscribePolicy::FilterDeliveries,
        })
        .on_deny(match settings.on_deny {
            AclOnDeny::Reject => OnDeny::Reject,
            AclOnDeny::Drop => OnDeny::Drop,
            AclOnDeny::Disconnect => OnDeny::Disconnect,
        })
        .denied_will(denied_will(settings.will))
        .check_response_topics(settings.check_response_topics)
        .pass_reauthentication(settings.reauthentication == Reauthentication::Pass)
}

const fn denied_will(will: config::DeniedWill) -> DeniedWill {
    match will {
        config::DeniedWill::Refuse => DeniedWill::Refuse,
        config::DeniedWill::Strip => DeniedWill::Strip,
    }
}
