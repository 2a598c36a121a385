//! Rules as an operator writes them, and the lookup of the rule for a topic.

use std::sync::Arc;

use mproxy_codec::topic::{Dialect, NameParts, TopicError, TopicFilter, TopicName};
use thiserror::Error;

/// What happens to a retained message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Retain {
    /// It is forwarded.
    #[default]
    Allow,
    /// It is forwarded, but the broker does not retain it.
    Clear,
    /// It is refused.
    Refuse,
}

/// One rule, as an operator writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishRule {
    topics: Vec<String>,
    pub(super) at_most_once: bool,
    pub(super) retain: Retain,
    pub(super) max_payload: usize,
}

impl PublishRule {
    /// A rule for topics that match one of these filters. It does not change or refuse anything yet.
    pub fn new<T: Into<String>>(topics: impl IntoIterator<Item = T>) -> Self {
        Self {
            topics: topics.into_iter().map(Into::into).collect(),
            at_most_once: false,
            retain: Retain::Allow,
            max_payload: usize::MAX,
        }
    }

    /// Sets whether messages of QoS 1 and 2 are forwarded at QoS 0.
    #[must_use]
    pub const fn at_most_once(mut self, lower: bool) -> Self {
        self.at_most_once = lower;
        self
    }

    /// Sets what happens to messages with RETAIN.
    #[must_use]
    pub const fn retain(mut self, retain: Retain) -> Self {
        self.retain = retain;
        self
    }

    /// The largest payload in bytes.
    #[must_use]
    pub const fn max_payload(mut self, bytes: usize) -> Self {
        self.max_payload = bytes;
        self
    }

    /// The name of the rule for an operator: its filters.
    pub(super) fn name(&self) -> String {
        self.topics.join(", ")
    }
}

/// A rule that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PublishRuleError {
    /// A rule has no topics.
    #[error("a rule without topics")]
    NoTopics,
    /// A topic filter is not one, or the broker cannot read it.
    #[error("`{topic}`: {error}")]
    Topic {
        /// The filter.
        topic: String,
        /// What is wrong with it.
        error: TopicError,
    },
    /// The broker reads a topic filter differently from how it is written.
    #[error("the broker reads `{topic}` as `{read}`")]
    Otherwise {
        /// The filter.
        topic: String,
        /// What the broker reads.
        read: String,
    },
}

/// Rules, shared by all sessions.
#[derive(Debug, Clone)]
pub struct PublishRules(Arc<Compiled>);

#[derive(Debug, Default)]
struct Compiled {
    dialect: Dialect,
    rules: Vec<PublishRule>,
}

/// Builds [`PublishRules`].
#[derive(Debug, Default)]
pub struct PublishRulesBuilder(Compiled);

impl PublishRulesBuilder {
    /// Sets how the broker reads topics. Call it before adding rules, which must be written like that.
    #[must_use]
    pub const fn dialect(mut self, dialect: Dialect) -> Self {
        self.0.dialect = dialect;
        self
    }

    /// Adds a rule after the existing ones.
    ///
    /// # Errors
    ///
    /// One of its topics is not a filter, or the broker reads it as another one.
    pub fn rule(mut self, rule: PublishRule) -> Result<Self, PublishRuleError> {
        if rule.topics.is_empty() {
            return Err(PublishRuleError::NoTopics);
        }
        for topic in &rule.topics {
            let read = self.0.dialect.read_filter(topic);
            let read = read.map_err(|error| PublishRuleError::Topic {
                topic: topic.clone(),
                error,
            })?;
            if *read != **topic {
                return Err(PublishRuleError::Otherwise {
                    topic: topic.clone(),
                    read: read.into_owned(),
                });
            }
        }
        self.0.rules.push(rule);
        Ok(self)
    }

    /// Finishes the rules.
    pub fn build(self) -> PublishRules {
        PublishRules(Arc::new(self.0))
    }
}

impl PublishRules {
    /// Starts without rules, for a broker that reads topics as the standard says.
    pub fn builder() -> PublishRulesBuilder {
        PublishRulesBuilder::default()
    }

    /// Whether there are no rules.
    pub fn is_empty(&self) -> bool {
        self.0.rules.is_empty()
    }

    /// The first rule with a filter that matches the topic, as the broker reads it, and its number.
    ///
    /// # Errors
    ///
    /// The broker reads the topic as none of the standard: no rule could match what it makes of it.
    #[inline]
    pub(super) fn of(&self, topic: &str) -> Result<Option<(usize, &PublishRule)>, TopicError> {
        let Compiled { dialect, rules } = &*self.0;
        let parts = NameParts::parse(topic, *dialect)?;
        let name = parts.name();
        let letter = (name.is_dollar() && !dialect.reserves_dollar()).then(|| plain(name));
        let matches = |filter: &str| {
            TopicFilter::new(filter).is_ok_and(|filter| {
                let plain = letter.as_deref().and_then(|it| TopicName::new(it).ok());
                filter.matches(name) || plain.is_some_and(|plain| filter.matches(plain))
            })
        };
        let mut rules = rules.iter().enumerate();
        Ok(rules.find(|(_, rule)| rule.topics.iter().any(|topic| matches(topic))))
    }
}

/// The name with another letter in the place of its `$`, which is one to the broker: a wildcard
/// matches it.
fn plain(name: TopicName<'_>) -> String {
    name.as_str().replacen('$', "\u{e000}", 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mproxy_codec::topic::VendorForms;

    fn rules(dialect: Dialect, topics: &[&str]) -> PublishRules {
        let builder = PublishRules::builder().dialect(dialect);
        let rules = topics.iter().try_fold(builder, |builder, topic| {
            builder.rule(PublishRule::new([*topic]))
        });
        rules.unwrap().build()
    }

    fn first(rules: &PublishRules, topic: &str) -> Option<usize> {
        rules.of(topic).unwrap().map(|(number, _)| number)
    }

    #[test]
    fn the_first_match_decides() {
        let rules = rules(Dialect::MQTT, &["a/+", "a/#", "b"]);
        for (topic, rule) in [
            ("a/b", Some(0)),
            ("a/b/c", Some(1)),
            ("b", Some(2)),
            ("c", None),
        ] {
            assert_eq!(first(&rules, topic), rule, "{topic}");
        }
    }

    #[test]
    fn topics_are_matched_as_the_broker_reads_them() {
        let amqp = rules(Dialect::Amqp, &["a/b", "#"]);
        assert_eq!(first(&amqp, "a.b"), Some(0));
        assert_eq!(first(&amqp, "$x"), Some(1));
        assert!(amqp.of("a/*").is_err());
        let delayed = rules(Dialect::Mqtt(VendorForms::DELAYED), &["a"]);
        assert_eq!(first(&delayed, "$delayed/5/a"), Some(0));
        assert_eq!(first(&rules(Dialect::MQTT, &["#"]), "$x"), None);
    }

    #[test]
    fn filters_are_written_as_the_broker_reads_them() {
        let rule = |dialect, topic: &str| {
            let builder = PublishRules::builder().dialect(dialect);
            builder.rule(PublishRule::new([topic])).map(|_| ())
        };
        assert!(rule(Dialect::MQTT, "a.b").is_ok());
        let told = rule(Dialect::Amqp, "a.b").unwrap_err();
        assert_eq!(told.to_string(), "the broker reads `a.b` as `a/b`");
        assert!(rule(Dialect::MQTT, "a/#/b").is_err());
    }
}
