//! A configuration as TOML, defaults included, secrets hidden.

use super::model::{
    AccessLog, Acl, AclRule, Choice, ClientId, ClientIdRequire, Config, Layer, LayerKind, Listener,
    PropertyEdits, Rate, TopicMap, TopicMapRule, Transport, Upstream,
};
use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::time::Duration;
use toml_edit::{Array, ArrayOfTables, DocumentMut, Item, Table, Value, value};

/// What stands in the place of a secret.
const HIDDEN: &str = "***";

/// The effective configuration.
///
/// `secrets` are the keys whose values came from secret files.
pub fn show(config: &Config, secrets: &BTreeSet<String>) -> String {
    let mut root = DocumentMut::new();
    root["version"] = value(1);
    root["server"] = Item::Table(server(config));
    let listeners: ArrayOfTables = config.listeners.iter().map(listener).collect();
    root["listeners"] = Item::ArrayOfTables(listeners);
    let upstreams = config.upstreams.iter();
    root["upstreams"] = named(upstreams.map(|(name, it)| (name, upstream(it))));
    root["chains"] = named(config.chains.iter().map(|(name, chain)| {
        let mut table = Table::new();
        table["layers"] = strings(chain.layers.iter().map(|it| it.name.as_str()));
        (name, table)
    }));
    if !config.layers.is_empty() {
        let layers = config.layers.iter();
        root["layers"] = named(layers.map(|(name, it)| (name, layer(it))));
    }
    let bind = config.admin.bind.map(|it| it.to_string());
    root["admin"] = Item::Table(Table::from_iter([("bind", bind.unwrap_or_default())]));
    root["log"] = Item::Table(log(config));
    for path in secrets {
        hide(root.as_item_mut(), path);
    }
    root.to_string()
}

fn log(config: &Config) -> Table {
    let mut table = Table::new();
    table["level"] = value(&config.log.level);
    table["format"] = value(config.log.format.word());
    table["max_rate"] = rate(config.log.max_rate);
    table
}

fn server(config: &Config) -> Table {
    let server = &config.server;
    let mut table = Table::new();
    table["name"] = value(&server.name);
    table["worker_threads"] = count(server.worker_threads);
    table["max_connections"] = count(server.max_connections);
    table["memory"] = server.memory.map_or_else(|| value("auto"), size);
    table["drain_timeout"] = duration(server.drain_timeout);
    table["drain_wills"] = value(server.drain_wills.word());
    table["drain_notice"] = value(server.drain_notice.word());
    table["raise_fd_limit"] = value(server.raise_fd_limit);
    table
}

fn listener(listener: &Listener) -> Table {
    let mut table = Table::new();
    table["name"] = value(&listener.name);
    table["bind"] = value(listener.bind.to_string());
    table["protocol"] = value(listener.transport.name().word());
    if let Transport::Ws {
        paths,
        origins,
        max_header_size,
    } = &listener.transport
    {
        table["paths"] = strings(paths.iter().map(String::as_str));
        table["origins"] = strings(origins.iter().map(String::as_str));
        table["max_header_size"] = size(*max_header_size as u64);
    }
    table["tcp_keepalive"] = duration(listener.tcp_keepalive.unwrap_or_default());
    table["upstream"] = value(&listener.upstream.name);
    table["chain"] = value(&listener.chain.name);
    table["versions"] = words(&listener.versions);
    table["conformance"] = value(listener.conformance.word());
    table["bridges"] = value(listener.bridges.word());
    table["receive_maximum"] = value(listener.receive_maximum.word());
    table["server_reference"] = value(listener.server_reference.word());
    table["control_characters"] = value(listener.control_characters.word());
    let limits = &listener.limits;
    let mut keys = Table::new();
    keys["connect_timeout"] = duration(limits.connect_timeout);
    keys["packet_timeout"] = duration(limits.packet_timeout);
    keys["write_timeout"] = duration(limits.write_timeout);
    keys["max_packet_size"] = size(u64::from(limits.max_packet_size));
    keys["max_connect_size"] = size(limits.max_connect_size as u64);
    keys["max_held_packet"] = size(limits.max_held_packet as u64);
    keys["max_connections"] = count(limits.max_connections);
    keys["max_connections_per_ip"] = count(limits.max_connections_per_ip);
    keys["connection_rate_per_ip"] = rate(limits.connection_rate_per_ip);
    keys["max_pending_per_ip"] = count(limits.max_pending_per_ip);
    keys["ipv6_prefix"] = value(i64::from(limits.ipv6_prefix));
    keys["max_pending"] = count(limits.max_pending);
    keys["connection_rate"] = rate(limits.connection_rate);
    keys["keepalive_grace"] = value(limits.keepalive_grace);
    let longest = Duration::from_secs(limits.max_keepalive.into());
    keys["max_keepalive"] = duration(longest);
    keys["max_replies"] = size(limits.max_replies as u64);
    keys["max_topic_levels"] = count(Some(limits.max_topic_levels));
    keys["max_filters"] = count(Some(limits.max_filters));
    keys["max_denials"] = rate(limits.max_denials);
    table["limits"] = Item::Table(keys);
    table
}

fn upstream(upstream: &Upstream) -> Table {
    let mut table = Table::new();
    table["address"] = value(upstream.address.to_string());
    table["dialect"] = value(upstream.dialect.word());
    table["connect_timeout"] = duration(upstream.connect_timeout);
    table["connack_timeout"] = duration(upstream.connack_timeout);
    table["tcp_nodelay"] = value(upstream.tcp_nodelay);
    table["tcp_keepalive"] = duration(upstream.tcp_keepalive.unwrap_or_default());
    table["when_unreachable"] = value(upstream.when_unreachable.word());
    let mut health = Table::new();
    health["check"] = value(upstream.health.check.word());
    health["interval"] = duration(upstream.health.interval);
    table["health"] = Item::Table(health);
    table
}

fn layer(layer: &Layer) -> Table {
    let mut table = Table::new();
    table["type"] = value(layer.kind.name());
    match &layer.kind {
        LayerKind::AccessLog(AccessLog {
            events,
            publish_sample,
        }) => {
            table["events"] = words(events);
            table["publish_sample"] = value(*publish_sample);
        }
        LayerKind::Acl(acl) => access_list(&mut table, acl),
        LayerKind::TopicMap(map) => topic_map(&mut table, map),
        LayerKind::ClientId(ids) => client_id(&mut table, ids),
        LayerKind::PropertyEdit(edits) => {
            property_edits(&mut table, &edits.to_server);
            table["reauthentication"] = value(edits.reauthentication.word());
            let mut to_client = Table::new();
            property_edits(&mut to_client, &edits.to_client);
            table["to_client"] = Item::Table(to_client);
        }
    }
    table
}

fn access_list(table: &mut Table, acl: &Acl) {
    table["default"] = value(acl.default.word());
    table["subscribe"] = value(acl.subscribe.word());
    table["on_deny"] = value(acl.on_deny.word());
    table["will"] = value(acl.will.word());
    table["check_response_topics"] = value(acl.check_response_topics);
    table["vendor"] = words(&acl.vendor);
    table["reauthentication"] = value(acl.reauthentication.word());
    if !acl.rules.is_empty() {
        table["rules"] = Item::ArrayOfTables(acl.rules.iter().map(rule).collect());
    }
}

fn topic_map(table: &mut Table, map: &TopicMap) {
    if let Some(prefix) = &map.prefix {
        table["prefix"] = value(prefix.as_str());
    }
    table["will"] = value(map.will.word());
    table["vendor"] = words(&map.vendor);
    table["group_prefix"] = value(map.group_prefix);
    table["reauthentication"] = value(map.reauthentication.word());
    let mut clients = Table::new();
    clients["usernames"] = strings(map.super_usernames.iter().map(String::as_str));
    clients["client_ids"] = strings(map.super_client_ids.iter().map(String::as_str));
    table["super"] = Item::Table(clients);
    if !map.rules.is_empty() {
        table["rules"] = Item::ArrayOfTables(map.rules.iter().map(map_rule).collect());
    }
}

fn client_id(table: &mut Table, ids: &ClientId) {
    table["require"] = value(ids.require.word());
    match ids.require {
        ClientIdRequire::PrefixUsername => table["separator"] = value(&ids.separator),
        ClientIdRequire::Template | ClientIdRequire::Any | ClientIdRequire::EqualsUsername => {}
    }
    for (key, template) in [("template", &ids.template), ("prefix", &ids.prefix)] {
        if let Some(template) = template {
            table[key] = value(template.as_str());
        }
    }
    table["generate"] = value(ids.generate);
}

fn property_edits(table: &mut Table, edits: &PropertyEdits) {
    table["strip"] = strings(edits.strip.iter().map(String::as_str));
    for (key, properties) in [("set", &edits.set), ("add", &edits.add)] {
        let mut named = Table::new();
        for (name, template) in properties {
            named[name] = value(template.as_str());
        }
        if !named.is_empty() {
            table[key] = Item::Table(named);
        }
    }
}

fn map_rule(rule: &TopicMapRule) -> Table {
    let mut table = Table::new();
    table["from"] = value(rule.from.as_str());
    table["to"] = value(rule.to.as_str());
    table["shared"] = value(rule.shared);
    if rule.shared {
        table["writable"] = value(rule.writable);
    }
    table
}

fn rule(rule: &AclRule) -> Table {
    let mut table = Table::new();
    table["name"] = value(&rule.name);
    table[if rule.allow { "allow" } else { "deny" }] = words(&rule.actions);
    for (key, patterns) in [("topics", &rule.topics), ("filters", &rule.filters)] {
        if !patterns.is_empty() {
            table[key] = strings(patterns.iter().map(|it| it.as_str()));
        }
    }
    let who = &rule.who;
    for (key, names) in [
        ("usernames", &who.usernames),
        ("client_ids", &who.client_ids),
        ("listeners", &who.listeners),
    ] {
        if !names.is_empty() {
            table[key] = strings(names.iter().map(String::as_str));
        }
    }
    if let Some(anonymous) = who.anonymous {
        table["anonymous"] = value(anonymous);
    }
    if !who.networks.is_empty() {
        let networks = who.networks.iter().map(|it| Value::from(it.to_string()));
        table["networks"] = Item::Value(Value::Array(networks.collect()));
    }
    table.decor_mut().set_prefix(format!("\n# {}\n", rule.at));
    table
}

/// Replaces the value at `path`, if this program shows it at all.
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

fn named<'a>(tables: impl Iterator<Item = (&'a String, Table)>) -> Item {
    let mut outer = Table::new();
    outer.set_implicit(true);
    for (name, table) in tables {
        outer.insert(name, Item::Table(table));
    }
    Item::Table(outer)
}

fn words<T: Choice>(list: &[T]) -> Item {
    strings(list.iter().map(|it| it.word()))
}

fn strings<'a>(list: impl Iterator<Item = &'a str>) -> Item {
    Item::Value(Value::Array(list.collect::<Array>()))
}

fn count(number: Option<NonZeroUsize>) -> Item {
    value(number.map_or(0, |it| i64::try_from(it.get()).unwrap_or(i64::MAX)))
}

fn rate(rate: Option<Rate>) -> Item {
    value(rate.map_or_else(|| "0/s".to_owned(), |it| it.to_string()))
}

fn duration(duration: Duration) -> Item {
    value(humantime::format_duration(duration).to_string())
}

/// In the largest unit that says it exactly.
fn size(bytes: u64) -> Item {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let exact = units
        .iter()
        .find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit));
    value(match exact {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None => format!("{bytes}B"),
    })
}
