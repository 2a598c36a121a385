//! From what was written to what is meant: values are checked, one by one and beside each
//! other, defaults filled in, references resolved.

mod acl;
mod admission;
mod anonymous;
mod bounds;
mod chain;
mod client_id;
mod cover;
mod cross;
mod dialects;
mod gaps;
mod layer;
mod levels;
mod listener;
mod names;
mod owned;
mod placeholders;
mod places;
mod prefixed;
mod property_edit;
mod server;
mod shadow;
mod takeover;
mod topic_map;
mod upstream;
mod who;

use super::context::Context;
use super::environment::Environment;
use super::file::{File, Located};
use super::model::Config;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Things with names, and where each was written.
type Named<T> = BTreeMap<String, (Arc<T>, Option<Range<usize>>)>;

/// Checks everything. Meaningful only when the report holds no errors afterwards.
pub(super) fn validate(cx: &mut Context, file: File, env: &Environment) -> Config {
    cx.given(&file.version);
    let server = server::server(cx, &file.server, env);
    let admin = server::admin(cx, &file.admin);
    let log = server::log(cx, &file.log);
    let upstreams = upstream::upstreams(cx, &file.upstreams);
    let layers = layer::layers(cx, &file.layers);
    let chains = chain::chains(cx, &file.chains, &layers);
    let default = [Located::default()];
    let listeners = match &*file.listeners {
        [] => &default,
        listeners => listeners,
    };
    let mut checked = Vec::new();
    for (number, listener) in listeners.iter().enumerate() {
        checked.extend(listener::listener(
            cx, number, listener, &upstreams, &chains,
        ));
    }
    cross::distinct(cx, listeners, &checked, &file.admin.bind, &admin);
    admission::check(cx, listeners, &checked, &file.server, &server);
    cross::loops(cx, &checked, &upstreams);
    dialects::check(cx, &checked, &upstreams, &file.layers);
    cross::listeners_of_rules(cx, &file.layers, &checked);
    takeover::check(cx, &checked);
    cross::open_doors(cx, listeners, &checked, &file.admin.bind, &admin);
    cross::unused(cx, &checked, &upstreams, &chains, &layers);
    Config {
        server,
        listeners: checked.into_iter().map(|it| it.listener).collect(),
        upstreams: plain(upstreams),
        chains: plain(chains),
        layers: plain(layers),
        admin,
        log,
    }
}

fn plain<T>(named: Named<T>) -> BTreeMap<String, Arc<T>> {
    let entries = named.into_iter();
    entries.map(|(name, (value, _))| (name, value)).collect()
}
