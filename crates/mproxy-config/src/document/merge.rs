//! Later files over earlier ones.

use std::mem::replace;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// Lays `over` onto `base`: tables are merged key by key, listeners by their names, and
/// everything else is replaced.
pub(super) fn merge<'t>(base: &mut DeTable<'t>, over: DeTable<'t>) {
    for (key, value) in over {
        let Some(old) = base.get_mut(key.get_ref().as_ref()) else {
            base.insert(key, value);
            continue;
        };
        let span = value.span();
        match (old.get_mut(), value.into_inner()) {
            (DeValue::Table(old), DeValue::Table(new)) => merge(old, new),
            (DeValue::Array(old), DeValue::Array(new)) if key.get_ref() == "listeners" => {
                merge_listeners(old, new);
            }
            // The key goes with its value: both were written in the later file.
            (_, new) => {
                base.remove(key.get_ref().as_ref());
                base.insert(key, Spanned::new(span, new));
            }
        }
    }
}

fn merge_listeners<'t>(base: &mut DeArray<'t>, over: DeArray<'t>) {
    for mut listener in over {
        let name = name_of(listener.get_ref()).map(str::to_owned);
        let same = name.and_then(|name| {
            let mut all = base.iter_mut();
            all.find(|it| name_of(it.get_ref()) == Some(&name))
        });
        match (same.map(Spanned::get_mut), listener.get_mut()) {
            (Some(DeValue::Table(old)), DeValue::Table(new)) => {
                merge(old, replace(new, DeTable::new()));
            }
            _ => base.push(listener),
        }
    }
}

/// The name of a listener.
pub(super) fn name_of<'a>(listener: &'a DeValue<'_>) -> Option<&'a str> {
    listener.as_table()?.get("name")?.get_ref().as_str()
}
