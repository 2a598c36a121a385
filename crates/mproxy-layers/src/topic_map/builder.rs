//! Builds a reversible map from rules.

use std::sync::Arc;

use mproxy_codec::topic::Dialect;

use super::{
    MapRule, TopicMap,
    error::{MapProblem, TopicMapError},
    map::{Compiled, Settings},
    proof,
    rule::Rule,
};
use crate::identity::Placeholder;

/// Maximum rules of a map: a topic is compared with one after the other.
const MAX_RULES: usize = 64;

/// Builds a [`TopicMap`], rule by rule.
#[derive(Debug, Clone)]
pub struct TopicMapBuilder {
    rules: Vec<MapRule>,
    settings: Settings,
}

impl TopicMapBuilder {
    pub(super) const fn new() -> Self {
        Self {
            rules: Vec::new(),
            settings: Settings {
                dialect: Dialect::MQTT,
                tenant_groups: true,
                super_usernames: Vec::new(),
                super_client_ids: Vec::new(),
            },
        }
    }

    /// Adds a rule after the existing ones. The first one that a topic begins with replaces
    /// it; topics that no rule covers are refused.
    #[must_use]
    pub fn rule(mut self, rule: MapRule) -> Self {
        self.rules.push(rule);
        self
    }

    /// Sets how the broker reads topics; by default, as the standard says. Topics of clients are
    /// mapped as the broker reads them. In [vendor forms](Dialect::Mqtt), the topic inside is mapped;
    /// others are refused.
    #[must_use]
    pub const fn dialect(mut self, dialect: Dialect) -> Self {
        self.settings.dialect = dialect;
        self
    }

    /// Sets whether tenants have separate groups of shared subscriptions. They have by default.
    #[must_use]
    pub const fn tenant_groups(mut self, apart: bool) -> Self {
        self.settings.tenant_groups = apart;
        self
    }

    /// Lets clients with these user names see the broker as it is.
    #[must_use]
    pub fn super_usernames<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        let names = names.into_iter().map(|name| name.into().into_boxed_str());
        self.settings.super_usernames.extend(names);
        self
    }

    /// Lets clients with these client ids see the broker as it is.
    #[must_use]
    pub fn super_client_ids<T: Into<String>>(mut self, ids: impl IntoIterator<Item = T>) -> Self {
        let ids = ids.into_iter().map(|id| id.into().into_boxed_str());
        self.settings.super_client_ids.extend(ids);
        self
    }

    /// Finishes the map, and checks that it can be reversed.
    ///
    /// # Errors
    ///
    /// A rule is not valid or would never apply, or two topics would become one at the
    /// broker; the error has an example.
    pub fn build(self) -> Result<TopicMap, TopicMapError> {
        if self.rules.is_empty() {
            return Err(refused(0, None, MapProblem::Empty));
        }
        if self.rules.len() > MAX_RULES {
            return Err(refused(MAX_RULES, None, MapProblem::TooMany));
        }
        let dialect = self.settings.dialect;
        let parse = |(number, rule)| {
            Rule::parse(rule, dialect).map_err(|problem| refused(number, None, problem))
        };
        let rules = self.rules.iter().enumerate().map(parse);
        let rules = rules.collect::<Result<Vec<_>, _>>()?;
        let apart = rules.iter().any(Rule::differs);
        for (number, (rule, written)) in rules.iter().zip(&self.rules).enumerate() {
            let earlier = rules.get(..number).unwrap_or_default();
            if let Some(other) = earlier
                .iter()
                .position(|it| rule.from.starts_with(&*it.from))
            {
                let earlier = earlier[other].from.to_string();
                let problem = MapProblem::Unreachable { earlier };
                return Err(refused(number, Some(other), problem));
            }
            if rule.shared && rule.differs() {
                return Err(refused(
                    number,
                    None,
                    MapProblem::Shared(written.to.clone()),
                ));
            }
            if apart && !rule.shared && !rule.differs() {
                let problem = MapProblem::NotShared(written.to.clone());
                return Err(refused(number, None, problem));
            }
            for other in 0..number {
                if let Some(collision) = proof::collision(&rules, other, number) {
                    let problem = MapProblem::Collision(Box::new(collision));
                    return Err(refused(number, Some(other), problem));
                }
            }
        }
        Ok(TopicMap(Arc::new(Compiled {
            tenant: tenant(&rules),
            rules,
            settings: self.settings,
        })))
    }
}

const fn refused(rule: usize, other: Option<usize>, problem: MapProblem) -> TopicMapError {
    TopicMapError {
        rule,
        other,
        problem,
    }
}

/// What identifies a tenant: the placeholders that all rules have in common, or all that
/// there are if there is none in common. Shared rules do not count.
fn tenant(rules: &[Rule]) -> Vec<Placeholder> {
    let apart = || rules.iter().filter(|rule| rule.differs());
    let of = |common: bool| -> Vec<Placeholder> {
        let has = |it: Placeholder| {
            let mut rules = apart().map(|rule| rule.placeholders().any(|other| other == it));
            if common {
                rules.all(|has| has)
            } else {
                rules.any(|has| has)
            }
        };
        Placeholder::ALL.into_iter().filter(|it| has(*it)).collect()
    };
    if apart().next().is_none() {
        return Vec::new();
    }
    match of(true) {
        none if none.is_empty() => of(false),
        common => common,
    }
}
