//! Keys that hold tables.

use super::{About, Key, Keys, Located, Section, Table, wraps};
use crate::context::Context;
use crate::diff::Path;
use std::collections::BTreeMap;
use std::sync::Arc;
use toml_edit::Item;

wraps! {
    /// A table.
    Sub<S: Section>(S::Keys)
}

impl<S: Section> Key for Sub<S> {
    type Value = S;
    const INSIDE: &'static [&'static About] = &[S::Keys::ABOUT];

    fn take(cx: &mut Context, table: &mut Table<'_>, key: &str, name: &str) -> Option<Self> {
        let about = S::Keys::ABOUT;
        let mut hint = about.written(name);
        let given = table.get_ref().get(key);
        let word = given.and_then(|it| it.get_ref().as_str());
        if let (Some(word), Some(short)) = (word, about.short) {
            hint += &format!(" with `{short} = \"{word}\"`");
        }
        let inner = cx.take_table(table, key, &hint)?;
        Some(Self::new(S::Keys::take(cx, inner, name)))
    }

    fn show(value: &S, table: &mut toml_edit::Table, key: &str) {
        table[key] = Item::Table(value.show());
    }

    fn compare(old: &S, new: &S, path: &Path<'_>) {
        path.table(|path| old.compare(new, path));
    }
}

wraps! {
    /// A table that may be missing, which means something else than an empty one.
    OptionalSub<S: Section>(Option<Located<S::Keys>>)
}

impl<S: Section> Key for OptionalSub<S> {
    type Value = Option<S>;
    const INSIDE: &'static [&'static About] = &[S::Keys::ABOUT];

    fn take(cx: &mut Context, table: &mut Table<'_>, key: &str, name: &str) -> Option<Self> {
        let header = S::Keys::ABOUT.written(name);
        let inner = cx.take_table(table, key, &header)?;
        let span = inner.span();
        let value = S::Keys::take(cx, inner, name);
        Some(Self::new(Some(Located { span, value })))
    }

    fn show(value: &Option<S>, table: &mut toml_edit::Table, key: &str) {
        if let Some(value) = value {
            table[key] = Item::Table(value.show());
        }
    }

    fn compare(old: &Option<S>, new: &Option<S>, path: &Path<'_>) {
        match (old, new) {
            (Some(old), Some(new)) => path.table(|path| old.compare(new, path)),
            _ => path.compare(&old.is_some(), &new.is_some()),
        }
    }
}

wraps! {
    /// An array of tables.
    Tables<S: Section>(Vec<Located<S::Keys>>)
}

impl<S: Section> Key for Tables<S> {
    type Value = Vec<S>;
    const INSIDE: &'static [&'static About] = &[S::Keys::ABOUT];

    fn take(cx: &mut Context, table: &mut Table<'_>, key: &str, name: &str) -> Option<Self> {
        let header = S::Keys::ABOUT.written(name);
        let tables = cx.take_tables(table, key, &header).into_iter();
        let located = tables.map(|it| Located {
            span: it.span(),
            value: S::Keys::take(cx, it, name),
        });
        Some(Self::new(located.collect()))
    }

    fn show(values: &Vec<S>, table: &mut toml_edit::Table, key: &str) {
        if !values.is_empty() {
            table[key] = Item::ArrayOfTables(values.iter().map(S::show).collect());
        }
    }

    /// Those that have names are compared with those of the same name.
    fn compare(old: &Vec<S>, new: &Vec<S>, path: &Path<'_>) {
        if old.iter().chain(new).any(|it| it.title().is_empty()) {
            path.compare(&old.len(), &new.len());
            return old
                .iter()
                .zip(new)
                .for_each(|(old, new)| old.compare(new, path));
        }
        fn named<S: Section>(all: &[S]) -> BTreeMap<&str, &S> {
            all.iter().map(|it| (it.title(), it)).collect()
        }
        path.each(&named(old), &named(new), |old, new, path| {
            old.compare(new, path)
        });
    }
}

wraps! {
    /// Tables by name.
    Named<S: Section>(BTreeMap<String, Located<S::Keys>>)
}

impl<S: Section> Key for Named<S> {
    type Value = BTreeMap<String, Arc<S>>;
    const INSIDE: &'static [&'static About] = &[S::Keys::ABOUT];

    fn take(cx: &mut Context, table: &mut Table<'_>, key: &str, _: &str) -> Option<Self> {
        let tables = cx.take_named(table, key).into_iter();
        let located = tables.map(|(name, span, table)| {
            let value = S::Keys::take(cx, table, &name);
            (name, Located { span, value })
        });
        Some(Self::new(located.collect()))
    }

    fn show(values: &Self::Value, table: &mut toml_edit::Table, key: &str) {
        let mut outer = toml_edit::Table::new();
        outer.set_implicit(true);
        for (name, value) in values {
            outer.insert(name, Item::Table(value.show()));
        }
        table[key] = Item::Table(outer);
    }

    fn compare(old: &Self::Value, new: &Self::Value, path: &Path<'_>) {
        path.each(old, new, |old, new, path| old.compare(new, path));
    }
}
