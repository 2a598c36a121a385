//! `[layers.NAME]`.

use super::{Named, acl, bounds, client_id, property_edit, topic_map};
use crate::context::Context;
use crate::diagnostics::Diagnostic;
use crate::file::{AccessLogFile, LayerFile, Located};
use crate::model::{AccessEvent, AccessLog, Layer, LayerKind};
use std::collections::BTreeMap;
use std::sync::Arc;
use toml::Spanned;

/// The events that are logged when nothing else was said: everything but traffic.
const DEFAULT_EVENTS: [AccessEvent; 6] = [
    AccessEvent::Connect,
    AccessEvent::Disconnect,
    AccessEvent::Subscribe,
    AccessEvent::Unsubscribe,
    AccessEvent::Deny,
    AccessEvent::Error,
];

/// Checks all layers. One that cannot be used is left out, and noted, so that chains do not
/// complain about it again.
pub(super) fn layers(
    cx: &mut Context,
    files: &BTreeMap<String, Located<LayerFile>>,
) -> Named<Layer> {
    let mut layers = Named::new();
    for (name, file) in files {
        let kind = match &file.value {
            LayerFile::AccessLog(keys) => Some(LayerKind::AccessLog(access_log(cx, keys))),
            LayerFile::Acl(keys) => Some(LayerKind::Acl(acl::acl(cx, name, keys, &file.span))),
            LayerFile::TopicMap(keys) => {
                topic_map::topic_map(cx, keys, &file.span).map(LayerKind::TopicMap)
            }
            LayerFile::ClientId(keys) => {
                client_id::client_id(cx, keys, &file.span).map(LayerKind::ClientId)
            }
            LayerFile::PropertyEdit(keys) => {
                let edits = property_edit::property_edit(cx, keys, &file.span);
                Some(LayerKind::PropertyEdit(edits))
            }
        };
        let Some(kind) = kind else {
            cx.untyped.insert(name.clone());
            continue;
        };
        let layer = Layer {
            name: name.clone(),
            kind,
        };
        layers.insert(name.clone(), (Arc::new(layer), Some(file.span.clone())));
    }
    layers
}

fn access_log(cx: &mut Context, keys: &AccessLogFile) -> AccessLog {
    let mut events = match cx.list(&keys.events) {
        Some(given) => given.into_iter().map(Spanned::into_inner).collect(),
        None => DEFAULT_EVENTS.to_vec(),
    };
    events.sort_unstable();
    events.dedup();
    let publish_sample = cx.checked(&keys.publish_sample, 0.0, bounds::share);
    let publish = events.contains(&AccessEvent::Publish);
    match (keys.events.span(), keys.publish_sample.span()) {
        (Some(span), _) if publish && publish_sample == 0.0 => cx.push(
            Diagnostic::warning("`publish` is in the list, but no PUBLISH will be logged")
                .at(span)
                .label("set `publish_sample`: 1.0 = all, 0.01 = one in a hundred"),
        ),
        (_, Some(span)) if !publish && publish_sample > 0.0 => cx.push(
            Diagnostic::warning("`publish_sample` without the event `publish`")
                .at(span)
                .label("add \"publish\" to `events`"),
        ),
        _ => {}
    }
    AccessLog {
        events,
        publish_sample,
    }
}
