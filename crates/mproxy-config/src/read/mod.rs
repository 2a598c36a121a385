//! From the merged document to a [`File`]: the tables, their keys, no values yet.

mod fields;
mod reserved;
mod section;

pub(crate) use section::Section;

use self::reserved::reserved_type;
use super::context::Context;
use super::file::{
    AccessLogFile, AclFile, ChainFile, ClientIdFile, File, HealthFile, LayerFile, ListenerFile,
    Located, MapRuleFile, PropertyEditFile, RuleFile, SuperFile, ToClientFile, TopicMapFile,
    UpstreamFile,
};
use super::scalar::{closest, quoted};
use crate::diagnostics::Diagnostic;
use section::Keys;
use std::collections::BTreeMap;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The values of `type` in `[layers.NAME]`.
const LAYER_TYPES: [&str; 5] = [
    "access-log",
    "acl",
    "topic-map",
    "client-id",
    "property-edit",
];

type Table<'t> = Spanned<DeTable<'t>>;

/// A table that carries its name as a key, with the place of the name.
type Named<'t> = (String, Range<usize>, Table<'t>);

/// Reads the whole document.
pub(super) fn read(cx: &mut Context, mut root: Table<'_>) -> File {
    let server = cx.take_table(&mut root, "server", "[server]");
    let listeners = cx.take_tables(&mut root, "listeners", "[[listeners]]");
    let upstreams = cx.take_named(&mut root, "upstreams");
    let chains = cx.take_named(&mut root, "chains");
    let layers = cx.take_named(&mut root, "layers");
    let admin = cx.take_table(&mut root, "admin", "[admin]");
    let log = cx.take_table(&mut root, "log", "[log]");
    File {
        server: cx.optional(server),
        listeners: listeners.into_iter().map(|it| listener(cx, it)).collect(),
        upstreams: named(cx, upstreams, |cx, name, it| Some(upstream(cx, name, it))),
        chains: named(cx, chains, |cx, _, it| Some(cx.section::<ChainFile>(it))),
        layers: named(cx, layers, layer),
        admin: cx.optional(admin),
        log: cx.optional(log),
        ..cx.section(root)
    }
}

fn listener(cx: &mut Context, mut table: Table<'_>) -> Located<ListenerFile> {
    let span = table.span();
    let limits = cx.take_table(&mut table, "limits", Section::Limits.header());
    let value = ListenerFile {
        limits: cx.optional(limits),
        ..cx.section(table)
    };
    Located { span, value }
}

fn upstream(cx: &mut Context, name: &str, mut table: Table<'_>) -> UpstreamFile {
    let mut header = format!("[upstreams.{name}.health]");
    let given = table.get_ref().get("health").map(Spanned::get_ref);
    if let Some(check) = given.and_then(DeValue::as_str) {
        header += &format!(" with `check = \"{check}\"`");
    }
    let health = cx.take_table(&mut table, "health", &header);
    UpstreamFile {
        health: cx.optional::<HealthFile>(health),
        ..cx.section(table)
    }
}

fn layer(cx: &mut Context, name: &str, mut table: Table<'_>) -> Option<LayerFile> {
    let kind = layer_type(cx, &mut table)?;
    let rules_header = format!("[[layers.{name}.rules]]");
    Some(match &*kind {
        "access-log" => LayerFile::AccessLog(cx.section::<AccessLogFile>(table)),
        "topic-map" => {
            let super_clients =
                cx.take_table(&mut table, "super", &format!("[layers.{name}.super]"));
            let rules = cx.located::<MapRuleFile>(&mut table, "rules", &rules_header);
            LayerFile::TopicMap(Box::new(TopicMapFile {
                rules,
                super_clients: cx.optional::<SuperFile>(super_clients),
                ..cx.section(table)
            }))
        }
        "client-id" => LayerFile::ClientId(Box::new(cx.section::<ClientIdFile>(table))),
        "property-edit" => {
            let to_client = cx.take_table(
                &mut table,
                "to_client",
                &format!("[layers.{name}.to_client]"),
            );
            LayerFile::PropertyEdit(Box::new(PropertyEditFile {
                to_client: cx.optional::<ToClientFile>(to_client),
                ..cx.section(table)
            }))
        }
        _ => {
            let rules = cx.located::<RuleFile>(&mut table, "rules", &rules_header);
            LayerFile::Acl(Box::new(AclFile {
                rules,
                ..cx.section(table)
            }))
        }
    })
}

/// Takes `type` out of a layer's table; anything but one of [`LAYER_TYPES`] is reported.
fn layer_type(cx: &mut Context, table: &mut Table<'_>) -> Option<String> {
    let header = table.span();
    let Some(kind) = table.get_mut().remove("type") else {
        let label = format!("expected one of {}", quoted(LAYER_TYPES));
        cx.push(
            Diagnostic::error("a layer without `type`")
                .at(header)
                .label(label),
        );
        return None;
    };
    let span = kind.span();
    let DeValue::String(name) = kind.into_inner() else {
        let label = format!("expected one of {}", quoted(LAYER_TYPES));
        cx.push(
            Diagnostic::error("wrong type of value")
                .at(span)
                .label(label),
        );
        return None;
    };
    if LAYER_TYPES.contains(&&*name) {
        return Some(name.into_owned());
    }
    let (message, label) = if reserved_type(&name) {
        let message = format!("layer type `{name}` is not available in this version");
        (message, format!("there are {}", quoted(LAYER_TYPES)))
    } else if let Some(near) = closest(&name, LAYER_TYPES) {
        (
            format!("unknown layer type `{name}`"),
            format!("did you mean `{near}`?"),
        )
    } else {
        let label = format!("expected one of {}", quoted(LAYER_TYPES));
        (format!("unknown layer type `{name}`"), label)
    };
    cx.push(Diagnostic::error(message).at(span).label(label));
    None
}

/// Reads tables that carry their name as a key.
fn named<'t, T>(
    cx: &mut Context,
    tables: Vec<Named<'t>>,
    mut read: impl FnMut(&mut Context, &str, Table<'t>) -> Option<T>,
) -> BTreeMap<String, Located<T>> {
    let mut out = BTreeMap::new();
    for (name, span, table) in tables {
        match read(cx, &name, table) {
            Some(value) => _ = out.insert(name, Located { span, value }),
            None => _ = cx.untyped.insert(name),
        }
    }
    out
}

impl Context {
    /// Reads a table that may be missing.
    fn optional<T: Keys>(&mut self, table: Option<Table<'_>>) -> T {
        table.map_or_else(T::default, |it| self.section(it))
    }

    /// Reads the tables of `[[key]]` in a table, each with its place.
    fn located<T: Keys>(
        &mut self,
        table: &mut Table<'_>,
        key: &str,
        header: &str,
    ) -> Vec<Located<T>> {
        let tables = self.take_tables(table, key, header).into_iter();
        let located = tables.map(|it| Located {
            span: it.span(),
            value: self.section(it),
        });
        located.collect()
    }

    /// Takes the table of a key out of a table; `header` is how one writes it.
    fn take_table<'t>(
        &mut self,
        table: &mut Table<'t>,
        key: &str,
        header: &str,
    ) -> Option<Table<'t>> {
        let value = table.get_mut().remove(key)?;
        self.table(value, &format!("write it as {header}"))
    }

    /// Takes `[[key]]` out of a table.
    fn take_tables<'t>(
        &mut self,
        table: &mut Table<'t>,
        key: &str,
        header: &str,
    ) -> Vec<Table<'t>> {
        let Some(value) = table.get_mut().remove(key) else {
            return Vec::new();
        };
        let hint = format!("write it as {header}");
        let span = value.span();
        let DeValue::Array(items) = value.into_inner() else {
            self.push(
                Diagnostic::error("expected an array of tables")
                    .at(span)
                    .label(hint),
            );
            return Vec::new();
        };
        let tables = items.into_iter().filter_map(|it| self.table(it, &hint));
        tables.collect()
    }

    /// Takes `[key.NAME]` for all names out of a table, each with the place of its name.
    fn take_named<'t>(&mut self, table: &mut Table<'t>, key: &str) -> Vec<Named<'t>> {
        let hint = format!("write it as [{key}.NAME]");
        let Some(outer) = table.get_mut().remove(key) else {
            return Vec::new();
        };
        let Some(outer) = self.table(outer, &hint) else {
            return Vec::new();
        };
        let mut out = Vec::new();
        for (name, value) in outer.into_inner() {
            let span = name.span();
            if let Some(inner) = self.table(value, &hint) {
                out.push((name.into_inner().into_owned(), span, inner));
            }
        }
        out
    }

    fn table<'t>(&mut self, value: Spanned<DeValue<'t>>, hint: &str) -> Option<Table<'t>> {
        let span = value.span();
        if let DeValue::Table(table) = value.into_inner() {
            return Some(Spanned::new(span, table));
        }
        self.push(Diagnostic::error("expected a table").at(span).label(hint));
        None
    }
}
