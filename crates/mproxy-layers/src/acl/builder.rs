//! Builds compiled rules from written ones.

use std::sync::Arc;

use mproxy_codec::topic::{Dialect, FilterParts, TopicError, TopicFilter, VendorForms};
use thiserror::Error;

use super::{
    Actions, Effect, Rule, RuleInfo, SessionAcl,
    compiled::Compiled,
    groups::Groups,
    rule_set::{Pattern, Patterns, RuleSet},
    session::Client,
    trie::{Level, MAX_LEVELS, written_out},
};
use crate::{
    identity::Names,
    template::{Template, TemplateError},
};

/// Compiled access rules. Cloning is cheap; all clones share the rules.
///
/// See the [module documentation](super) for what rules mean and for an example.
#[derive(Debug, Clone)]
pub struct Acl(pub(super) Arc<Compiled>);

impl Acl {
    /// Starts to build rules. The default effect is to deny.
    pub fn builder() -> AclBuilder {
        AclBuilder {
            compiled: Compiled {
                default: Effect::Deny,
                rules: Vec::new(),
                everybody: RuleSet::new(Dialect::MQTT),
                groups: Groups::default(),
            },
        }
    }

    /// Returns the rules for one client.
    ///
    /// A missing user name is `None`; an empty client id asks the broker to assign one.
    pub fn for_client(&self, client_id: &str, username: Option<&str>) -> SessionAcl {
        self.for_names(Names::new(client_id, username))
    }

    /// Returns the rules for a client with these names.
    pub fn for_names(&self, names: Names<'_>) -> SessionAcl {
        SessionAcl::new(Client::new(Arc::clone(&self.0), names))
    }

    /// Whether some rule names deliveries, so that deliveries must be checked.
    pub fn judges_deliveries(&self) -> bool {
        let mut groups = self.0.groups.rules();
        self.0.everybody.judges_deliveries || groups.any(|rules| rules.judges_deliveries)
    }

    /// Whether some rule depends on the names of clients.
    pub fn goes_by_names(&self) -> bool {
        let acl = &self.0;
        acl.everybody.placeholders
            || acl.groups.go_by_names()
            || acl.groups.rules().any(|rules| rules.placeholders)
    }

    /// Returns how many rules there are.
    pub fn len(&self) -> usize {
        self.0.rules.len()
    }

    /// Whether there are no rules, so that the default decides everything.
    pub fn is_empty(&self) -> bool {
        self.0.rules.is_empty()
    }
}

/// Builds an [`Acl`], rule by rule.
#[derive(Debug)]
pub struct AclBuilder {
    compiled: Compiled,
}

impl AclBuilder {
    /// Sets the effect if no rule applies.
    ///
    /// Topics and filters that begin with `$` are still denied, unless the broker treats them
    /// like any other.
    pub const fn default_effect(&mut self, effect: Effect) -> &mut Self {
        self.compiled.default = effect;
        self
    }

    /// Sets how the broker reads topics; by default, as the standard says. Topics of clients are
    /// judged as the broker reads them: see the [module documentation](super).
    ///
    /// With [vendor forms](Dialect::Mqtt), `$queue/f`, `$exclusive/f`, `$oshare/g/f` and
    /// `$delayed/5/t` are judged by the topic inside, `f` and `t`; otherwise they are topics of
    /// the broker's own like any other.
    ///
    /// # Panics
    ///
    /// There are already rules, whose meaning would change.
    pub fn dialect(&mut self, dialect: Dialect) -> &mut Self {
        assert!(
            self.compiled.rules.is_empty(),
            "the dialect is said before the rules"
        );
        self.compiled.everybody = RuleSet::new(dialect);
        self
    }

    /// Adds a rule after the existing ones.
    ///
    /// # Errors
    ///
    /// The rule is not valid, or would never apply. It is then not added, and the builder can still be
    /// used: to find mistakes in other rules, not to build without this one.
    pub fn rule(&mut self, rule: Rule) -> Result<&mut Self, AclError> {
        match parse(&rule, self.compiled.dialect()) {
            Ok(patterns) => {
                self.compiled.add(rule, patterns);
                Ok(self)
            }
            Err(problem) => Err(AclError {
                rule: rule.info,
                problem,
            }),
        }
    }

    /// Finishes the rules.
    pub fn build(self) -> Acl {
        Acl(Arc::new(self.compiled))
    }
}

/// A rule that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{rule}: {problem}")]
pub struct AclError {
    rule: RuleInfo,
    problem: Problem,
}

impl AclError {
    /// Returns the rule.
    pub const fn rule(&self) -> &RuleInfo {
        &self.rule
    }

    /// Returns what is wrong with it.
    pub const fn problem(&self) -> &Problem {
        &self.problem
    }
}

/// What is wrong with a rule.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Problem {
    /// The rule has no actions.
    #[error("no action is named")]
    NoActions,
    /// The rule has neither topics nor filters.
    #[error("neither topics nor filters are named")]
    NoPatterns,
    /// The rule has filters, but not the action "subscribe".
    #[error("filters are named, but not the action `subscribe`")]
    FiltersWithoutSubscribe,
    /// The rule has only filters, and actions without filters.
    #[error("actions other than `subscribe` need topics, only filters are named")]
    FiltersOnly,
    /// The rule is for clients that cannot exist.
    #[error("a client with a user name is not anonymous, so the rule matches no client")]
    Nobody,
    /// A list of clients is empty.
    #[error("`{0}` is an empty list, so the rule matches no client")]
    NobodyNamed(&'static str),
    /// A placeholder is not valid.
    #[error("pattern `{pattern}`: {source}")]
    Template {
        /// The pattern as written.
        pattern: String,
        /// What is wrong with it.
        source: TemplateError,
    },
    /// A pattern is not a topic filter.
    #[error("pattern `{pattern}`: {source}")]
    Topic {
        /// The pattern as written.
        pattern: String,
        /// What is wrong with it.
        source: TopicError,
    },
    /// A pattern begins with `$share/`.
    #[error(
        "pattern `{0}`: write the filter without `$share/group/`; it then counts for shared subscriptions, too"
    )]
    Shared(String),
    /// A pattern begins with a vendor form of the [dialect](AclBuilder::dialect).
    #[error("pattern `{0}`: write only the topic in it, without what stands before")]
    Form(String),
    /// The broker reads a pattern differently from how it is written.
    #[error("pattern `{pattern}`: the broker reads it as `{read}`; write that")]
    Otherwise {
        /// The pattern as written.
        pattern: String,
        /// The pattern as the [dialect](AclBuilder::dialect) reads it.
        read: String,
    },
    /// A pattern has too many levels.
    #[error("pattern `{0}` has more than 128 levels")]
    TooDeep(String),
}

fn parse(rule: &Rule, dialect: Dialect) -> Result<Patterns, Problem> {
    if rule.actions.is_empty() {
        return Err(Problem::NoActions);
    }
    if rule.topics.is_empty() && rule.filters.is_empty() {
        return Err(Problem::NoPatterns);
    }
    if !rule.filters.is_empty() && !rule.actions.contains(Actions::SUBSCRIBE) {
        return Err(Problem::FiltersWithoutSubscribe);
    }
    // Such a rule looks as if it denied publishing, but does not.
    if rule.topics.is_empty() && rule.actions != Actions::SUBSCRIBE {
        return Err(Problem::FiltersOnly);
    }
    if rule.who.contradicts_itself() {
        return Err(Problem::Nobody);
    }
    if let Some(key) = rule.who.empty_set() {
        return Err(Problem::NobodyNamed(key));
    }
    Ok(Patterns {
        topics: Pattern::parse_all(&rule.topics, dialect)?,
        filters: Pattern::parse_all(&rule.filters, dialect)?,
    })
}

impl Pattern {
    fn parse_all(texts: &[String], dialect: Dialect) -> Result<Vec<Self>, Problem> {
        texts
            .iter()
            .map(|text| Self::parse(text, dialect))
            .collect()
    }

    fn parse(text: &str, dialect: Dialect) -> Result<Self, Problem> {
        let template = |text: &str, leading| {
            Template::parse(text, leading).map_err(|source| Problem::Template {
                pattern: text.to_owned(),
                source,
            })
        };
        template(text, true)?;
        let text = written_out(text);
        let whole = template(text, true)?;
        let invalid = |source| Problem::Topic {
            pattern: text.to_owned(),
            source,
        };
        TopicFilter::new(&whole.sample()).map_err(invalid)?;
        if text.starts_with("$share/") {
            return Err(Problem::Shared(text.to_owned()));
        }
        // It would never match: a denial would deny nothing.
        if VendorForms::of(text).is_some_and(|form| dialect.forms().contains(form)) {
            return Err(Problem::Form(text.to_owned()));
        }
        // It would not match either: topics are judged as the broker reads them.
        let read = FilterParts::parse(text, dialect).map_err(invalid)?;
        if read.filter().as_str() != text {
            return Err(Problem::Otherwise {
                pattern: text.to_owned(),
                read: read.to_string(),
            });
        }
        if text.split('/').count() > MAX_LEVELS {
            return Err(Problem::TooDeep(text.to_owned()));
        }
        let level = |(place, level)| {
            Ok(match level {
                "+" => Level::Any,
                "#" => Level::Rest,
                _ => Level::Text(template(level, place == 0)?),
            })
        };
        let levels = text
            .split('/')
            .enumerate()
            .map(level)
            .collect::<Result<_, _>>()?;
        let dollar = text.starts_with('$') && !text.starts_with("${");
        let dollar = dollar && dialect.reserves_dollar();
        Ok(Self {
            whole,
            levels,
            dollar,
        })
    }
}
