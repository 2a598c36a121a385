//! `[chains.NAME]`.

use super::{Named, anonymous, names, owned, places, prefixed};
use crate::context::Context;
use crate::diagnostics::Diagnostic;
use crate::file::{ChainFile, Located};
use crate::model::{Chain, Layer, MAX_CHAIN_LAYERS};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The chain of listeners that name none.
pub(super) const DEFAULT_NAME: &str = "default";

/// Checks all chains. When there is none, there is an empty one; when there are some, a
/// listener without one must not end up without rules by accident.
pub(super) fn chains(
    cx: &mut Context,
    files: &BTreeMap<String, Located<ChainFile>>,
    layers: &Named<Layer>,
) -> Named<Chain> {
    let mut chains = Named::new();
    for (name, file) in files {
        let checked = chain(cx, name, file, layers);
        chains.insert(name.clone(), (Arc::new(checked), Some(file.span.clone())));
    }
    if chains.is_empty() {
        let empty = Chain {
            name: DEFAULT_NAME.to_owned(),
            layers: Vec::new(),
        };
        chains.insert(DEFAULT_NAME.to_owned(), (Arc::new(empty), None));
    }
    chains
}

fn chain(cx: &mut Context, name: &str, file: &Located<ChainFile>, layers: &Named<Layer>) -> Chain {
    let given = cx.list(&file.value.layers).unwrap_or_default();
    if given.len() > MAX_CHAIN_LAYERS {
        let message = format!("chain `{name}` has {} layers", given.len());
        let span = file
            .value
            .layers
            .span()
            .unwrap_or_else(|| file.span.clone());
        let label = format!("at most {MAX_CHAIN_LAYERS}");
        cx.push(Diagnostic::error(message).at(span).label(label));
    }
    let mut resolved: Vec<Arc<Layer>> = Vec::new();
    for reference in &given {
        let (wanted, span) = (reference.get_ref(), reference.span());
        if resolved.iter().any(|it| it.name == *wanted) {
            let message = format!("layer `{wanted}` is twice in chain `{name}`");
            cx.push(Diagnostic::error(message).at(span).label("once is enough"));
        } else if let Some((layer, _)) = layers.get(wanted) {
            resolved.push(layer.clone());
        } else if !cx.untyped.contains(wanted) {
            names::missing(cx, "layer", wanted, span, layers);
        }
    }
    let chain = Chain {
        name: name.to_owned(),
        layers: resolved,
    };
    if let (Some(span), true) = (file.value.layers.span(), chain.layers.len() == given.len()) {
        owned::check(cx, &chain, &span);
        places::check(cx, &chain, &span);
        anonymous::check(cx, &chain, &span);
        prefixed::check(cx, &chain, &span);
    }
    chain
}
