//! Single keys from the environment and the command line, which override the files.
//!
//! `MPROXY_LISTENERS__MQTT__BIND`, `--set listeners.mqtt.bind=...`: listeners are found by
//! their name or their index, everything else by its key.

use super::merge::name_of;
use super::tree::parse_value;
use crate::context::Context;
use crate::diagnostics::Diagnostic;
use crate::environment::Environment;
use crate::scalar::{closest, quoted};
use std::borrow::Cow;
use std::net::SocketAddr;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// The prefix of the variables.
const PREFIX: &str = "MPROXY_";

/// Variables with the prefix that are not keys of the configuration, without the prefix.
const NOT_KEYS: [&str; 4] = ["CONFIG", "LOG", "LOG_FORMAT", "ADMIN_URL"];

/// The default listener, for a configuration without one.
const DEFAULT_LISTENER: &str = "mqtt";

/// One key with its value.
#[derive(Debug)]
pub(crate) struct Override {
    path: Vec<String>,
    /// Names of variables have no lower case and no dash.
    folded: bool,
    value: String,
    /// Where the key stands.
    key: Range<usize>,
    /// Where the value stands.
    base: usize,
}

impl Override {
    /// The overrides in the environment.
    ///
    /// Only names that contain `__` are keys. Others with the prefix may come from
    /// Kubernetes, which describes a service named `mproxy` as `MPROXY_PORT` and so on; one
    /// that looks like a misspelt variable of ours is worth a warning.
    pub(crate) fn from_environment(cx: &mut Context, env: &Environment) -> Vec<Self> {
        let mut overrides = Vec::new();
        for (name, value) in env.starting_with(PREFIX) {
            let path = name.strip_prefix(PREFIX).unwrap_or(name);
            if !path.contains("__") {
                if !NOT_KEYS.contains(&path)
                    && let Some(near) = closest(path, NOT_KEYS)
                {
                    let message = format!("environment variable {name} is unknown");
                    let note = format!("did you mean {PREFIX}{near}?");
                    cx.push(Diagnostic::warning(message).note(note));
                }
                continue;
            }
            let source = format!("environment variable {name}");
            let text = format!("{name}={value}");
            let start = cx.report.sources.add_override(source, text);
            overrides.push(Self {
                path: path.split("__").map(str::to_owned).collect(),
                folded: true,
                value: value.to_owned(),
                key: start..start + name.len(),
                base: start + name.len() + 1,
            });
        }
        overrides
    }

    /// An override `KEY=VALUE` of a flag. One without a key is reported.
    pub(crate) fn from_flag(cx: &mut Context, flag: &str, text: &str) -> Option<Self> {
        let start = cx
            .report
            .sources
            .add_override(flag.to_owned(), text.to_owned());
        let parsed = text.split_once('=').and_then(|(key, value)| {
            let path = toml_edit::Key::parse(key.trim()).ok()?;
            Some((key.len(), path, value))
        });
        let Some((length, path, value)) = parsed else {
            let span = start..start + text.len();
            let label = "expected KEY=VALUE, such as `listeners.mqtt.bind=0.0.0.0:1883`";
            cx.push(Diagnostic::error("not an assignment").at(span).label(label));
            return None;
        };
        Some(Self {
            path: path.iter().map(|it| it.get().to_owned()).collect(),
            folded: false,
            value: value.to_owned(),
            key: start..start + length,
            base: start + length + 1,
        })
    }

    /// An override whose flag names the key.
    pub(crate) fn from_value(cx: &mut Context, flag: &str, path: &[&str], value: &str) -> Self {
        let base = cx
            .report
            .sources
            .add_override(flag.to_owned(), value.to_owned());
        Self {
            path: path.iter().map(|it| (*it).to_owned()).collect(),
            folded: false,
            value: value.to_owned(),
            key: base..base + value.len(),
            base,
        }
    }

    fn parsed(&self) -> Result<Spanned<DeValue<'_>>, (Range<usize>, String)> {
        // Only what cannot be plain text is parsed as TOML: arrays, tables, quoted strings.
        // Plain text gets the type of its key later.
        let address = self.value.parse::<SocketAddr>().is_ok();
        if self.value.starts_with(['[', '{', '"', '\'']) && !address {
            return parse_value(&self.value, self.base).map_err(|error| {
                let span = error.span().unwrap_or_default();
                let span = span.start + self.base..span.end + self.base;
                (span, error.message().to_owned())
            });
        }
        let span = self.base..self.base + self.value.len();
        let text = Cow::Borrowed(self.value.as_str());
        Ok(Spanned::new(span, DeValue::String(text)))
    }
}

/// Applies the overrides, the later ones over the earlier ones.
pub(super) fn apply<'t>(cx: &mut Context, root: &mut DeTable<'t>, overrides: &'t [Override]) {
    for one in overrides {
        let outcome = one
            .parsed()
            .map_err(|(span, label)| {
                let message = "not a valid value";
                Box::new(Diagnostic::error(message).at(span).label(label))
            })
            .and_then(|value| insert(root, one, value));
        if let Err(diagnostic) = outcome {
            cx.push(*diagnostic);
        }
    }
}

fn insert<'t>(
    root: &mut DeTable<'t>,
    one: &'t Override,
    value: Spanned<DeValue<'t>>,
) -> Result<(), Box<Diagnostic>> {
    let Some((last, parents)) = one.path.split_last() else {
        return Ok(());
    };
    if parents
        .first()
        .is_some_and(|it| matches(it, "listeners", one.folded))
        && !root.contains_key("listeners")
    {
        root.insert(key_at(one, "listeners"), default_listeners(one));
    }
    let mut table = root;
    let mut steps = parents.iter();
    while let Some(step) = steps.next() {
        let key = find(table, step, one.folded);
        let span = one.key.clone();
        let next = table
            .entry(key_at(one, &key))
            .or_insert_with(|| Spanned::new(span, DeValue::Table(DeTable::new())));
        let next = match next.get_mut() {
            DeValue::Array(items) => element(items, steps.next(), one)?,
            other => other,
        };
        let DeValue::Table(inner) = next else {
            let message = format!("`{key}` is a value, not a section");
            return Err(Box::new(Diagnostic::error(message).at(one.key.clone())));
        };
        table = inner;
    }
    let key = find(table, last, one.folded);
    // With its key, so that a problem with the key shows the override as well.
    table.remove(&*key);
    table.insert(key_at(one, &key), value);
    Ok(())
}

/// The element of an array that a step names: an index, or the name of a listener.
fn element<'a, 't>(
    items: &'a mut DeArray<'t>,
    step: Option<&String>,
    one: &Override,
) -> Result<&'a mut DeValue<'t>, Box<Diagnostic>> {
    let step = step.map_or("", String::as_str);
    let names: Vec<_> = items
        .iter()
        .filter_map(|it| name_of(it.get_ref()))
        .collect();
    let label = format!("expected {} or an index from 0", quoted(names));
    let found = items.iter_mut().enumerate().find(|(index, item)| {
        step.parse() == Ok(*index)
            || name_of(item.get_ref()).is_some_and(|name| matches(step, name, one.folded))
    });
    match found {
        Some((_, item)) => Ok(item.get_mut()),
        None => {
            let error = Diagnostic::error(format!("no element `{step}`"));
            Err(Box::new(error.at(one.key.clone()).label(label)))
        }
    }
}

/// The key of `table` that a step names; a new one when there is none.
fn find(table: &DeTable<'_>, step: &str, folded: bool) -> String {
    let same = table
        .keys()
        .find(|key| matches(step, key.get_ref(), folded));
    match same {
        Some(key) => key.get_ref().to_string(),
        None if folded => step.to_lowercase(),
        None => step.to_owned(),
    }
}

fn matches(step: &str, key: &str, folded: bool) -> bool {
    match folded {
        true => step.eq_ignore_ascii_case(&key.replace('-', "_")),
        false => step == key,
    }
}

fn key_at<'t>(one: &Override, key: &str) -> Spanned<Cow<'t, str>> {
    Spanned::new(one.key.clone(), Cow::Owned(key.to_owned()))
}

fn default_listeners<'t>(one: &Override) -> Spanned<DeValue<'t>> {
    let at = |value| Spanned::new(one.key.clone(), value);
    let name = at(DeValue::String(Cow::Borrowed(DEFAULT_LISTENER)));
    let listener: DeTable<'t> = [(key_at(one, "name"), name)].into_iter().collect();
    let list: DeArray<'t> = [at(DeValue::Table(listener))].into_iter().collect();
    at(DeValue::Array(list))
}
