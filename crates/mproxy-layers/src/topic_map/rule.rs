//! One rule of a map: as an operator writes it, and parsed.

use mproxy_codec::topic::{Dialect, TopicName};

use super::error::MapProblem;
use crate::{
    identity::{Names, Placeholder, Values},
    template::{Part, Template},
};

/// Replaces the start of topics: `from` on the client's side, `to` at the broker.
///
/// Both are whole levels, each with its slash, or empty. A rule for `devices/` also covers the topic
/// `devices`, so it covers the same topics as the filter `devices/#`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MapRule {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) shared: bool,
    pub(super) writable: bool,
}

impl MapRule {
    /// Replaces `from`, which is literal, by `to`, in which `${username}`, `${client_id}` and `${cn}`
    /// may stand. An empty `from` covers all topics.
    pub fn new(from: impl Into<String>, to: impl Into<String>) -> Self {
        Self {
            from: from.into(),
            to: to.into(),
            shared: false,
            writable: false,
        }
    }

    /// Lets all clients share these topics, although other rules keep clients apart. They may read them,
    /// but not publish unless the rule is [writable](Self::writable), because all tenants read what one
    /// publishes.
    #[must_use]
    pub const fn shared(mut self, shared: bool) -> Self {
        self.shared = shared;
        self
    }

    /// Sets whether clients may publish to [shared](Self::shared) topics. Rules that are not shared
    /// are always writable.
    #[must_use]
    pub const fn writable(mut self, writable: bool) -> Self {
        self.writable = writable;
        self
    }
}

/// A rule, parsed.
#[derive(Debug)]
pub(super) struct Rule {
    /// Empty, or with a slash at the end.
    pub(super) from: Box<str>,
    pub(super) to: Template,
    pub(super) levels: Box<[Level]>,
    pub(super) shared: bool,
    /// Clients may not publish there.
    pub(super) read_only: bool,
}

/// One level of what a topic is mapped to: `before`, the value of a placeholder, `after`.
#[derive(Debug)]
pub(super) struct Level {
    pub(super) before: Box<str>,
    pub(super) placeholder: Option<Placeholder>,
    pub(super) after: Box<str>,
}

impl Rule {
    pub(super) fn parse(rule: &MapRule, dialect: Dialect) -> Result<Self, MapProblem> {
        if rule.from.contains("${") {
            return Err(MapProblem::FromPlaceholder(rule.from.clone()));
        }
        check(&rule.from, &rule.from, dialect)?;
        let to = Template::parse(&rule.to, true).map_err(MapProblem::Template)?;
        check(&rule.to, &to.sample(), dialect)?;
        let mut seen = Vec::new();
        let mut levels = Vec::new();
        // each level with its slash
        for (place, level) in rule.to.split_terminator('/').enumerate() {
            let level = Template::parse(level, place == 0).map_err(MapProblem::Template)?;
            levels.push(parse_level(&level, rule, &to, &mut seen)?);
        }
        Ok(Self {
            from: rule.from.as_str().into(),
            to,
            levels: levels.into(),
            shared: rule.shared,
            read_only: rule.shared && !rule.writable,
        })
    }

    /// The placeholders of the rule, each once.
    pub(super) fn placeholders(&self) -> impl Iterator<Item = Placeholder> {
        self.levels.iter().filter_map(|level| level.placeholder)
    }

    /// Whether the rule keeps clients apart.
    pub(super) fn differs(&self) -> bool {
        self.placeholders().next().is_some()
    }
}

fn parse_level(
    level: &Template,
    rule: &MapRule,
    to: &Template,
    seen: &mut Vec<Placeholder>,
) -> Result<Level, MapProblem> {
    let mut parsed = Level {
        before: Box::default(),
        placeholder: None,
        after: Box::default(),
    };
    for part in level.parts() {
        match (part, parsed.placeholder) {
            (Part::Literal(text), None) => parsed.before.clone_from(text),
            (Part::Literal(text), Some(_)) => parsed.after.clone_from(text),
            (Part::Placeholder(placeholder), _) if seen.contains(placeholder) => {
                return Err(MapProblem::Repeated {
                    to: rule.to.clone(),
                    placeholder: placeholder.name(),
                });
            }
            (Part::Placeholder(placeholder), None) => {
                seen.push(*placeholder);
                parsed.placeholder = Some(*placeholder);
            }
            (Part::Placeholder(second), Some(first)) => {
                return Err(ambiguous(rule, to, (first, &parsed.after, *second)));
            }
        }
    }
    Ok(parsed)
}

/// Two values side by side in one level: where one ends and the other begins, nobody can tell.
fn ambiguous(
    rule: &MapRule,
    to: &Template,
    (first, between, second): (Placeholder, &str, Placeholder),
) -> MapProblem {
    let (short, long) = ("a".to_owned(), format!("a{between}a"));
    let one = [(first, short.clone()), (second, long.clone())];
    let other = [(first, long), (second, short)];
    let value = |placeholder| {
        let named = one.iter().find(|(it, _)| *it == placeholder);
        named.map_or("a", |(_, value)| value)
    };
    let names = Names::new(
        value(Placeholder::ClientId),
        Some(value(Placeholder::Username)),
    );
    let names = names.common_name(value(Placeholder::CommonName));
    let topic = to
        .fill(&Values::new(names, Dialect::MQTT))
        .unwrap_or_default();
    MapProblem::Ambiguous {
        to: rule.to.clone(),
        one: described(&one),
        other: described(&other),
        topic: format!("{topic}x"),
    }
}

/// `username `a`, client id `b``
pub(super) fn described(values: &[(Placeholder, String)]) -> String {
    let values = values
        .iter()
        .map(|(placeholder, value)| format!("{} `{value}`", placeholder.what()));
    values.collect::<Vec<_>>().join(", ")
}

/// Checks the beginning of topics; `sample` is the text without placeholders.
fn check(text: &str, sample: &str, dialect: Dialect) -> Result<(), MapProblem> {
    if sample.is_empty() {
        return Ok(());
    }
    let invalid = |source| MapProblem::Topic {
        text: text.to_owned(),
        source,
    };
    let name = TopicName::new(sample).map_err(invalid)?;
    if dialect.read_name(sample).map_err(invalid)? != sample {
        // a placeholder has nothing in it that is read otherwise
        let read = dialect.read_name(text).map_err(invalid)?.into_owned();
        let text = text.to_owned();
        return Err(MapProblem::Otherwise { text, read });
    }
    if name.is_dollar() {
        return Err(MapProblem::Dollar(text.to_owned()));
    }
    // Otherwise the last level would be glued to the first one of what follows.
    if !sample.ends_with('/') {
        return Err(MapProblem::NoSlash(text.to_owned()));
    }
    Ok(())
}

/// What follows the beginning of a topic: `Some(Some("a/b"))` for `t/a/b` after `t/`, `Some(None)`
/// for `t` itself, `None` for anything else.
pub(super) fn strip<'a>(topic: &'a str, beginning: &str) -> Option<Option<&'a str>> {
    if let Some(rest) = topic.strip_prefix(beginning) {
        return Some(Some(rest));
    }
    (beginning.strip_suffix('/') == Some(topic)).then_some(None)
}

/// Puts another beginning before what follows; `None` if nothing is left that could be a topic.
pub(super) fn join(beginning: &str, rest: Option<&str>) -> Option<String> {
    let topic = match rest {
        Some(rest) => [beginning, rest].concat(),
        None => beginning.strip_suffix('/')?.to_owned(),
    };
    (!topic.is_empty()).then_some(topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_whole_levels() {
        for (topic, beginning, rest) in [
            ("t/a/b", "t/", Some(Some("a/b"))),
            ("t/", "t/", Some(Some(""))),
            ("t", "t/", Some(None)),
            ("tt/a", "t/", None),
            ("tt", "t/", None),
            ("", "t/", None),
            ("a", "", Some(Some("a"))),
            ("/a", "/", Some(Some("a"))),
            ("a", "/", None),
            ("t/u", "t/u/", Some(None)),
            ("t", "t/u/", None),
        ] {
            assert_eq!(strip(topic, beginning), rest, "{topic} {beginning}");
            if let Some(rest) = rest {
                assert_eq!(join(beginning, rest).as_deref(), Some(topic));
            }
        }
        assert_eq!(
            (join("", None), join("", Some("")), join("/", None)),
            (None, None, None)
        );
    }
}
