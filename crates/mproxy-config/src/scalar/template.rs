//! Topic filters and prefixes with placeholders.

use super::raw::Raw;
use super::{Problem, Scalar, closest, quoted, string};
use crate::choice::Choice;
use mproxy_codec::topic::{Dialect, TopicFilter, TopicName, VendorForms};
use mproxy_layers::acl::MAX_LEVELS;
use mproxy_layers::template::{Placeholder, Token, tokens};
use schemars::Schema;
use std::fmt;
use toml_edit::Value;

/// A string whose placeholders are known ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template(String);

impl Template {
    /// Wraps a string that was checked.
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// The text as it was written, placeholders included.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A topic filter with placeholders.
#[derive(Debug)]
pub(crate) struct FilterTemplate;

/// The start of topic names, with placeholders.
#[derive(Debug)]
pub(crate) struct PrefixTemplate;

impl Scalar for FilterTemplate {
    type Value = Template;
    written!(
        "a topic filter such as \"devices/${client_id}/#\"",
        { "type": "string", "minLength": 1 },
        as_str
    );

    fn read(raw: &Raw, _: bool) -> Result<Template, Problem> {
        let text = string::<Self>(raw)?;
        let filled = opaque(text)?;
        if text.starts_with("$share/") {
            let message = "a rule cannot name a shared subscription";
            return Err(Problem::new(message, "remove `$share/` and the group"));
        }
        if filled.split('/').count() > MAX_LEVELS {
            let message = format!("a topic filter of more than {MAX_LEVELS} levels");
            return Err(Problem::new(message, "use `#`"));
        }
        match TopicFilter::new(&filled) {
            Ok(_) => Ok(Template::new(text.to_owned())),
            Err(error) => Err(Problem::new(
                format!("invalid topic filter `{text}`"),
                format!("{error} [{}]", error.statement_v5()),
            )),
        }
    }
}

/// A topic filter that is the same for all clients.
#[derive(Debug)]
pub(crate) struct PlainFilter;

impl Scalar for PlainFilter {
    type Value = String;

    fn expected() -> String {
        "a topic filter such as \"devices/+/up\"".to_owned()
    }

    fn read(raw: &Raw, loose: bool) -> Result<String, Problem> {
        let filter = FilterTemplate::read(raw, loose)?;
        if filter.as_str().contains("${") {
            let message = format!("`{filter}` has a placeholder");
            return Err(Problem::new(
                message,
                "use `+`: this rule is the same for all clients",
            ));
        }
        Ok(filter.as_str().to_owned())
    }

    fn show(value: &String) -> Value {
        value.as_str().into()
    }

    fn schema() -> Schema {
        FilterTemplate::schema()
    }
}

/// Any text that fits into one line, with placeholders.
#[derive(Debug)]
pub(crate) struct TextTemplate;

/// The start of topic names, with placeholders, or nothing.
#[derive(Debug)]
pub(crate) struct StartTemplate;

impl Scalar for PrefixTemplate {
    type Value = Template;
    written!(
        "the start of a topic such as \"tenants/${username}/\"",
        { "type": "string", "minLength": 1 },
        as_str
    );

    fn read(raw: &Raw, _: bool) -> Result<Template, Problem> {
        let text = string::<Self>(raw)?;
        let filled = opaque(text)?;
        if text.starts_with('$') && !text.starts_with("${") {
            let message = format!("prefix `{text}` belongs to the broker");
            return Err(Problem::new(
                message,
                "start it with something other than `$`",
            ));
        }
        match TopicName::new(&filled) {
            // Otherwise the first level of a topic would be glued to the last of the prefix.
            Ok(_) if !text.ends_with('/') => Err(Problem::new(
                format!("prefix `{text}` does not end with a slash"),
                format!("did you mean `{text}/`?"),
            )),
            Ok(_) => Ok(Template::new(text.to_owned())),
            Err(error) => Err(Problem::new(
                format!("invalid prefix `{text}`"),
                format!("{error} [{}]", error.statement_v5()),
            )),
        }
    }
}

impl Scalar for StartTemplate {
    type Value = Template;
    written!("the start of a topic such as \"devices/\", or \"\"", { "type": "string" }, as_str);

    fn read(raw: &Raw, loose: bool) -> Result<Template, Problem> {
        match string::<Self>(raw)? {
            "" => Ok(Template::new(String::new())),
            _ => PrefixTemplate::read(raw, loose),
        }
    }
}

impl Scalar for TextTemplate {
    type Value = Template;
    written!("a text such as \"${username}\"", { "type": "string" }, as_str);

    fn read(raw: &Raw, _: bool) -> Result<Template, Problem> {
        let text = string::<Self>(raw)?;
        opaque(text)?;
        if text.contains(char::is_control) {
            let message = "text with control characters";
            return Err(Problem::new(message, "one line only"));
        }
        Ok(Template::new(text.to_owned()))
    }
}

/// The dialect of a broker that supports these forms, which only the `mqtt` dialect has.
pub(crate) const fn with_forms(dialect: Dialect, forms: VendorForms) -> Dialect {
    match dialect {
        Dialect::Mqtt(_) => Dialect::Mqtt(forms),
        other => other,
    }
}

/// `text` with each placeholder replaced by a character that is not a wildcard, so that it can
/// be checked and compared as a topic.
///
/// # Errors
///
/// A placeholder is unknown or not closed.
pub(crate) fn opaque(text: &str) -> Result<String, Problem> {
    let mut out = String::with_capacity(text.len());
    for token in tokens(text) {
        match token {
            Ok(Token::Text(text)) => out.push_str(text),
            Ok(Token::Name(name)) => out.push(match Placeholder::from_word(name) {
                // Private use: no real topic contains these.
                Some(Placeholder::ClientId) => '\u{e000}',
                Some(Placeholder::Username) => '\u{e001}',
                Some(Placeholder::CommonName) => '\u{e002}',
                _ => return Err(unknown(name)),
            }),
            Err(_) => {
                let message = format!("a placeholder in `{text}` is not closed");
                return Err(Problem::new(message, "expected `}`"));
            }
        }
    }
    Ok(out)
}

fn unknown(name: &str) -> Problem {
    let known = <Placeholder as Choice>::ALL.iter().map(|(word, _)| *word);
    let message = format!("unknown placeholder `${{{name}}}`");
    let all: Vec<_> = known.clone().map(|word| format!("${{{word}}}")).collect();
    let all = quoted(all.iter().map(String::as_str));
    match closest(name, known) {
        Some(near) => Problem::new(message, format!("did you mean `${{{near}}}`?")),
        None => Problem::new(message, format!("expected one of {all}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> Result<Template, Problem> {
        FilterTemplate::read(&Raw::String(text.to_owned()), false)
    }

    #[test]
    fn placeholders_may_stand_anywhere_in_a_level() {
        for good in ["${client_id}", "a/${username}-x/+/#", "$SYS/#", "a$b/{c}"] {
            assert_eq!(filter(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn wrong_placeholders_and_filters() {
        for (text, label) in [
            ("a/${clientid}", "did you mean `${client_id}`?"),
            (
                "a/${ip}",
                "expected one of `${client_id}`, `${username}`, `${cn}`",
            ),
            ("a/${client_id", "expected `}`"),
        ] {
            assert_eq!(filter(text).unwrap_err().label, label);
        }
        for bad in [
            "",
            "a#",
            "a/#/b",
            "a+/b",
            "${client_id}#",
            "$share/g/a",
            &"/".repeat(128),
        ] {
            assert!(filter(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_prefix_is_the_start_of_a_topic() {
        let prefix = |text: &str| PrefixTemplate::read(&Raw::String(text.to_owned()), false);
        assert!(prefix("tenants/${username}/").is_ok());
        assert!(prefix("${username}/").is_ok());
        for bad in ["", "a", "a/+/", "$SYS/", "#/"] {
            assert!(prefix(bad).is_err(), "{bad}");
        }
    }
}
