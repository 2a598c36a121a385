//! The map itself, independent of packets.

use std::{borrow::Cow, sync::Arc};

use mproxy_codec::topic::{
    Dialect, FilterForm, FilterParts, MAX_TOPIC_LENGTH, NameParts, TopicError, TopicFilter,
};

use super::{
    MapRule, TopicMapBuilder,
    error::{MapError, MapProblem, TopicMapError, UnusableName},
    proof,
    rule::{Rule, join, strip},
};
use crate::identity::{Names, Placeholder, Values};

/// A map of topics that may differ from client to client. Cloning is cheap.
///
/// See the [module documentation](super) for an example.
#[derive(Debug, Clone)]
pub struct TopicMap(pub(super) Arc<Compiled>);

#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) rules: Vec<Rule>,
    /// What makes a client one of a tenant.
    pub(super) tenant: Vec<Placeholder>,
    pub(super) settings: Settings,
}

#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) dialect: Dialect,
    pub(super) tenant_groups: bool,
    pub(super) super_usernames: Vec<Box<str>>,
    pub(super) super_client_ids: Vec<Box<str>>,
}

impl TopicMap {
    /// Adds a prefix to every topic: a map with one rule, for all topics.
    ///
    /// # Errors
    ///
    /// As for [`TopicMapBuilder::build`].
    pub fn prefix(prefix: &str) -> Result<Self, TopicMapError> {
        if prefix.is_empty() {
            return Err(TopicMapError {
                rule: 0,
                other: None,
                problem: MapProblem::Empty,
            });
        }
        Self::builder().rule(MapRule::new("", prefix)).build()
    }

    /// Starts to build a map.
    pub const fn builder() -> TopicMapBuilder {
        TopicMapBuilder::new()
    }

    /// Whether the map depends on names of clients.
    pub fn goes_by_names(&self) -> bool {
        let Settings {
            super_usernames,
            super_client_ids,
            ..
        } = &self.0.settings;
        let differs = self.0.rules.iter().any(Rule::differs);
        differs || !super_usernames.is_empty() || !super_client_ids.is_empty()
    }

    /// Whether a client is a super client, which is not mapped.
    pub fn is_super(&self, names: Names<'_>) -> bool {
        let settings = &self.0.settings;
        let named = |names: &[Box<str>], name: &str| names.iter().any(|it| **it == *name);
        named(&settings.super_client_ids, names.client_id)
            || names
                .username
                .is_some_and(|name| named(&settings.super_usernames, name))
    }

    /// Returns the map of one client.
    ///
    /// # Errors
    ///
    /// The client has no usable value for a placeholder; it must not be let in.
    pub fn for_client(&self, names: Names<'_>) -> Result<SessionMap, UnusableName> {
        let dialect = self.0.settings.dialect;
        let values = Values::new(names, dialect);
        let fill = |rule: &Rule| {
            let filled = rule.to.fill(&values).map(String::into_boxed_str);
            filled.ok_or_else(|| unusable(rule.to.missing(&values), names, dialect))
        };
        let to = self.0.rules.iter().map(fill).collect::<Result<_, _>>()?;
        let mut group = String::new();
        if self.0.settings.tenant_groups {
            for &placeholder in &self.0.tenant {
                let value = values.value(placeholder, false).unwrap_or_default();
                group.push_str(&value.replace('%', "%25").replace(':', "%3A"));
                group.push(':');
            }
        }
        Ok(SessionMap {
            map: self.clone(),
            to,
            group: group.into(),
        })
    }
}

/// The map of one client. Cloning is cheap enough for once per session.
#[derive(Debug, Clone)]
pub struct SessionMap {
    map: TopicMap,
    /// What each rule replaces by.
    to: Box<[Box<str>]>,
    /// What stands before the client's groups.
    group: Box<str>,
}

impl SessionMap {
    fn rules(&self) -> impl Iterator<Item = (&Rule, &str)> {
        let to = self.to.iter().map(|to| &**to);
        self.map.0.rules.iter().zip(to)
    }

    fn dialect(&self) -> Dialect {
        self.map.0.settings.dialect
    }

    /// Bytes of data from the client in it.
    pub(super) fn size(&self) -> usize {
        let to = self.to.iter().map(|to| to.len()).sum::<usize>();
        to + self.group.len()
    }

    /// Returns how many bytes longer than the client's a topic of the broker may be.
    pub fn growth(&self) -> usize {
        let longer = self
            .rules()
            .map(|(rule, to)| to.len().saturating_sub(rule.from.len()));
        longer.max().unwrap_or_default()
    }

    /// Returns the broker's name for a topic that the client publishes to, or has others publish to.
    ///
    /// # Errors
    ///
    /// The name is not valid, or not for the broker; no rule covers it, or it is
    /// [shared](MapRule::shared) and not [writable](MapRule::writable); or it begins with `$` and is
    /// no form of the dialect, or would be too long.
    pub fn map_name(&self, name: &str) -> Result<String, MapError> {
        let parts = NameParts::parse(name, self.dialect())?;
        let mapped = self.map_plain_name(parts.name().as_str())?;
        match parts.delay {
            None => Ok(mapped),
            Some(delay) => checked(format!("$delayed/{delay}/{mapped}")),
        }
    }

    fn map_plain_name(&self, name: &str) -> Result<String, MapError> {
        if name.starts_with('$') {
            return Err(MapError::Dollar);
        }
        let mut rules = self.rules();
        let own = rules.find_map(|(rule, to)| Some((rule, to, strip(name, &rule.from)?)));
        let (rule, to, rest) = own.ok_or(MapError::Unmapped)?;
        if rule.read_only {
            return Err(MapError::ReadOnly);
        }
        let mapped = join(to, rest).ok_or(MapError::Unmapped)?;
        if mapped.starts_with('$') {
            return Err(MapError::Dollar);
        }
        checked(mapped)
    }

    /// Returns the client's name for a topic of the broker, `None` if the client must not see it.
    pub fn unmap_name<'a>(&self, name: &'a str) -> Option<Cow<'a, str>> {
        match self.dialect().read_name(name).ok()? {
            Cow::Borrowed(name) => self.unmap_plain_name(name),
            Cow::Owned(name) => {
                let name = self.unmap_plain_name(&name)?;
                Some(Cow::Owned(name.into_owned()))
            }
        }
    }

    fn unmap_plain_name<'a>(&self, name: &'a str) -> Option<Cow<'a, str>> {
        // it is the broker's own, or what no client of this map was let publish
        if name.starts_with('$') {
            return None;
        }
        self.rules().enumerate().find_map(|(number, (rule, to))| {
            let rest = strip(name, to)?;
            let name = match rest {
                Some(rest) if rule.from.is_empty() => Cow::Borrowed(rest),
                rest => Cow::Owned(join(&rule.from, rest)?),
            };
            let usable = !name.is_empty() && !name.starts_with('$');
            // what an earlier rule takes elsewhere did not come from here
            let own = || proof::owner(&self.map.0.rules, &name) == Some(number);
            (usable && own()).then_some(name)
        })
    }

    /// Returns the broker's filter for one that the client subscribes to or unsubscribes from.
    ///
    /// A filter belongs to the first rule that it begins with, as a topic does, and is mapped as if
    /// it were one. That is right if every rule that covers some of what it matches would do
    /// the same, and otherwise it is refused. So a filter that is mapped matches, at the broker, what
    /// the topics become that it matches here, and of the topics of this map nothing else. Two
    /// filters do not become one: those of one rule differ in what follows, and for those of two
    /// rules the [proof](super) for topics holds, in which a filter is a topic with other levels.
    ///
    /// # Errors
    ///
    /// The filter is not valid, or not for the broker; no rule, or more than one, covers what it
    /// matches, it begins with `$` and is not a form of the dialect, or it would be too long.
    pub fn map_filter(&self, filter: &str) -> Result<String, MapError> {
        let parts = FilterParts::parse(filter, self.dialect())?;
        let (number, inner) = self.map_plain_filter(parts.filter())?;
        let grouped;
        let form = match parts.form {
            FilterForm::Plain => return checked(inner),
            FilterForm::Shared { group } => {
                grouped = [&self.group, group].concat();
                FilterForm::Shared { group: &grouped }
            }
            FilterForm::OrderedShared { group } => {
                grouped = [&self.group, group].concat();
                FilterForm::OrderedShared { group: &grouped }
            }
            form if self.map.0.rules.get(number).is_some_and(|it| it.shared) => {
                // there is no group to tell the tenants apart by
                let apart = self.map.0.settings.tenant_groups;
                if apart && !self.map.0.tenant.is_empty() {
                    return Err(MapError::SharedForm);
                }
                form
            }
            form => form,
        };
        checked(format!("{form}{inner}"))
    }

    /// Returns the mapped filter, and the rule that did it.
    fn map_plain_filter(&self, filter: TopicFilter<'_>) -> Result<(usize, String), MapError> {
        if filter.is_dollar() {
            return Err(MapError::Dollar);
        }
        let text = filter.as_str();
        let own = self
            .rules()
            .enumerate()
            .find_map(|(number, (rule, to))| Some((number, rule, to, strip(text, &rule.from)?)));
        let Some((number, rule, to, rest)) = own else {
            return Err(MapError::Unmapped);
        };
        if filter.has_wildcard() && !self.agree(number, (rule, to), filter) {
            return Err(MapError::Spans);
        }
        let mapped = join(to, rest).ok_or(MapError::Unmapped)?;
        if mapped.starts_with('$') {
            return Err(MapError::Dollar);
        }
        Ok((number, mapped))
    }

    /// Says whether all rules that cover something that the filter matches do what its own rule
    /// does. Only earlier rules may do something else: what is left for later ones is nothing.
    fn agree(&self, number: usize, own: (&Rule, &str), filter: TopicFilter<'_>) -> bool {
        let earlier = || self.rules().take(number);
        earlier().enumerate().all(|(at, (rule, to))| {
            let Some(more) = rule.from.strip_prefix(&*own.0.from) else {
                return true;
            };
            to.strip_prefix(own.1) == Some(more)
                || meet(filter, &rule.from).is_none_or(|meeting| {
                    let mut before = earlier().take(at);
                    before.any(|(before, _)| strip(&meeting, &before.from).is_some())
                })
        })
    }
}

/// Returns the filter that matches what `filter` matches below `beginning`.
fn meet(filter: TopicFilter<'_>, beginning: &str) -> Option<String> {
    let whole = format!("{beginning}#");
    if !TopicFilter::new(&whole).ok()?.overlaps(filter) {
        return None;
    }
    let mut levels: Vec<&str> = beginning.split_terminator('/').collect();
    let mut own = filter.levels();
    for _ in 0..levels.len() {
        // `#` stands for the rest of the beginning and everything below
        match own.next() {
            Some("#") => {
                levels.push("#");
                return Some(levels.join("/"));
            }
            Some(_) => {}
            // the beginning itself, which `#` at its end matches too
            None => return Some(levels.join("/")),
        }
    }
    levels.extend(own);
    Some(levels.join("/"))
}

/// Says which name is missing, and whether it would do before another broker.
fn unusable(missing: Option<Placeholder>, names: Names<'_>, dialect: Dialect) -> UnusableName {
    let name = missing.and_then(|placeholder| names.get(placeholder));
    let read_otherwise =
        name.is_some_and(|name| Dialect::MQTT.is_literal(name) && !dialect.is_literal(name));
    UnusableName {
        missing: missing.map_or("name", Placeholder::what),
        difference: if read_otherwise {
            dialect.difference()
        } else {
            ""
        },
    }
}

fn checked(topic: String) -> Result<String, MapError> {
    if topic.len() > MAX_TOPIC_LENGTH {
        return Err(TopicError::TooLong.into());
    }
    Ok(topic)
}
