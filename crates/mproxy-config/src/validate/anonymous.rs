//! Rules for clients without a user name, in a chain that refuses them.

use crate::chain::Chain;
use crate::context::Context;
use crate::diagnostics::Diagnostic;
use crate::layer::{AclRule, ClientIdRequire, Layer, LayerKind};
use crate::scalar::Template;
use std::ops::Range;

/// Warns about the first rule for clients without a user name that never applies, because another
/// layer of the chain refuses them.
pub(crate) fn check(cx: &mut Context, chain: &Chain, span: &Range<usize>) {
    let mut layers = chain.layers.iter();
    let Some(refusing) = layers.find(|layer| refuses(layer)) else {
        return;
    };
    let rules = chain.layers.iter().filter_map(|layer| match &layer.kind {
        LayerKind::Acl(acl) => Some(acl.rules.iter().map(|rule| (&layer.name, rule))),
        _ => None,
    });
    let mut anonymous = rules.flatten().filter(|(_, rule)| is_for_anonymous(rule));
    if let Some((acl, rule)) = anonymous.next() {
        let message = format!(
            "rule `{}` of `{acl}` never applies in chain `{}`",
            rule.name, chain.name
        );
        let label = format!("`{}` refuses clients without a user name", refusing.name);
        let note = "give clients without a user name a listener and a chain of their own, with a layer of \
            type \"client-id\" and `prefix = \":\"`, so that they cannot use the client id of a user";
        let warning = Diagnostic::warning(message).at(span.clone());
        cx.push(warning.label(label).note(note));
    }
}

fn is_for_anonymous(rule: &AclRule) -> bool {
    rule.who.anonymous == Some(true)
}

/// True for a layer that refuses clients without a user name.
fn refuses(layer: &Layer) -> bool {
    let needs = |template: &Template| template.as_str().contains("${username}");
    match &layer.kind {
        LayerKind::ClientId(ids) => {
            let by_name = matches!(
                ids.require,
                ClientIdRequire::EqualsUsername | ClientIdRequire::PrefixUsername
            );
            by_name || ids.template.iter().chain(&ids.prefix).any(needs)
        }
        LayerKind::TopicMap(map) => {
            let mut rules = map.rules.iter().map(|rule| &rule.to).chain(&map.prefix);
            // super clients are never mapped
            map.super_clients.client_ids.is_empty() && rules.any(needs)
        }
        _ => false,
    }
}
