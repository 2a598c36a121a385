//! `[chains.NAME]`: what packets pass on their way.

use crate::context::Context;
use crate::diagnostics::Diagnostic;
use crate::layer::Layer;
use crate::section::{Located, Named as Files, References, section};
use crate::validate::{Named, anonymous, names, owned, places, prefixed};
use std::sync::Arc;

/// Maximum layers in a chain; eight is more than any known deployment uses.
pub const MAX_CHAIN_LAYERS: usize = 8;

section! {
    /// A list of layers.
    Chain, ChainKeys in "[chains.NAME]" titled name, reload "at once, for connected clients too" {
        /// Names of layers, outermost first; at most 8.
        ///
        /// Packets from the client pass the first layer first, packets from the broker pass it last. The usual
        /// order: access-log, client-id, acl, topic-map.
        #[schemars(extend("maxItems" = 8))]
        layers: Vec<Arc<Layer>> as References<Layer> = [], given layers;
    }
    also {
        /// Its name.
        name: String;
    }
}

/// The chain of listeners without `chain`.
pub(crate) const DEFAULT_NAME: &str = "default";

/// Checks all chains. When there is none, there is an empty one; when there are some, a
/// listener without one must not end up without rules by accident.
pub(crate) fn chains(
    cx: &mut Context,
    files: &Files<Chain>,
    layers: &Named<Layer>,
) -> Named<Chain> {
    let mut chains = Named::new();
    for (name, file) in files.iter() {
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

fn chain(cx: &mut Context, name: &str, file: &Located<ChainKeys>, layers: &Named<Layer>) -> Chain {
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
            cx.push(
                Diagnostic::error(message)
                    .at(span)
                    .label("remove the second one"),
            );
        } else if let Some((layer, _)) = layers.get(wanted) {
            resolved.push(layer.clone());
        } else if !cx.untyped.contains(wanted) {
            names::missing(cx, "layer", wanted, span, layers);
        }
    }
    let chain = Chain::read(cx, &file.value, name.to_owned(), resolved);
    if let (Some(span), true) = (file.value.layers.span(), chain.layers.len() == given.len()) {
        owned::check(cx, &chain, &span);
        places::check(cx, &chain, &span);
        anonymous::check(cx, &chain, &span);
        prefixed::check(cx, &chain, &span);
    }
    chain
}
