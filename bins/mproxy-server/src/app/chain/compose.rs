//! Composes tower stacks from the chains of the configuration. The only place where layers are put
//! together.

use mproxy_admin::{LayerMetrics, Metrics};
use mproxy_codec::topic::Dialect;
use mproxy_session::BoxError;

use super::{AnyLayer, Chain as LayerChain, Count, NamedLayer};
use mproxy_config::{AccessEvent, Chain, LayerKind, Place, TopicMap};

/// A chain, ready for sessions.
#[derive(Clone, Debug)]
pub(crate) struct Composed {
    pub(crate) chain: LayerChain,
    /// Where it maps topics. A session whose subscriptions are mapped differently cannot go on under it.
    pub(crate) mapping: Mapping,
    /// Which ends of admitted sessions the access log reports.
    pub(crate) access_log: Option<AccessLog>,
    /// The layers that use the names of a client, which must not become another one.
    pub(crate) by_names: Vec<ByNames>,
}

/// The topic maps of a chain from the outside in, and how the broker reads topics.
pub(crate) type Mapping = Option<(Dialect, Vec<TopicMap>)>;

/// A layer that refuses a client that authenticates again.
#[derive(Clone, Debug)]
pub(crate) struct ByNames {
    pub(crate) layer: String,
    pub(crate) metrics: LayerMetrics,
}

/// The part of an access log that the server writes: the layer sees that a session ends, but not what
/// an operator can do about it, and one end should have one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AccessLog {
    /// Every end has a line; otherwise only those that need attention.
    pub(crate) every_end: bool,
}

/// Composes a chain for a broker of this dialect.
///
/// # Errors
/// A layer whose settings do not fit together. The configuration has been validated, so this names
/// a rule that validation missed.
pub(crate) fn compose(
    chain: &Chain,
    dialect: Dialect,
    metrics: &Metrics,
) -> Result<Composed, BoxError> {
    let log = chain.layers.iter().find_map(|layer| match &layer.kind {
        LayerKind::AccessLog(log) => Some(log),
        _ => None,
    });
    let logs = |event| log.is_none_or(|log| log.events.contains(&event));
    let mut layers = Vec::with_capacity(chain.layers.len());
    let mut by_names = Vec::new();
    for layer in &chain.layers {
        let what = layer.describe();
        let metrics = metrics.layer(&layer.name);
        let place = Place {
            dialect,
            logs_denials: logs(AccessEvent::Deny),
            observer: Count::new(metrics.clone(), &what),
        };
        let built = AnyLayer::build(&layer.kind, place)?;
        if built.refuses_reauthentication {
            by_names.push(ByNames {
                layer: layer.name.clone(),
                metrics,
            });
        }
        layers.push(NamedLayer {
            name: layer.name.as_str().into(),
            what: what.into(),
            layer: built.layer,
        });
    }
    let maps = chain.layers.iter().filter_map(|layer| match &layer.kind {
        LayerKind::TopicMap(map) => Some(map.clone()),
        _ => None,
    });
    let maps: Vec<_> = maps.collect();
    Ok(Composed {
        chain: LayerChain::new(layers),
        mapping: (!maps.is_empty()).then_some((dialect, maps)),
        access_log: log.map(|_| AccessLog {
            every_end: logs(AccessEvent::Disconnect),
        }),
        by_names,
    })
}
