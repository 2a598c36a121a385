//! What a key is: one declaration in a [`section!`], from which everything else about it follows.
//!
//! ```text
//! section! {                                         the keys as they are written, with places
//!     /// Bounds on what a client may take.          the keys as they were checked, plain types
//!     Limits, LimitsKeys in "[listeners.limits]" {   their descriptions and defaults in the schema
//!         /// Longest time to the whole CONNECT.     the known keys, for "unknown key"
//!         ///                                        `config explain`
//!         /// It counts from accept.                 read, show, compare
//!         connect_timeout: Duration = "30s",
//!             check bounds::timeout;
//!     }
//! }
//! ```
//! A default is written as an operator would write it: the schema shows it, and the checked value is
//! read from it. The first paragraph of a description is one line: it stands above the key in
//! config/mproxy.toml, too. What takes more words follows it.

mod key;
mod reference;
mod setting;
mod table;
mod tables;
mod wraps;

pub(crate) use key::{FlagSet, Flags, Key, Map, Maybe};
pub(crate) use reference::{Reference, References};
pub(crate) use setting::{Listing, Located, Setting};
pub(crate) use table::Table;
pub(crate) use tables::{Named, OptionalSub, Sub, Tables};

use wraps::wraps;

use crate::context::Context;
use crate::diff::Path;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// A kind of table.
#[derive(Debug)]
pub(crate) struct About {
    /// Its header as written in TOML, or where it is.
    pub header: &'static str,
    /// The `type` of the layers with these keys.
    pub layer: Option<&'static str>,
    /// What it is for.
    pub doc: &'static str,
    /// Its keys, in the order in which they are declared.
    pub keys: &'static [Known],
    /// When a change of one of its keys takes effect after a reload.
    pub reload: Option<&'static str>,
    /// Keys that this version does not support, and what to do instead. They are errors, never ignored:
    /// an operator who writes `[listeners.tls]` relies on it.
    pub reserved: &'static [(&'static str, &'static str)],
    /// Renamed keys, how to write each with its value, and what it
    /// means.
    pub renamed: &'static [(&'static str, &'static str, &'static str)],
    /// The key that is meant when the whole table is written as one value.
    pub short: Option<&'static str>,
}

/// A key.
#[derive(Debug)]
pub(crate) struct Known {
    /// Its name.
    pub name: &'static str,
    /// What it does: one line, then after an empty line the details.
    pub doc: &'static str,
    /// Its default as TOML; empty if it has none.
    pub default: &'static str,
    /// What to write there.
    pub expected: fn() -> String,
    /// When a change takes effect, if not as for the rest of the table.
    pub reload: Option<&'static str>,
    /// Why a change needs a restart.
    pub restart: Option<&'static str>,
    /// The tables in it.
    pub inside: &'static [&'static About],
}

/// The keys of a table as they are written: not checked, each with its place.
pub(crate) trait Keys: DeserializeOwned + JsonSchema + Default + Debug {
    /// Which table it is.
    const ABOUT: &'static About;

    /// Reads a table; `name` is that of the layer or upstream that it belongs to.
    fn take(cx: &mut Context, table: Table<'_>, name: &str) -> Self;
}

/// Something that others refer to by its name.
pub(crate) trait Titled: PartialEq {
    /// Its name in the configuration; empty if it has none.
    fn title(&self) -> &str;
}

/// A checked table.
pub(crate) trait Section: Titled {
    /// Its keys as they are written.
    type Keys: Keys;

    /// The table in TOML, defaults included.
    fn show(&self) -> toml_edit::Table;

    /// Records which keys differ in `new`, a later version of the table at `path`.
    fn compare(&self, new: &Self, path: &Path<'_>);
}

/// Declares a table. The options of a key:
///
/// * `as Kind`: how it is written, if it is not a single value that becomes the type it has;
/// * `= default`: as an operator would write it;
/// * `check f`: what its type does not check, `fn(&T) -> Result<(), Problem>`;
/// * `given name`: not read from the key alone, but a parameter of `read`;
/// * `shown f`: when it is shown, `fn(&Self) -> bool`;
/// * `reload "when"`: when a change takes effect, if not as for the rest of the table;
/// * `restart "why"`: a change takes a restart.
macro_rules! section {
    (
        $(#[doc = $about:literal])*
        $(#[schemars $outer:tt])?
        $model:ident, $table:ident in $header:literal
            $(layer $layer:literal)? $(short $short:literal)? $(titled $title:ident)?
            $(, reload $applied:literal)?
        {
            $(
                $(#[doc = $doc:literal])*
                $(#[schemars $schemars:tt])?
                $key:ident $(($name:literal))?: $value:ty
                    $(as $kind:ty)?
                    $(= $default:tt)?
                    $(, check $check:path)?
                    $(, given $given:ident)?
                    $(, shown $shown:path)?
                    $(, reload $reload:literal)?
                    $(, restart $restart:literal)?;
            )*
        }
        $(also { $($(#[doc = $other_doc:literal])* $other:ident: $other_value:ty;)* })?
        $(reserved { $($reserved:literal: $instead:literal;)* })?
        $(renamed { $($old:literal: $now:literal, $note:literal;)* })?
    ) => {
        $crate::section::keys! {
            $(#[doc = $about])*
            $(#[schemars $outer])?
            $table in $header $(layer $layer)? $(short $short)? $(, reload $applied)? {
                $(
                    $(#[doc = $doc])*
                    $(#[schemars $schemars])?
                    $key $(($name))?: $crate::section::kind!($value $(, $kind)?)
                        $(= $default)? $(, reload $reload)? $(, restart $restart)?;
                )*
            }
            $(reserved { $($reserved: $instead;)* })?
            $(renamed { $($old: $now, $note;)* })?
        }

        $(#[doc = $about])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $model {
            $($($(#[doc = $other_doc])* pub $other: $other_value,)*)?
            $($(#[doc = $doc])* pub $key: $value,)*
        }

        impl $model {
            /// Checks the keys; a wrong one is reported, and its default stands in for it.
            #[allow(unused_variables, clippy::too_many_arguments)] // one for each key that is given
            pub(crate) fn read(
                cx: &mut $crate::context::Context,
                keys: &$table,
                $($($other: $other_value,)*)?
                $($($given: $value,)?)*
            ) -> Self {
                Self {
                    $($($other,)*)?
                    $($key: $crate::section::read!(
                        cx, keys.$key, [$($default)?] [$($check)?] [$($given)?]
                    ),)*
                }
            }
        }

        impl $crate::section::Titled for $model {
            fn title(&self) -> &str {
                $crate::section::title!(self $($title)?)
            }
        }

        impl $crate::section::Section for $model {
            type Keys = $table;

            fn show(&self) -> toml_edit::Table {
                let mut table = toml_edit::Table::new();
                $(
                    if true $(&& $shown(self))? {
                        let name = $crate::section::name!($key $($name)?);
                        <$crate::section::kind!($value $(, $kind)?) as $crate::section::Key>::show(
                            &self.$key, &mut table, name,
                        );
                    }
                )*
                table
            }

            fn compare(&self, new: &Self, path: &$crate::diff::Path<'_>) {
                $(
                    let name = $crate::section::name!($key $($name)?);
                    let restart: Option<&str> = $crate::section::option!($($restart)?);
                    <$crate::section::kind!($value $(, $kind)?) as $crate::section::Key>::compare(
                        &self.$key, &new.$key, &path.key(name, restart.is_some()),
                    );
                )*
            }
        }
    };
}

/// The part of [`section!`] for the keys as written.
macro_rules! keys {
    (
        $(#[doc = $about:literal])*
        $(#[schemars $outer:tt])?
        $table:ident in $header:literal
            $(layer $layer:literal)? $(short $short:literal)? $(, reload $applied:literal)?
        {
            $(
                $(#[doc = $doc:literal])*
                $(#[schemars $schemars:tt])?
                $key:ident $(($name:literal))?: $kind:ty
                    $(= $default:tt)? $(, reload $reload:literal)? $(, restart $restart:literal)?;
            )*
        }
        $(reserved { $($reserved:literal: $instead:literal;)* })?
        $(renamed { $($old:literal: $now:literal, $note:literal;)* })?
    ) => {
        $(#[doc = $about])*
        #[derive(Debug, Default, serde::Deserialize, schemars::JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        #[schemars(inline)]
        $(#[schemars $outer])?
        pub(crate) struct $table {
            $(
                $(#[doc = $doc])*
                $(#[serde(rename = $name)])?
                $(#[schemars(extend("default" = $default))])?
                $(#[schemars $schemars])?
                pub $key: $kind,
            )*
        }

        impl $crate::section::Keys for $table {
            const ABOUT: &'static $crate::section::About = &$crate::section::About {
                header: $header,
                layer: $crate::section::option!($($layer)?),
                doc: concat!($($about, "\n"),*),
                keys: &[$($crate::section::Known {
                    name: $crate::section::name!($key $($name)?),
                    doc: concat!($($doc, "\n"),*),
                    default: stringify!($($default)?),
                    expected: <$kind as $crate::section::Key>::expected,
                    reload: $crate::section::option!($($reload)?),
                    restart: $crate::section::option!($($restart)?),
                    inside: <$kind as $crate::section::Key>::INSIDE,
                }),*],
                reload: $crate::section::option!($($applied)?),
                reserved: &[$($(($reserved, $instead)),*)?],
                renamed: &[$($(($old, $now, $note)),*)?],
                short: $crate::section::option!($($short)?),
            };

            fn take(
                cx: &mut $crate::context::Context,
                mut table: $crate::section::Table<'_>,
                name: &str,
            ) -> Self {
                $(
                    let key = $crate::section::name!($key $($name)?);
                    let $key = <$kind as $crate::section::Key>::take(cx, &mut table, key, name);
                )*
                let mut keys: Self = cx.section(table);
                $(
                    if let Some(taken) = $key {
                        keys.$key = taken;
                    }
                )*
                keys
            }
        }
    };
}

/// How a key is written.
macro_rules! kind {
    ($value:ty) => { $crate::section::Setting<$value> };
    ($value:ty, $kind:ty) => { $kind };
}

/// The name of a key.
macro_rules! name {
    ($key:ident) => {
        stringify!($key)
    };
    ($key:ident $name:literal) => {
        $name
    };
}

/// The name of a table that has one.
macro_rules! title {
    ($table:ident) => {
        ""
    };
    ($table:ident $title:ident) => {
        &$table.$title
    };
}

/// An optional value.
macro_rules! option {
    () => {
        None
    };
    ($value:literal) => {
        Some($value)
    };
}

/// The checked value of a key.
macro_rules! read {
    ($cx:ident, $key:expr, [$($default:tt)?] [] [$given:ident]) => {
        $given
    };
    ($cx:ident, $key:expr, [] [] []) => {
        $key.read($cx)
    };
    ($cx:ident, $key:expr, [$default:tt] [] []) => {
        $key.or($cx, $crate::scalar::Raw::from($default))
    };
    ($cx:ident, $key:expr, [$default:tt] [$check:path] []) => {
        $key.checked($cx, $crate::scalar::Raw::from($default), $check)
    };
}

pub(crate) use {keys, kind, name, option, read, section, title};
