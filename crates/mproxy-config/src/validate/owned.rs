//! Client names that rules use, but nothing checks.

use crate::chain::Chain;
use crate::context::Context;
use crate::diagnostics::Diagnostic;
use crate::layer::{Acl, ClientId, Layer, LayerKind, PropertyEdit, TopicMap};
use crate::scalar::Template;
use std::ops::Range;

/// Warns about a chain whose rules use client names while any client can use the client id of
/// another: it is judged as that client, or ends its session and takes its queued messages.
///
/// The broker checks user names, and refuses the CONNECT before any packet has passed. Nothing checks
/// client ids, unless a `client-id` layer does. `require = "any"` says that this is
/// intended.
pub(crate) fn check(cx: &mut Context, chain: &Chain, span: &Range<usize>) {
    let layers = &chain.layers;
    let used = |name: Name| {
        let mut layers = layers.iter().enumerate();
        layers.find_map(|(place, layer)| Some((place, layer, written(layer, name)?)))
    };
    let owned = layers.iter().any(|layer| says_whose(layer));
    if owned {
        return;
    }
    let message = format!(
        "any client of chain `{}` can use the client id of another",
        chain.name
    );
    let warning = Diagnostic::warning(message).at(span.clone());
    if let Some((place, layer, text)) = used(Name::ClientId) {
        let before = layers.iter().take(place);
        let Some(prefixing) = layers.iter().find(|layer| has_prefix(layer)) else {
            let label = format!("{}, which any client can claim", goes_by(layer, text));
            return cx.push(warning.label(label).note(REMEDY));
        };
        if !before.into_iter().any(|layer| has_prefix(layer)) {
            let label = format!("{}, as the client sent it", goes_by(layer, text));
            let note = format!(
                "put `{}` before `{}`: layers after it see the prefix",
                prefixing.name, layer.name
            );
            cx.push(warning.label(label).note(note));
        }
    } else if let Some((_, layer, text)) = used(Name::Other)
        && !layers.iter().any(|layer| has_prefix(layer))
    {
        let label = format!(
            "{}, but the broker finds a session and its queued messages by client id",
            goes_by(layer, text)
        );
        let remedy = match text {
            "anonymous" => REMEDY_ANONYMOUS,
            _ => REMEDY,
        };
        cx.push(warning.label(label).note(remedy));
    }
}

const REMEDY: &str = "add a layer of type \"client-id\" before it, with `require = \"prefix-username\"` \
     or `prefix = \"${username}:\"`; write `require = \"any\"` if this is intended";

/// Each of these layers refuses clients without a user name.
const REMEDY_ANONYMOUS: &str = "give clients without a user name a listener and a chain of their own, with \
     a layer of type \"client-id\" and `prefix = \":\"`, and those with one a layer with `prefix = \
     \"${username}:\"`; write `require = \"any\"` if this is intended";

/// What a rule identifies clients by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    ClientId,
    /// The user name, or that of a certificate, or what else a client is and another is not.
    Other,
}

fn goes_by(layer: &Layer, text: &str) -> String {
    let verb = match layer.kind {
        LayerKind::TopicMap(_) => "maps",
        LayerKind::PropertyEdit(_) => "tells receivers the sender",
        _ => "judges",
    };
    format!("`{}` {verb} by `{text}`", layer.name)
}

/// How a layer that judges, maps or tells names the client, if it does.
fn written(layer: &Layer, name: Name) -> Option<&'static str> {
    match &layer.kind {
        LayerKind::Acl(acl) => in_rules(acl, name),
        LayerKind::TopicMap(map) => in_map(map, name),
        LayerKind::PropertyEdit(edits) => in_edits(edits, name),
        _ => None,
    }
}

fn in_rules(acl: &Acl, name: Name) -> Option<&'static str> {
    acl.rules.iter().find_map(|rule| {
        let mut patterns = rule.topics.iter().chain(&rule.filters);
        let who = &rule.who;
        let key = match name {
            Name::ClientId => (!who.client_ids.is_empty()).then_some("client_ids"),
            Name::Other if !who.usernames.is_empty() => Some("usernames"),
            Name::Other if who.anonymous.is_some() => Some("anonymous"),
            Name::Other if !who.networks.is_empty() => Some("networks"),
            Name::Other => (!who.listeners.is_empty()).then_some("listeners"),
        };
        patterns.find_map(|it| placeholder(it, name)).or(key)
    })
}

fn in_map(map: &TopicMap, name: Name) -> Option<&'static str> {
    let rules = map.rules.iter().map(|rule| &rule.to);
    let mut templates = rules.chain(&map.prefix);
    let key = match name {
        Name::ClientId => (!map.super_clients.client_ids.is_empty()).then_some("super.client_ids"),
        Name::Other => (!map.super_clients.usernames.is_empty()).then_some("super.usernames"),
    };
    templates.find_map(|it| placeholder(it, name)).or(key)
}

/// Receivers trust what a property says about the sender. A user name is true: the broker checked it.
fn in_edits(edits: &PropertyEdit, name: Name) -> Option<&'static str> {
    let mut values = edits.set.iter().chain(&edits.add);
    values.find_map(|(_, it)| placeholder(it, name).filter(|_| name == Name::ClientId))
}

fn placeholder(template: &Template, name: Name) -> Option<&'static str> {
    let words: &[&str] = match name {
        Name::ClientId => &["${client_id}"],
        Name::Other => &["${username}", "${cn}"],
    };
    let mut words = words.iter().copied();
    words.find(|word| template.as_str().contains(word))
}

/// True for a layer that checks client ids, or says that it is intended not to.
fn says_whose(layer: &Layer) -> bool {
    let LayerKind::ClientId(ids) = &layer.kind else {
        return false;
    };
    let any = ids.required().is_ok_and(|required| required.names_nobody());
    !any || ids.any_is_wanted
}

/// True for a layer with which two users never have the same client id at the broker.
fn has_prefix(layer: &Layer) -> bool {
    matches!(&layer.kind, LayerKind::ClientId(ClientId { prefix: Some(prefix), .. })
        if prefix.as_str().contains("${"))
}
