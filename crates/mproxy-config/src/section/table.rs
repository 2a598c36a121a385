//! Reading tables: their keys are known, or reported.

use super::{About, Keys};
use crate::context::Context;
use crate::diagnostics::Diagnostic;
use crate::root::ConfigKeys;
use crate::scalar::{closest, part, quoted};
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

/// A table with its place.
pub(crate) type Table<'t> = Spanned<DeTable<'t>>;

/// A table that carries its name as a key, with the place of the name.
pub(crate) type NamedTable<'t> = (String, Range<usize>, Table<'t>);

impl About {
    /// Its header in TOML for the layer or upstream of this name.
    pub(crate) fn written(&self, name: &str) -> String {
        let (header, _) = self.header.split_once(" of ").unwrap_or((self.header, ""));
        header.replace("NAME", name)
    }

    /// The names of its keys, `type` of a layer included.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> {
        // `type` is not declared in any table, but it is a key.
        let also = self.layer.map(|_| "type").into_iter();
        also.chain(self.keys.iter().map(|it| it.name))
    }

    fn has(&self, key: &str) -> bool {
        self.keys.iter().any(|it| it.name == key)
    }

    fn tables(&self) -> impl Iterator<Item = &'static Self> {
        self.keys.iter().flat_map(|it| it.inside).copied()
    }

    /// All tables in it, and in these, itself first.
    fn all(&'static self) -> Vec<&'static Self> {
        let mut all = vec![self];
        all.extend(self.tables().flat_map(Self::all));
        all
    }

    fn is(&self, other: &Self) -> bool {
        self.header == other.header
    }

    /// The tables inside of this one, or around it, except the root.
    fn family(&'static self) -> Vec<&'static Self> {
        let all = ConfigKeys::ABOUT.all();
        let mut family: Vec<_> = self.tables().collect();
        let around = all.iter().skip(1);
        for parent in around.filter(|it| it.tables().any(|inner| inner.is(self))) {
            family.push(parent);
            family.extend(parent.tables());
        }
        family
    }

    /// The header of the table that a key of this name belongs to: if there are several, the nearest, or all the
    /// layers that have it.
    fn home(&'static self, key: &str) -> Option<String> {
        let has = |about: &&&'static Self| about.has(key);
        if let Some(near) = self.family().iter().find(has) {
            return Some(near.header.to_owned());
        }
        let everything = ConfigKeys::ABOUT.all();
        let mut all = everything.iter().filter(has);
        let home = all.next()?;
        let mut header = home.header.to_owned();
        if home.layer.is_some() {
            for other in all.filter_map(|other| other.layer) {
                header += &format!(" or \"{other}\"");
            }
        }
        Some(header)
    }

    /// What to do instead of a key that is not supported.
    fn reserved(&self, key: &str) -> Option<&'static str> {
        let mut reserved = self.reserved.iter();
        reserved.find(|(name, _)| *name == key).map(|(_, it)| *it)
    }

    /// How to write a renamed key with its value, and what it means.
    fn renamed(&self, key: &str, value: Option<&str>) -> Option<(String, &'static str)> {
        let mut renamed = self.renamed.iter();
        let (_, now, note) = renamed.find(|(name, ..)| *name == key)?;
        Some((now.replace("{}", value.unwrap_or("...")), *note))
    }
}

impl Context {
    /// Reads the values of a table. Unknown keys are reported and left out, so that they do not hide
    /// other problems.
    pub(crate) fn section<K: Keys>(&mut self, table: Table<'_>) -> K {
        let span = table.span();
        let mut kept = DeTable::new();
        for (key, value) in table.into_inner() {
            if K::ABOUT.has(key.get_ref()) {
                kept.insert(key, value);
            } else {
                let value = value.get_ref().as_str();
                self.unknown_key(K::ABOUT, key.get_ref(), value, key.span());
            }
        }
        match K::deserialize(Deserializer::from(Spanned::new(span.clone(), kept))) {
            Ok(value) => value,
            // Settings accept every value, so this is a table in place of a value or
            // the other way round.
            Err(error) => {
                let at = error.span().unwrap_or(span);
                self.push(Diagnostic::error(error.message().to_owned()).at(at));
                K::default()
            }
        }
    }

    fn unknown_key(
        &mut self,
        about: &'static About,
        key: &str,
        value: Option<&str>,
        span: Range<usize>,
    ) {
        let label = |message: String, label: String| {
            Diagnostic::error(message).at(span.clone()).label(label)
        };
        // Keys of a listener and of its limits are easily mixed up.
        let mut near = about.family().into_iter().filter(|it| !it.is(about));
        if let Some((instead, note)) = about.renamed(key, value) {
            let message = format!("`{key}` was renamed");
            return self.push(label(message, format!("write `{instead}`")).note(note));
        }
        let moved = near
            .clone()
            .find_map(|it| Some((it, it.renamed(key, value)?)));
        if let Some((there, (instead, note))) = moved {
            let message = format!("`{key}` was renamed and moved");
            let instead = format!("write `{instead}` in {}", there.header);
            return self.push(label(message, instead).note(note));
        }
        let reserved = about.reserved(key);
        if let Some(instead) = reserved.or_else(|| near.find_map(|it| it.reserved(key))) {
            let message = format!("`{key}` is not available in this version");
            return self.push(label(message, instead.to_owned()));
        }
        let mut diagnostic = Diagnostic::error(format!("unknown key `{key}`")).at(span);
        if let Some(meant) = meant(about, key) {
            diagnostic = diagnostic.label(meant);
        }
        let keys = quoted(about.names());
        self.push(diagnostic.note(format!("keys here: {keys}")));
    }

    /// Takes the table of a key out of a table; `header` is how to write it.
    pub(crate) fn take_table<'t>(
        &mut self,
        table: &mut Table<'t>,
        key: &str,
        header: &str,
    ) -> Option<Table<'t>> {
        let value = table.get_mut().remove(key)?;
        self.table(value, &format!("write it as {header}"))
    }

    /// Takes `[[key]]` out of a table.
    pub(crate) fn take_tables<'t>(
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
            let error = Diagnostic::error("expected an array of tables").at(span);
            self.push(error.label(hint));
            return Vec::new();
        };
        let tables = items.into_iter().filter_map(|it| self.table(it, &hint));
        tables.collect()
    }

    /// Takes `[key.NAME]` for all names out of a table, each with the place of its name.
    pub(crate) fn take_named<'t>(
        &mut self,
        table: &mut Table<'t>,
        key: &str,
    ) -> Vec<NamedTable<'t>> {
        let header = format!("[{key}.NAME]");
        let Some(outer) = self.take_table(table, key, &header) else {
            return Vec::new();
        };
        let tables = outer.into_inner().into_iter().filter_map(|(name, value)| {
            let hint = format!("write it as [{key}.{}]", name.get_ref());
            let inner = self.table(value, &hint)?;
            Some((name.get_ref().to_string(), name.span(), inner))
        });
        tables.collect()
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

/// What was probably meant by an unknown key.
fn meant(about: &'static About, key: &str) -> Option<String> {
    let known = || about.keys.iter().map(|it| it.name);
    let plural = [key, "s"].concat();
    if about.has(&plural) {
        // `[upstream.broker]` is not the `upstream` of a listener.
        return Some(format!("did you mean `{plural}`?"));
    }
    // A key of another section was not misspelt.
    if let Some(header) = about.home(key) {
        return Some(format!("this key belongs in {header}"));
    }
    let near = closest(key, known()).or_else(|| part(key, known()));
    near.map(|near| format!("did you mean `{near}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_has_a_header_of_its_own() {
        let mut headers: Vec<_> = ConfigKeys::ABOUT.all().iter().map(|it| it.header).collect();
        assert!(headers.contains(&"[listeners.limits]"));
        headers.sort_unstable();
        let count = headers.len();
        headers.dedup();
        assert_eq!(headers.len(), count);
    }
}
