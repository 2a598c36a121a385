//! `[layers.NAME]`: what a chain consists of. Each type of layer is one file in here and one line in
//! [`for_each_layer!`].

mod access_log;
mod acl;
mod client_id;
mod property_edit;
mod publish_rules;
mod topic_map;

pub use access_log::{AccessEvent, AccessLog};
pub use acl::{Acl, AclRule, AclWho};
pub use client_id::{ClientId, ClientIdRequire};
pub use property_edit::{PropertyEdit, PropertyEdits};
pub use publish_rules::{PublishRule, PublishRules};
pub use topic_map::{SuperClients, TopicMap, TopicMapRule};

pub(crate) use acl::{AclKeys, RuleKeys};
pub(crate) use topic_map::TopicMapKeys;

use crate::choice::words;
use crate::context::Context;
use crate::diagnostics::Diagnostic;
use crate::diff::Path;
use crate::scalar::{closest, quoted};
use crate::section::{About, Key, Keys, Located, Section, Table, Titled};
use crate::validate::Named;
use mproxy_codec::topic::Dialect;
use mproxy_layers::Observer;
use mproxy_session::BoxError;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::{Deref, Range};
use std::sync::Arc;
use toml::de::DeValue;
use toml_edit::{Item, value};

/// The table of layer types. Calls `callback!` with one line for each: its name here, and the
/// directions in which it looks at packets.
///
/// ```text
/// Acl, to_server Acl, to_client Acl;
/// ClientId, to_client ClientId;
/// ```
/// The program makes its layers, chains and packet services from it: in its own crate, which is
/// compiled for speed.
#[macro_export]
macro_rules! for_each_layer {
    ($callback:ident) => {
        $callback! {
            AccessLog, to_server AccessLog, to_client AccessLog;
            Acl, to_server Acl, to_client Acl;
            TopicMap, to_server TopicMap, to_client TopicMap;
            ClientId, to_client ClientId;
            PropertyEdit, to_server PropertyEdit, to_client PropertyEdit;
            PublishRules, to_server PublishRules;
        }
    };
}

/// The settings of a layer, and what it is made into.
pub trait LayerConfig: Clone + Debug + PartialEq {
    /// The value of `type`.
    const TYPE: &'static str;

    /// Whether it judges by the identity of clients, so that using another's client id pays.
    const JUDGES: bool = false;

    /// Whether it refuses clients for their wills.
    const REFUSES_WILLS: bool = false;

    /// The layer of the CONNECT stage, which reports to an observer.
    type Layer<O: Observer>;

    /// The service for packets of the client, around `S`; `S` itself if it looks at none.
    type ToServer<S, O: Observer>;

    /// The service for packets of the broker, around `S`; `S` itself if it looks at none.
    type ToClient<S, O: Observer>;

    /// Its name in the log: its type, and the rule by which it refuses clients.
    fn describe(&self) -> String {
        Self::TYPE.to_owned()
    }

    /// Makes the layer.
    ///
    /// # Errors
    ///
    /// Settings that do not fit together, or do not fit the broker. The configuration has been checked,
    /// so this names a rule that the check let pass.
    fn build<O: Observer>(&self, place: Place<O>) -> Result<Built<Self::Layer<O>>, BoxError>;
}

/// The place of a layer: its broker, and who observes it.
#[derive(Clone, Debug)]
pub struct Place<O> {
    /// How the broker reads topics.
    pub dialect: Dialect,
    /// Whether the layer logs what it denies.
    pub logs_denials: bool,
    /// Counts what it does.
    pub observer: O,
}

/// A layer, built from its settings.
#[derive(Clone, Debug)]
pub struct Built<L> {
    /// The layer.
    pub layer: L,
    /// Whether it refuses clients that authenticate again, because the names that it uses might be wrong
    /// afterwards.
    pub refuses_reauthentication: bool,
}

impl<L> Built<L> {
    /// The same with the layer changed.
    pub fn map<M>(self, change: impl FnOnce(L) -> M) -> Built<M> {
        Built {
            layer: change(self.layer),
            refuses_reauthentication: self.refuses_reauthentication,
        }
    }

    /// A layer that lets clients authenticate again.
    const fn indifferent(layer: L) -> Self {
        let refuses_reauthentication = false;
        Self {
            layer,
            refuses_reauthentication,
        }
    }
}

/// A client that authenticates again while it is connected (AUTH 0x19, MQTT 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reauthentication {
    /// mproxy closes the client: it may be another user afterwards, and the layer would not notice.
    Refuse,
    /// It passes: the broker does not let a client become another user.
    Pass,
}

impl Reauthentication {
    fn passes(self) -> bool {
        self == Self::Pass
    }

    /// A layer with this setting, which matters only if it uses names of the client.
    fn built<L>(self, layer: L, by_names: bool) -> Built<L> {
        Built {
            layer,
            refuses_reauthentication: by_names && !self.passes(),
        }
    }
}

words! {
    Reauthentication { "refuse": Refuse, "pass": Pass, }
}

/// Which layer is checked: its name, and where its header stands.
#[derive(Clone, Copy)]
struct At<'a> {
    name: &'a str,
    header: &'a Range<usize>,
}

/// A layer with its settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Its name in logs and metrics.
    pub name: String,
    /// What it does.
    pub kind: LayerKind,
}

impl Layer {
    /// Its description in the log: its name, its type, and the rule by which it refuses clients.
    pub fn describe(&self) -> String {
        format!("layer `{}` ({})", self.name, self.kind.describe())
    }
}

impl Titled for Layer {
    fn title(&self) -> &str {
        &self.name
    }
}

macro_rules! layers {
    ($($layer:ident $(, to_server $up:ident)? $(, to_client $down:ident)?;)*) => {
        /// What a layer does.
        #[derive(Clone, Debug, PartialEq)]
        #[allow(missing_docs)] // each is documented at its type
        pub enum LayerKind {
            $($layer($layer),)*
        }

        impl LayerKind {
            /// The value of `type`.
            pub const fn name(&self) -> &'static str {
                match self {
                    $(Self::$layer(_) => <$layer as LayerConfig>::TYPE,)*
                }
            }

            /// Whether it judges by the identity of clients.
            pub(crate) const fn judges(&self) -> bool {
                match self {
                    $(Self::$layer(_) => <$layer as LayerConfig>::JUDGES,)*
                }
            }

            fn describe(&self) -> String {
                match self {
                    $(Self::$layer(layer) => layer.describe(),)*
                }
            }

            fn show(&self) -> toml_edit::Table {
                match self {
                    $(Self::$layer(layer) => layer.show(),)*
                }
            }

            fn compare(&self, new: &Self, path: &Path<'_>) {
                match (self, new) {
                    $((Self::$layer(old), Self::$layer(new)) => old.compare(new, path),)*
                    _ => path.differs(),
                }
            }

            /// Why it does not fit a broker of this dialect.
            pub(crate) fn misfit(&self, dialect: Dialect) -> Option<String> {
                let place = Place { dialect, logs_denials: false, observer: () };
                let error = match self {
                    $(Self::$layer(layer) => layer.build(place).err(),)*
                };
                error.map(|error| error.to_string())
            }

            /// Checks the keys of a layer; `None` if it cannot be used.
            fn check(cx: &mut Context, at: At<'_>, keys: &LayerKeys) -> Option<Self> {
                match keys {
                    $(LayerKeys::$layer(keys) => $layer::check(cx, at, keys).map(Self::$layer),)*
                }
            }
        }

        /// A layer. `type` decides which keys it has.
        #[derive(Debug, Deserialize, JsonSchema)]
        #[serde(tag = "type", rename_all = "kebab-case")]
        #[schemars(inline)]
        pub(crate) enum LayerKeys {
            $($layer(Box<<$layer as Section>::Keys>),)*
        }

        impl LayerKeys {
            fn take(cx: &mut Context, kind: &str, table: Table<'_>, name: &str) -> Option<Self> {
                match kind {
                    $(<$layer as LayerConfig>::TYPE => {
                        let keys = <$layer as Section>::Keys::take(cx, table, name);
                        Some(Self::$layer(Box::new(keys)))
                    })*
                    _ => None,
                }
            }
        }

        /// The values of `type`.
        pub(crate) const TYPES: &[&str] = &[$(<$layer as LayerConfig>::TYPE),*];

        const TABLES: &[&About] = &[$(<$layer as Section>::Keys::ABOUT),*];
    };
}

for_each_layer!(layers);

/// Values of `type` that this version does not support.
const RESERVED_TYPES: &[&str] = &[
    "auth",
    "cel",
    "dynsec",
    "exhook",
    "opentelemetry",
    "quota",
    "rate-limit",
    "schema",
    "topic-rewrite",
    "webhook",
];

/// The tables of `[layers.NAME]`, read according to their `type`, so that a wrong key is reported where it
/// is, and not with the whole table.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub(crate) struct Layers(BTreeMap<String, Located<LayerKeys>>);

impl Deref for Layers {
    type Target = BTreeMap<String, Located<LayerKeys>>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Key for Layers {
    type Value = BTreeMap<String, Arc<Layer>>;
    const INSIDE: &'static [&'static About] = TABLES;

    fn take(cx: &mut Context, table: &mut Table<'_>, key: &str, _: &str) -> Option<Self> {
        let mut layers = BTreeMap::new();
        for (name, span, mut table) in cx.take_named(table, key) {
            let kind = layer_type(cx, &mut table);
            match kind.and_then(|kind| LayerKeys::take(cx, &kind, table, &name)) {
                Some(value) => _ = layers.insert(name, Located { span, value }),
                None => _ = cx.untyped.insert(name),
            }
        }
        Some(Self(layers))
    }

    fn show(layers: &Self::Value, table: &mut toml_edit::Table, key: &str) {
        if layers.is_empty() {
            return;
        }
        let mut outer = toml_edit::Table::new();
        outer.set_implicit(true);
        for (name, layer) in layers {
            let mut shown = toml_edit::Table::new();
            shown["type"] = value(layer.kind.name());
            for (key, item) in layer.kind.show() {
                shown.insert(&key, item);
            }
            outer.insert(name, Item::Table(shown));
        }
        table[key] = Item::Table(outer);
    }

    fn compare(old: &Self::Value, new: &Self::Value, path: &Path<'_>) {
        path.each(old, new, |old, new, path| {
            path.whole(|path| old.kind.compare(&new.kind, path));
        });
    }
}

/// Takes `type` out of a layer's table; anything but one of [`TYPES`] is reported.
fn layer_type(cx: &mut Context, table: &mut Table<'_>) -> Option<String> {
    let types = || TYPES.iter().copied();
    let expected = || format!("expected one of {}", quoted(types()));
    let header = table.span();
    let Some(kind) = table.get_mut().remove("type") else {
        let error = Diagnostic::error("a layer without `type`").at(header);
        cx.push(error.label(expected()));
        return None;
    };
    let span = kind.span();
    let DeValue::String(name) = kind.into_inner() else {
        let error = Diagnostic::error("wrong type of value").at(span);
        cx.push(error.label(expected()));
        return None;
    };
    if TYPES.contains(&&*name) {
        return Some(name.into_owned());
    }
    let (message, label) = if RESERVED_TYPES.contains(&&*name) {
        let message = format!("layer type `{name}` is not available in this version");
        (message, format!("there are {}", quoted(types())))
    } else {
        let near = closest(&name, types());
        let label = near.map_or_else(expected, |near| format!("did you mean `{near}`?"));
        (format!("unknown layer type `{name}`"), label)
    };
    cx.push(Diagnostic::error(message).at(span).label(label));
    None
}

/// Checks all layers. One that cannot be used is left out, and noted, so that chains do not
/// complain about it again.
pub(crate) fn layers(cx: &mut Context, files: &Layers) -> Named<Layer> {
    let mut layers = Named::new();
    for (name, file) in files.iter() {
        let header = &file.span;
        let Some(kind) = LayerKind::check(cx, At { name, header }, &file.value) else {
            cx.untyped.insert(name.clone());
            continue;
        };
        let layer = Layer {
            name: name.clone(),
            kind,
        };
        layers.insert(name.clone(), (Arc::new(layer), Some(file.span.clone())));
    }
    layers
}
