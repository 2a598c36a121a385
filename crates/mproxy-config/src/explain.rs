//! The explanation of a key or a section for `config explain`, all from its declaration.

use crate::DEFAULT_TOML;
use crate::layer::TYPES;
use crate::root::ConfigKeys;
use crate::scalar::{closest, quoted};
use crate::section::{About, Keys, Known};
use std::fmt::Write;
use toml::{Table, Value};

/// The key that decides which keys a layer has. No section declares it.
const TYPE: &Known = &Known {
    name: "type",
    doc: "Type of the layer: it decides which keys the layer has.",
    default: "",
    expected: || format!("one of {}", quoted(TYPES.iter().copied())),
    reload: Some("at once, for connected clients too"),
    restart: None,
    inside: &[],
};

/// A key or a section.
struct Entry {
    /// The names from the top of the file. Those that operators choose are left out, and a layer stands
    /// under its type: `layers.acl.rules.topics`.
    path: Vec<&'static str>,
    /// The section around it.
    around: &'static About,
    what: What,
    /// Where it is written in config/mproxy.toml, examples included.
    written: Vec<Value>,
}

enum What {
    Key(&'static Known),
    Section(&'static About),
}

/// The paths of all keys and sections: `listeners.limits.max_pending`, `layers.acl`.
#[must_use]
pub fn key_paths() -> Vec<String> {
    entries().iter().map(|it| it.path.join(".")).collect()
}

/// Explains a key or section by its path or the end of it; names that operators choose may be in it.
/// Without a path, the top of the file.
///
/// # Errors
///
/// There is no such key. The text suggests others.
pub fn explain(path: &str) -> Result<String, String> {
    if path.is_empty() {
        return Ok(section(ConfigKeys::ABOUT, ""));
    }
    let wanted: Vec<_> = path.split('.').collect();
    let all = entries();
    let exact = all.iter().filter(|it| it.path == wanted);
    let mut found: Vec<_> = exact.collect();
    if found.is_empty() {
        found = all.iter().filter(|it| it.is_meant_by(&wanted)).collect();
    }
    if found.is_empty() {
        return Err(unknown(path, &all));
    }
    let texts: Vec<_> = found.into_iter().map(Entry::text).collect();
    Ok(texts.join("\n"))
}

fn unknown(path: &str, all: &[Entry]) -> String {
    let paths: Vec<_> = all.iter().map(|it| it.path.join(".")).collect();
    let last = path.rsplit('.').next().unwrap_or(path);
    let name = closest(last, all.iter().filter_map(|it| it.path.last().copied()));
    let named = all
        .iter()
        .zip(&paths)
        .filter(|(it, _)| name.is_some() && it.path.last().copied() == name);
    let mut near: Vec<_> = named.map(|(_, path)| &**path).collect();
    if near.is_empty() {
        near.extend(closest(path, paths.iter().map(|it| &**it)));
    }
    match near.is_empty() {
        true => format!("unknown key `{path}`; `config explain` lists the sections"),
        false => format!("unknown key `{path}`; did you mean {}?", quoted(near)),
    }
}

/// All keys and sections, in the order in which they are declared.
fn entries() -> Vec<Entry> {
    let mut all = Vec::new();
    let file = Value::Table(examples());
    add(&mut all, ConfigKeys::ABOUT, &[], &[&file]);
    all
}

/// config/mproxy.toml with its examples, which stand behind a `#` without a space.
fn examples() -> Table {
    let lines = DEFAULT_TOML
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(example) if !example.starts_with([' ', ':']) => example,
            _ => line,
        });
    let text: Vec<_> = lines.collect();
    text.join("\n").parse().unwrap_or_default()
}

fn add(all: &mut Vec<Entry>, about: &'static About, path: &[&'static str], written: &[&Value]) {
    let kind = about.layer.map(|_| TYPE);
    for key in kind.into_iter().chain(about.keys) {
        let path = [path, &[key.name]].concat();
        let values: Vec<_> = written.iter().filter_map(|it| it.get(key.name)).collect();
        let mut entry = |path: &[&'static str], what, written: &[&Value]| {
            let written = written.iter().map(|it| (*it).clone()).collect();
            let path = path.to_vec();
            all.push(Entry {
                path,
                around: about,
                what,
                written,
            });
        };
        match key.inside {
            [] => entry(&path, What::Key(key), &values),
            [only] => entry(&path, What::Section(only), &values),
            _ => entry(&path, What::Key(key), &[]),
        }
        let tables: Vec<_> = values.into_iter().flat_map(tables).collect();
        for inner in key.inside {
            let of_type = |it: &&&Value| inner.layer == it.get("type").and_then(Value::as_str);
            let Some(layer) = inner.layer else {
                add(all, inner, &path, &tables);
                continue;
            };
            let path = [&path[..], &[layer]].concat();
            let written: Vec<_> = tables.iter().filter(of_type).copied().collect();
            all.push(Entry {
                path: path.clone(),
                around: about,
                what: What::Section(inner),
                written: Vec::new(),
            });
            add(all, inner, &path, &written);
        }
    }
}

/// The tables of a section: itself, those of an array, or those that have names.
fn tables(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Table(named) if named.values().all(Value::is_table) => named.values().collect(),
        _ => vec![value],
    }
}

impl Entry {
    /// Whether a path that somebody wrote means it: some names of its own path, or these with others in
    /// between.
    fn is_meant_by(&self, wanted: &[&str]) -> bool {
        fn is_in(short: &[&str], long: &[&str]) -> bool {
            let mut long = long.iter();
            short.iter().all(|name| long.any(|it| it == name))
        }
        let typeless = |it: &&&str| !TYPES.contains(*it);
        let own: Vec<_> = self.path.iter().filter(typeless).copied().collect();
        let same_end = self.path.last() == wanted.last();
        same_end
            && (is_in(wanted, &self.path)
                || self.path.first() == wanted.first() && is_in(&own, wanted))
    }

    fn text(&self) -> String {
        let path = self.path.join(".");
        match self.what {
            What::Section(about) => section(about, &path),
            What::Key(key) => self.key(key, &path),
        }
    }

    fn key(&self, key: &Known, path: &str) -> String {
        let mut text = format!("{path}\n\n{}\n", prose(key.doc));
        if !key.inside.is_empty() {
            let layers = key
                .inside
                .iter()
                .map(|it| (it.layer.unwrap_or_default(), it.doc));
            return text + &listed(layers);
        }
        let mut line = |name: &str, value: &str| _ = writeln!(text, "{name:9} {value}");
        line("type", &(key.expected)());
        if !key.default.is_empty() {
            line("default", key.default);
        }
        match (key.restart, key.reload.or(self.around.reload)) {
            (Some(why), _) => line("on reload", &format!("takes effect after a restart: {why}")),
            (None, when) => line("on reload", when.unwrap_or("at once")),
        }
        if let Some(example) = self.example(key) {
            line("example", self.around.header);
            line("", &format!("{} = {example}", key.name));
        }
        text
    }

    /// A value from config/mproxy.toml: one that is not the default, if there is one.
    fn example(&self, key: &Known) -> Option<String> {
        let shown: Vec<_> = self.written.iter().map(Value::to_string).collect();
        let other = shown.iter().find(|it| *it != key.default);
        other.or_else(|| shown.first()).cloned()
    }
}

/// A section with its keys.
fn section(about: &About, path: &str) -> String {
    let title = match path {
        "" => String::new(),
        path => format!("{path}  {}\n\n", about.header),
    };
    let keys = about.layer.map(|_| TYPE).into_iter().chain(about.keys);
    let keys = listed(keys.map(|it| (it.name, it.doc)));
    format!("{title}{}\n{keys}", prose(about.doc))
}

/// Names with the first line of their descriptions.
fn listed(all: impl Iterator<Item = (&'static str, &'static str)> + Clone) -> String {
    let longest = all.clone().map(|(name, _)| name.len()).max().unwrap_or(0);
    let line = |(name, doc): (&str, &str)| {
        let first = doc.trim().lines().next().unwrap_or_default();
        format!("{name:longest$}  {first}\n")
    };
    all.map(line).collect()
}

/// A description without the space before each of its lines.
fn prose(doc: &str) -> String {
    doc.lines()
        .map(|line| format!("{}\n", line.trim()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_text;

    /// A file with one key of a table set to a value.
    fn with(table: &str, key: &str, value: &str) -> String {
        let websocket = match key {
            "headers"
            | "cookies"
            | "query"
            | "paths"
            | "origins"
            | "max_header_size"
            | "trust_forwarded_for" => "protocol = \"ws\"\n",
            _ => "",
        };
        let spare = "[upstreams.a]\n[upstreams.b]\n[chains.a]\n[chains.b]\n";
        let needed = |name: &str| match (table, name == key) {
            ("listeners", false) => format!("{name} = \"a\"\n"),
            _ => String::new(),
        };
        let listener = match table {
            "listeners" => format!("{websocket}{}{}", needed("upstream"), needed("chain")),
            _ => "upstream = \"a\"\nchain = \"a\"\n".to_owned(),
        };
        match table {
            "listeners" => format!("[[listeners]]\n{listener}{key} = {value}\n{spare}"),
            "listeners.limits" | "listeners.proxy_protocol" => {
                let inside = table.strip_prefix("listeners.").unwrap_or_default();
                format!("[[listeners]]\n{listener}{inside}.{key} = {value}\n{spare}")
            }
            "upstreams" | "upstreams.admission" | "upstreams.health" => {
                let inside = table.strip_prefix("upstreams").unwrap_or_default();
                format!("[[listeners]]\n{listener}{spare}[upstreams.c{inside}]\n{key} = {value}\n")
            }
            _ => format!("[[listeners]]\n{listener}{spare}[{table}]\n{key} = {value}\n"),
        }
    }

    /// Two values of a key of this type: the first of these pairs that is valid.
    const VALUES: [[&str; 2]; 18] = [
        ["\"mqtt://a.example\"", "\"mqtt://b.example\""],
        ["\"60s\"", "\"61s\""],
        ["\"2KiB\"", "\"3KiB\""],
        ["\"20KiB\"", "\"30KiB\""],
        ["\"2MiB\"", "\"3MiB\""],
        ["\"64MiB\"", "\"65MiB\""],
        ["\"1KiB/s\"", "\"2KiB/s\""],
        ["\"1/s\"", "\"2/s\""],
        ["2", "3"],
        ["true", "false"],
        ["\"127.0.0.1:1\"", "\"127.0.0.1:2\""],
        ["[\"127.0.0.1\"]", "[\"127.0.0.2\"]"],
        ["[\"/a\"]", "[\"/b\"]"],
        ["[\"mqtt://a.example\"]", "[\"mqtt://b.example\"]"],
        ["[\"https://a.example\"]", "[\"https://b.example\"]"],
        ["[\"5\"]", "[\"3.1\"]"],
        ["\"a\"", "\"b\""],
        ["\"info\"", "\"debug\""],
    ];

    /// Two values of a key whose words the texts name.
    fn words(path: &str) -> Option<[&'static str; 2]> {
        Some(match path {
            "listeners.deny_action" => ["\"close\"", "\"drop\""],
            "bans.mode" => ["\"off\"", "\"enforce\""],
            "bans.subjects" => ["[\"address\"]", "[\"username\"]"],
            "listeners.protocol" => ["\"mqtt\"", "\"ws\""],
            "listeners.conformance" => ["\"tolerant\"", "\"strict\""],
            "listeners.limits.slow_consumer" => ["\"wait\"", "\"drop-qos0\""],
            "listeners.bridges" => ["\"pass\"", "\"refuse\""],
            "listeners.receive_maximum" => ["\"pass\"", "\"enforce\""],
            "listeners.server_reference" => ["\"strip\"", "\"pass\""],
            "listeners.control_characters" => ["\"refuse\"", "\"pass\""],
            "listeners.proxy_protocol.accept" => ["\"off\"", "\"v2\""],
            "upstreams.send_proxy_protocol" => ["\"off\"", "\"v2\""],
            "upstreams.dialect" => ["\"mqtt\"", "\"amqp\""],
            "upstreams.when_unreachable" => ["\"close\"", "\"connack\""],
            "upstreams.admission.prefer" => ["\"resumed\"", "\"none\""],
            "upstreams.admission.when_full" => ["\"close\"", "\"connack\""],
            "upstreams.health.check" => ["\"tcp\"", "\"off\""],
            "server.drain_wills" => ["\"suppress\"", "\"publish\""],
            "server.drain_notice" => ["\"none\"", "\"disconnect\""],
            "log.format" => ["\"text\"", "\"json\""],
            _ => return None,
        })
    }

    /// The path of a key without the names of listeners and brokers.
    fn without_names(path: &str) -> String {
        let mut steps: Vec<_> = path.split('.').collect();
        if let ["listeners" | "upstreams", _, ..] = *steps {
            steps.remove(1);
        }
        steps.join(".")
    }

    /// What `config explain` says and what a reload does were never compared, key by key.
    #[test]
    fn the_text_on_reload_is_what_a_reload_does() {
        let all = entries();
        let tables = [
            "listeners",
            "listeners.limits",
            "listeners.proxy_protocol",
            "upstreams",
            "upstreams.health",
            "server",
            "bans",
            "bans.points",
            "admin",
            "log",
        ];
        for table in tables {
            let of_table = all.iter().filter_map(|it| {
                let (key, around) = it.path.split_last()?;
                (around.join(".") == table && matches!(it.what, What::Key(_))).then_some((it, key))
            });
            for (entry, key) in of_table {
                let path = entry.path.join(".");
                let read = |value: &&str| from_text(&with(table, key, value)).ok();
                let tried = words(&path).into_iter().chain(VALUES);
                let found = tried
                    .filter_map(|pair| Some((read(&pair[0])?, read(&pair[1])?)))
                    .find(|(old, new)| old != new);
                let (old, new) = found.unwrap_or_else(|| panic!("no two values of {path}"));
                let changes = crate::diff(&old, &new);
                let needs_restart = !changes.restart_required.is_empty();
                assert_ne!(
                    needs_restart,
                    !changes.applied.is_empty(),
                    "{path}: {changes:?}"
                );
                // by its path, with the names that the operator chose, or those of the whole table
                let told = changes.applied.iter().chain(&changes.restart_required);
                let told: Vec<_> = told.map(|it| without_names(it)).collect();
                let renamed = path == "listeners.name" || path == "listeners.protocol";
                assert!(renamed || told == [path.clone()], "{path}: {told:?}");
                let says_restart = entry.text().contains("takes effect after a restart: ");
                assert_eq!(says_restart, needs_restart, "{path}");
            }
        }
    }

    /// The server keeps of its start only the tables with a key that takes a restart: listeners,
    /// upstreams, chains and layers are not among them.
    #[test]
    fn what_takes_a_restart_is_in_server_admin_and_log_only() {
        for entry in entries() {
            if let What::Key(Known {
                restart: Some(_), ..
            }) = entry.what
            {
                let table = entry.path[0];
                assert!(
                    ["server", "admin", "log"].contains(&table),
                    "{:?}",
                    entry.path
                );
            }
        }
    }
}
