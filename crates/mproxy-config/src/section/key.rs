//! The kinds of keys: how each is written, shown and compared.

use super::{About, Listing, Setting, Table, wraps};
use crate::choice::Choice;
use crate::context::Context;
use crate::diff::Path;
use crate::scalar::{Problem, Raw, Scalar};
use std::collections::BTreeMap;
use toml::Spanned;
use toml_edit::{Array, Item, Value};

/// A kind of key.
pub(crate) trait Key: Sized {
    /// The type of the checked value.
    type Value: PartialEq;

    /// The tables inside of it.
    const INSIDE: &'static [&'static About] = &[];

    /// What to write there, for the reader: `a duration such as "30s"`.
    fn expected() -> String {
        "a section".to_owned()
    }

    /// Takes the tables of a key out of the table that holds them, so that they are read one by one;
    /// values are left where they are. `name` is that of the layer or upstream.
    fn take(cx: &mut Context, table: &mut Table<'_>, key: &str, name: &str) -> Option<Self> {
        let _ = (cx, table, key, name);
        None
    }

    /// Puts the checked value into a table.
    fn show(value: &Self::Value, table: &mut toml_edit::Table, key: &str);

    /// Records whether the value differs in a later configuration.
    fn compare(old: &Self::Value, new: &Self::Value, path: &Path<'_>) {
        path.compare(old, new);
    }
}

// ===== one value =====

impl<T: Scalar<Value: PartialEq>> Key for Setting<T> {
    type Value = T::Value;

    fn expected() -> String {
        T::expected()
    }

    fn show(value: &T::Value, table: &mut toml_edit::Table, key: &str) {
        table[key] = Item::Value(T::show(value));
    }
}

impl<T: Scalar> Setting<T> {
    /// The value, or its default.
    pub(crate) fn or(&self, cx: &mut Context, default: Raw) -> T::Value {
        cx.given(self).unwrap_or_else(|| written::<T>(default))
    }

    /// The value if it satisfies `check`, or its default.
    pub(crate) fn checked(
        &self,
        cx: &mut Context,
        default: Raw,
        check: impl FnOnce(&T::Value) -> Result<(), Problem>,
    ) -> T::Value {
        let Some(value) = cx.given(self) else {
            return written::<T>(default);
        };
        match (check(&value), self.span()) {
            (Err(problem), Some(span)) => {
                cx.problem(span, problem);
                written::<T>(default)
            }
            _ => value,
        }
    }
}

/// Reads a default.
///
/// # Panics
///
/// If it is wrong: every start reads all defaults, so tests find it.
fn written<T: Scalar>(default: Raw) -> T::Value {
    match T::read(&default, false) {
        Ok(value) => value,
        Err(problem) => unreachable!("the default {default:?} is wrong: {problem:?}"),
    }
}

wraps! {
    /// A value that may be missing and has no default.
    Maybe<T: Scalar>(Setting<T>)
}

impl<T: Scalar<Value: PartialEq>> Key for Maybe<T> {
    type Value = Option<T::Value>;

    fn expected() -> String {
        T::expected()
    }

    fn show(value: &Self::Value, table: &mut toml_edit::Table, key: &str) {
        if let Some(value) = value {
            Setting::<T>::show(value, table, key);
        }
    }
}

impl<T: Scalar> Maybe<T> {
    /// The value, if it was given and is valid.
    pub(crate) fn read(&self, cx: &mut Context) -> Option<T::Value> {
        cx.given(&self.inner)
    }
}

// ===== several values =====

impl<T: Scalar<Value: PartialEq>> Key for Listing<T> {
    type Value = Vec<T::Value>;

    fn expected() -> String {
        format!("a list, each {}", T::expected())
    }

    fn show(values: &Self::Value, table: &mut toml_edit::Table, key: &str) {
        table[key] = array(values.iter().map(T::show));
    }
}

impl<T: Scalar> Listing<T> {
    /// The valid values, or the default if there is no array.
    pub(crate) fn or(&self, cx: &mut Context, default: Raw) -> Vec<T::Value> {
        match cx.list(self) {
            Some(given) => given.into_iter().map(Spanned::into_inner).collect(),
            None => all_written::<T>(default).collect(),
        }
    }
}

fn all_written<T: Scalar>(default: Raw) -> impl Iterator<Item = T::Value> {
    let items = match default {
        Raw::Array(items) => items,
        _ => Vec::new(),
    };
    items.into_iter().map(|it| written::<T>(it.into_inner()))
}

/// A set whose members are words.
pub(crate) trait FlagSet: Copy + PartialEq {
    /// A member.
    type Word: Choice;

    /// The empty set.
    const NONE: Self;

    /// The set with this member.
    fn with(self, word: Self::Word) -> Self;

    /// Says whether it has this member.
    fn has(self, word: Self::Word) -> bool;
}

wraps! {
    /// A set, written as an array of words.
    Flags<F: FlagSet>(Listing<F::Word>)
}

impl<F: FlagSet> Key for Flags<F> {
    type Value = F;

    fn expected() -> String {
        Listing::<F::Word>::expected()
    }

    fn show(value: &F, table: &mut toml_edit::Table, key: &str) {
        let words = F::Word::ALL.iter().filter(|(_, word)| value.has(*word));
        table[key] = array(words.map(|(name, _)| Value::from(*name)));
    }
}

impl<F: FlagSet> Flags<F> {
    /// The set, or its default if there is no array or no valid value.
    pub(crate) fn or(&self, cx: &mut Context, default: Raw) -> F {
        match cx.list(&self.inner) {
            Some(given) if !given.is_empty() || self.is_empty() => {
                set(given.into_iter().map(Spanned::into_inner))
            }
            _ => set(all_written::<F::Word>(default)),
        }
    }
}

fn set<F: FlagSet>(words: impl Iterator<Item = F::Word>) -> F {
    words.fold(F::NONE, F::with)
}

wraps! {
    /// A table whose keys are names that the operator chooses.
    Map<T: Scalar>(BTreeMap<String, Setting<T>>)
}

impl<T: Scalar<Value: PartialEq>> Key for Map<T> {
    type Value = Vec<(String, T::Value)>;

    fn expected() -> String {
        format!("a table of names, each with {}", T::expected())
    }

    fn show(values: &Self::Value, table: &mut toml_edit::Table, key: &str) {
        if values.is_empty() {
            return;
        }
        let entries = values.iter().map(|(name, value)| (name, T::show(value)));
        table[key] = Item::Table(toml_edit::Table::from_iter(entries));
    }
}

/// An array as it is shown.
pub(super) fn array(values: impl Iterator<Item = Value>) -> Item {
    Item::Value(Value::Array(values.collect::<Array>()))
}
