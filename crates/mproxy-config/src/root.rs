//! The top of the file, and with it the whole configuration.

use crate::admin::Admin;
use crate::bans::Bans;
use crate::chain::Chain;
use crate::layer::{Layer, Layers};
use crate::listener::Listener;
use crate::log::Log;
use crate::scalar::FormatVersion;
use crate::section::{Named, Section, Setting, Sub, Tables, section};
use crate::server::Server;
use crate::upstream::Upstream;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use toml_edit::{DocumentMut, Item, value};

section! {
    /// Configuration of mproxy-server. Everything has a default: an empty file is a proxy from
    /// 127.0.0.1:1884 to mqtt://127.0.0.1:1883.
    #[schemars(title = "mproxy.toml")]
    Config, ConfigKeys in "the top of the file" {
        /// Version of the configuration format.
        version: i64 as Setting<FormatVersion> = 1, reload "there is only one value";
        /// Settings of the whole process.
        server: Server as Sub<Server>, given server;
        /// Where clients connect: as many as you like. Without any: one named `mqtt`.
        listeners: Vec<Listener> as Tables<Listener>, given listeners;
        /// The brokers, by name. Without any: `broker`, mqtt://127.0.0.1:1883.
        upstreams: BTreeMap<String, Arc<Upstream>> as Named<Upstream>, given upstreams;
        /// Chains of layers, by name. Without any: `default`, which is empty.
        chains: BTreeMap<String, Arc<Chain>> as Named<Chain>, given chains;
        /// Layers, by name. `type` decides which keys a layer has.
        layers: BTreeMap<String, Arc<Layer>> as Layers, given layers;
        /// Bans of clients that misbehave again and again.
        bans: Bans as Sub<Bans>, given bans;
        /// Health, metrics and version over HTTP.
        admin: Admin as Sub<Admin>, given admin;
        /// The log of the process.
        log: Log as Sub<Log>, given log;
    }
    reserved {
        "metrics": "metrics are served at /metrics of the admin port";
        "otel": "remove it";
    }
}

impl Config {
    /// Where the keys were written whose files are read again while the proxy runs: their problems are found
    /// long after the configuration was read.
    pub fn places(&self) -> impl Iterator<Item = Range<usize>> {
        let listeners = self.listeners.iter().filter_map(|it| it.tls.as_ref());
        let listeners = listeners.flat_map(|it| it.places.all());
        let upstreams = self.upstreams.values().filter_map(|it| it.tls.as_ref());
        let upstreams = upstreams.flat_map(|it| it.places.all());
        listeners.chain(upstreams).chain(self.admin.places.all())
    }
}

/// Shown instead of a secret.
const HIDDEN: &str = "***";

/// The effective configuration as TOML, defaults included.
///
/// `secrets` are the keys whose values came from secret files.
pub fn show(config: &Config, secrets: &BTreeSet<String>) -> String {
    let mut root = DocumentMut::from(config.show());
    for path in secrets {
        hide(root.as_item_mut(), path);
    }
    root.to_string()
}

/// Replaces the value at `path`, if it is shown.
fn hide(item: &mut Item, path: &str) {
    let mut target = item;
    for step in path.split('.') {
        let next = match (step.parse::<usize>(), target.is_table_like()) {
            (Ok(index), false) => target.get_mut(index),
            _ => target.get_mut(step),
        };
        let Some(next) = next else {
            return;
        };
        target = next;
    }
    *target = value(HIDDEN);
}
