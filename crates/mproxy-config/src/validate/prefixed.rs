//! Client ids in the layers after one that prefixes all of them.

use crate::chain::Chain;
use crate::context::Context;
use crate::diagnostics::Diagnostic;
use crate::layer::{Layer, LayerKind};
use crate::scalar::Template;
use std::ops::Range;

/// Warns about client ids that no client has at that place of the chain. A rule that denies something to
/// `dev1` denies nothing after a layer that changes it to `acme:dev1`.
pub(crate) fn check(cx: &mut Context, chain: &Chain, span: &Range<usize>) {
    let mut before: Option<(&str, &Template)> = None;
    for layer in &chain.layers {
        if let Some((prefixing, prefix)) = before
            && let Some((key, id)) = named(layer).find(|(_, id)| !may_begin(id, prefix.as_str()))
        {
            let message = format!(
                "`{}` names a client id that no client has in chain `{}`",
                layer.name, chain.name
            );
            let label = format!("after `{prefixing}`, every id begins with `{prefix}`");
            let note = format!("`{id}` in `{key}` does not: add the prefix");
            let warning = Diagnostic::warning(message).at(span.clone());
            cx.push(warning.label(label).note(note));
        }
        if let LayerKind::ClientId(ids) = &layer.kind
            && let Some(prefix) = &ids.prefix
        {
            before = Some((&layer.name, prefix));
        }
    }
}

/// The client ids in a layer, each with its key.
fn named(layer: &Layer) -> Box<dyn Iterator<Item = (&'static str, &str)> + '_> {
    match &layer.kind {
        LayerKind::Acl(acl) => {
            let ids = acl.rules.iter().flat_map(|rule| &rule.who.client_ids);
            Box::new(ids.map(|id| ("client_ids", id.as_str())))
        }
        LayerKind::TopicMap(map) => {
            let ids = map.super_clients.client_ids.iter();
            Box::new(ids.map(|id| ("super.client_ids", id.as_str())))
        }
        _ => Box::new(std::iter::empty()),
    }
}

/// True when an id can be what this prefix is put before; a placeholder in it stands for any text that
/// is not empty, and something follows.
fn may_begin(id: &str, prefix: &str) -> bool {
    let mut literals = prefix.split("${");
    let first = literals.next().unwrap_or_default();
    let Some(mut rest) = id.strip_prefix(first) else {
        return false;
    };
    for after in literals {
        let literal = after.split_once('}').map_or(after, |(_, literal)| literal);
        let mut name = rest.chars();
        if name.next().is_none() {
            return false;
        }
        rest = match name.as_str().split_once(literal) {
            Some((_, rest)) => rest,
            None => return false,
        };
    }
    !rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::may_begin;

    #[test]
    fn an_id_has_what_is_put_before_it() {
        for (id, prefix, may) in [
            ("acme:dev1", "${username}:", true),
            ("dev1", "${username}:", false),
            (":dev1", "${username}:", false),
            ("acme:", "${username}:", false),
            ("edge-1", "edge-", true),
            ("edge-", "edge-", false),
            ("edg", "edge-", false),
            ("x-acme/cn:1", "x-${username}/${cn}:", true),
            ("x-acme:1", "x-${username}/${cn}:", false),
            ("ü:1", "${username}:", true),
            ("", "${username}:", false),
        ] {
            assert_eq!(may_begin(id, prefix), may, "{id} {prefix}");
        }
    }
}
