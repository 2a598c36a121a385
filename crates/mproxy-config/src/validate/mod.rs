//! Checks of tables against each other, and of values beyond their types.

pub(crate) mod anonymous;
pub(crate) mod bounds;
pub(crate) mod gaps;
pub(crate) mod levels;
pub(crate) mod names;
pub(crate) mod owned;
pub(crate) mod placeholders;
pub(crate) mod places;
pub(crate) mod prefixed;
pub(crate) mod shadow;
pub(crate) mod who;

mod admission;
mod cover;
mod cross;
mod dialects;
mod takeover;

use crate::context::Context;
use crate::environment::Environment;
use crate::root::{Config, ConfigKeys};
use crate::section::Located;
use crate::{admin, bans, chain, layer, listener, log, server, upstream};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Sections by name, and where each was written.
pub(crate) type Named<T> = BTreeMap<String, (Arc<T>, Option<Range<usize>>)>;

/// Checks everything. The result is valid only if the report has no errors afterwards.
pub(crate) fn validate(cx: &mut Context, keys: &ConfigKeys, env: &Environment) -> Config {
    let server = server::server(cx, &keys.server, env);
    let bans = bans::bans(cx, &keys.bans);
    let admin = admin::admin(cx, &keys.admin);
    let log = log::Log::read(cx, &keys.log);
    let upstreams = upstream::upstreams(cx, &keys.upstreams);
    let layers = layer::layers(cx, &keys.layers);
    let chains = chain::chains(cx, &keys.chains, &layers);
    let default = [Located::default()];
    let listeners = match &**keys.listeners {
        [] => &default,
        listeners => listeners,
    };
    let mut checked = Vec::new();
    for (number, file) in listeners.iter().enumerate() {
        checked.extend(listener::listener(cx, number, file, &upstreams, &chains));
    }
    cross::distinct(cx, listeners, &checked, &keys.admin.bind, &admin);
    admission::check(cx, listeners, &checked, &keys.server, &server);
    cross::loops(cx, &checked, &upstreams);
    dialects::check(cx, &checked, &upstreams, &keys.layers);
    cross::listeners_of_rules(cx, &keys.layers, &checked);
    takeover::check(cx, &checked);
    cross::open_doors(cx, listeners, &checked, &keys.admin.bind, &admin);
    cross::unused(cx, &checked, &upstreams, &chains, &layers);
    let listeners = checked.into_iter().map(|it| it.listener).collect();
    let (upstreams, chains, layers) = (plain(upstreams), plain(chains), plain(layers));
    Config::read(
        cx, keys, server, listeners, upstreams, chains, layers, bans, admin, log,
    )
}

fn plain<T>(named: Named<T>) -> BTreeMap<String, Arc<T>> {
    let entries = named.into_iter();
    entries.map(|(name, (value, _))| (name, value)).collect()
}
