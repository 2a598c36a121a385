//! Layers in front of brokers that read topics differently.

use super::Named;
use crate::context::Context;
use crate::diagnostics::Diagnostic;
use crate::layer::{AclKeys, LayerKeys, Layers, TopicMapKeys};
use crate::layer::{Layer, LayerKind};
use crate::listener::Placed;
use crate::section::{Located, Setting};
use crate::upstream::Upstream;
use mproxy_codec::topic::Dialect;
use mproxy_layers::acl::{Acl, Actions, Problem, Rule};
use mproxy_layers::topic_map::{MapProblem, MapRule, TopicMap};
use std::collections::BTreeSet;
use std::ops::Range;

/// A text that the broker reads differently: its place, what is wrong, and what to do.
type Misread = (Range<usize>, String, String);

/// Reports each text in a layer that the broker reads differently, at its place.
pub(super) fn check(
    cx: &mut Context,
    listeners: &[Placed],
    upstreams: &Named<Upstream>,
    files: &Layers,
) {
    if cx.report.errors() > 0 {
        // Layers that do not fit at all were reported.
        return;
    }
    let mut pairs = BTreeSet::new();
    for Placed { span, listener, .. } in listeners {
        let upstream = &listener.upstream;
        if upstream.dialect == Dialect::MQTT {
            continue;
        }
        for layer in &listener.chain.layers {
            let Some(file) = files.get(&layer.name) else {
                continue;
            };
            if !pairs.insert((&upstream.name, &layer.name)) {
                continue;
            }
            let of_broker = upstreams.get(&upstream.name);
            let of_broker = of_broker.and_then(|(_, place)| place.clone());
            let of_broker = of_broker.unwrap_or_else(|| span.clone());
            for (place, problem, label) in misread(layer, file, upstream.dialect) {
                let (name, broker) = (&layer.name, &upstream.name);
                let message = format!("layer `{name}` does not fit upstream `{broker}`: {problem}");
                let error = Diagnostic::error(message).at(place).label(label);
                let related = "its `dialect` is not \"mqtt\"";
                cx.push(error.related(of_broker.clone(), related));
            }
        }
    }
}

/// The texts of a layer that a broker of this dialect reads differently.
fn misread(layer: &Layer, file: &Located<LayerKeys>, dialect: Dialect) -> Vec<Misread> {
    let (vendor, mut found) = match (&layer.kind, &file.value) {
        (LayerKind::Acl(acl), LayerKeys::Acl(keys)) => (
            keys.vendor.span().filter(|_| !acl.vendor.is_empty()),
            patterns(keys, dialect),
        ),
        (LayerKind::TopicMap(map), LayerKeys::TopicMap(keys)) => (
            keys.vendor.span().filter(|_| !map.vendor.is_empty()),
            texts(keys, dialect),
        ),
        _ => (None, Vec::new()),
    };
    if let (true, Some(problem)) = (found.is_empty(), layer.kind.misfit(dialect)) {
        // No single text is wrong.
        let label = "write topics as the broker reads them".to_owned();
        found.push((file.span.clone(), problem, label));
    }
    if let Some(span) = vendor {
        let problem = "the broker does not support vendor forms".to_owned();
        found.push((span, problem, "leave out `vendor`".to_owned()));
    }
    found
}

fn patterns(keys: &AclKeys, dialect: Dialect) -> Vec<Misread> {
    let rules = keys.rules.iter().map(|rule| &rule.value);
    let texts = rules.flat_map(|rule| rule.topics.texts().into_iter().chain(rule.filters.texts()));
    let misread = texts.filter_map(|(text, span)| {
        let mut alone = Acl::builder();
        alone.dialect(dialect);
        let error = alone.rule(Rule::allow(Actions::SUBSCRIBE).topic(text));
        match error.err()?.problem() {
            Problem::Otherwise { pattern, read } => Some(otherwise(span, pattern, read)),
            Problem::Topic { pattern, .. } => Some(untranslatable(span, pattern, dialect)),
            _ => None,
        }
    });
    misread.collect()
}

fn texts(keys: &TopicMapKeys, dialect: Dialect) -> Vec<Misread> {
    let rules = keys.rules.iter().map(|rule| &rule.value);
    let starts = rules.flat_map(|rule| [(written(&rule.from), true), (written(&rule.to), false)]);
    let texts = starts.chain([(written(&keys.prefix), false)]);
    let texts = texts.filter_map(|(written, from)| Some((written?, from)));
    let misread = texts.filter_map(|((text, span), from)| {
        let alone = match from {
            true => MapRule::new(text, "x/"),
            false => MapRule::new("", text),
        };
        let map = TopicMap::builder().rule(alone);
        let error = map.dialect(dialect).build().err()?;
        match error.problem() {
            MapProblem::Otherwise { text, read } => Some(otherwise(span, text, read)),
            MapProblem::Topic { text, .. } => Some(untranslatable(span, text, dialect)),
            _ => None,
        }
    });
    misread.collect()
}

fn written<T>(setting: &Setting<T>) -> Option<(&str, Range<usize>)> {
    Some((setting.text()?, setting.span()?))
}

fn otherwise(span: Range<usize>, text: &str, read: &str) -> Misread {
    let problem = format!("the broker reads `{text}` as `{read}`");
    (span, problem, format!("write `{read}`"))
}

/// The texts are valid MQTT: the only problem can be how the broker reads them.
fn untranslatable(span: Range<usize>, text: &str, dialect: Dialect) -> Misread {
    let problem = format!("the broker reads `{text}` differently, and not as an MQTT topic");
    let label = match dialect {
        Dialect::Amqp if text.contains('*') => "remove `*`, which is a wildcard to the broker",
        Dialect::Amqp if text.starts_with("sp") => {
            "remove it: mproxy refuses Sparkplug topics in front of RabbitMQ, whose setting \
             `mqtt.sparkplug` decides how it reads them"
        }
        Dialect::Amqp => "leave it out: the broker has no such topic",
        _ => "remove levels `*` and `>`, which are wildcards to the broker, and white space",
    };
    (span, problem, label.to_owned())
}
