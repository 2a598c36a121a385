//! The rules for one client.

use std::sync::Arc;

use mproxy_codec::topic::{FilterParts, TopicError, TopicFilter, TopicName};

use super::{
    Actions, Cause, Decision, Effect,
    compiled::Compiled,
    decision::Unusable,
    memory::Memory,
    read::{ReadFilter, ReadName},
    rule_set::{Guard, RuleSet},
    trie::{NO_RULE, Purpose},
};
use crate::{
    Action,
    identity::{Names, Values},
};

/// Maximum patterns to check to explain a denial, because a client can cause many denials.
const EXPLAINED: usize = 256;

/// The rules of an [`Acl`](super::Acl) for one client.
///
/// Devices publish to the same topic over and over, so the verdict on the last topic is
/// remembered: a repeated topic costs one comparison and no lookup. A clone shares the rules and
/// the names, but not the remembered verdict.
#[derive(Debug, Clone)]
pub struct SessionAcl {
    client: Arc<Client>,
    memory: Memory,
}

impl SessionAcl {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client: Arc::new(client),
            memory: Memory::default(),
        }
    }

    /// Decides whether the client may publish to a topic, or set a will on it.
    ///
    /// `topic` is a topic name, with any alias resolved. Other text, such as a topic filter, is denied
    /// as [`Cause::Malformed`].
    pub fn decide_publish(&mut self, topic: impl AsRef<[u8]>) -> Decision<'_> {
        let topic = topic.as_ref();
        let verdict = match TopicName::from_bytes(topic) {
            Ok(_) => self.memory.judge_publish(&self.client, topic),
            Err(error) => Verdict::unreadable(error),
        };
        self.client.explain(Action::Publish, topic, verdict)
    }

    /// Decides whether the client may receive messages on a topic.
    ///
    /// `topic` is a topic name, with any alias resolved. Other text is denied as
    /// [`Cause::Malformed`].
    pub fn decide_deliver(&self, topic: impl AsRef<[u8]>) -> Decision<'_> {
        let topic = topic.as_ref();
        let verdict = match TopicName::from_bytes(topic) {
            Ok(_) => self.client.judge_deliver(topic),
            Err(error) => Verdict::unreadable(error),
        };
        self.client.explain(Action::Deliver, topic, verdict)
    }

    /// Decides whether the client may subscribe to a filter, which may be a shared subscription.
    ///
    /// A filter that breaks the rules of MQTT is denied as [`Cause::Malformed`].
    pub fn decide_subscribe(&self, filter: &str) -> Decision<'_> {
        let verdict = self.client.judge_subscribe(filter);
        self.client
            .explain(Action::Subscribe, filter.as_bytes(), verdict)
    }
}

/// A decision without borrows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    rule: u32,
    cause: Cause,
    allowed: bool,
}

/// What is assumed as long as nothing was judged: no.
impl Default for Verdict {
    fn default() -> Self {
        Self {
            rule: NO_RULE,
            cause: Cause::Default,
            allowed: false,
        }
    }
}

impl Verdict {
    /// The verdict about what has no reading.
    const fn unreadable(error: TopicError) -> Self {
        Self {
            rule: NO_RULE,
            cause: match error {
                TopicError::Untranslatable => Cause::Untranslatable,
                _ => Cause::Malformed,
            },
            allowed: false,
        }
    }

    #[inline]
    pub(super) const fn allowed(self) -> bool {
        self.allowed
    }

    /// Returns the number of the rule, higher than all if none decided.
    pub(super) const fn rule(self) -> u32 {
        self.rule
    }

    pub(super) const fn is_malformed(self) -> bool {
        matches!(
            self.cause,
            Cause::Malformed | Cause::Untranslatable | Cause::NotShared
        )
    }
}

/// The rules and the names of one client.
#[derive(Debug)]
pub(super) struct Client {
    acl: Arc<Compiled>,
    /// `None` if no rule needs a name, and all rules are for all clients.
    named: Option<Box<Named>>,
}

/// The values of one client for rules with placeholders.
#[derive(Debug)]
struct Named {
    values: Values,
    barred: Barred,
    /// Boxed twice, to be one pointer wide: few clients are in one.
    groups: Option<Box<InGroups>>,
}

/// The groups that a client is in; at least one.
#[derive(Debug)]
struct InGroups(Box<[u32]>);

/// For each action, the first deny rule for which this client has no usable name.
#[derive(Debug, Clone, Copy)]
struct Barred {
    publish: u32,
    subscribe: u32,
    deliver: u32,
}

impl Barred {
    fn of(&self, action: Action) -> u32 {
        match action {
            Action::Publish | Action::Will => self.publish,
            Action::Subscribe => self.subscribe,
            Action::Deliver => self.deliver,
        }
    }
}

impl Client {
    pub(super) fn new(acl: Arc<Compiled>, of: Names<'_>) -> Self {
        let groups = acl.groups.of(of);
        let groups = (!groups.is_empty()).then(|| Box::new(InGroups(groups)));
        let named = (groups.is_some() || acl.everybody.placeholders).then(|| {
            let values = Values::new(of, acl.dialect());
            let barring = |action: Action| {
                let guards = sets(&acl, groups.as_deref()).flat_map(|rules| &rules.guards);
                let barring = guards.filter(|guard| {
                    guard.actions.contains(Actions::from(action))
                        && !guard.pattern.is_fillable(&values)
                });
                barring.map(|guard| guard.rule).min().unwrap_or(NO_RULE)
            };
            let barred = Barred {
                publish: barring(Action::Publish),
                subscribe: barring(Action::Subscribe),
                deliver: barring(Action::Deliver),
            };
            Box::new(Named {
                values,
                barred,
                groups,
            })
        });
        Self { acl, named }
    }

    /// Bytes of data from the client in it.
    pub(super) fn size(&self) -> usize {
        self.values().size()
    }

    fn values(&self) -> &Values {
        match &self.named {
            Some(named) => &named.values,
            None => const { &Values::NONE },
        }
    }

    /// Returns the lowest matching rule of all sets of rules for this client.
    #[inline]
    fn lowest(&self, rule: impl Fn(&RuleSet, &Values) -> u32) -> u32 {
        let groups = self.named.as_ref().and_then(|it| it.groups.as_deref());
        let rules = sets(&self.acl, groups).map(|rules| rule(rules, self.values()));
        rules.min().unwrap_or(NO_RULE)
    }

    /// Whether some rule for this client names deliveries.
    pub(super) fn judges_deliveries(&self) -> bool {
        let groups = self.named.as_ref().and_then(|it| it.groups.as_deref());
        sets(&self.acl, groups).any(|rules| rules.judges_deliveries)
    }

    pub(super) fn judge_publish(&self, topic: &[u8]) -> Verdict {
        let read = ReadName::published(topic, self.acl.dialect());
        self.judge_name(Action::Publish, Purpose::Publish, read)
    }

    pub(super) fn judge_deliver(&self, topic: &[u8]) -> Verdict {
        let read = ReadName::delivered(topic, self.acl.dialect());
        self.judge_name(Action::Deliver, Purpose::Deliver, read)
    }

    #[inline]
    fn judge_name(
        &self,
        action: Action,
        purpose: Purpose,
        read: Result<ReadName<'_>, TopicError>,
    ) -> Verdict {
        match read {
            Ok(topic) => {
                let rule =
                    self.lowest(|rules, values| rules.trie.matching(purpose, &topic, values));
                self.verdict(action, rule, topic.as_bytes())
            }
            Err(error) => Verdict::unreadable(error),
        }
    }

    pub(super) fn judge_subscribe(&self, filter: &str) -> Verdict {
        let filter = match ReadFilter::subscribed(filter, self.acl.dialect()) {
            Ok(filter) => filter,
            Err(TopicError::Untranslatable) if filter.starts_with("$share/") => {
                return Verdict {
                    cause: Cause::NotShared,
                    ..Verdict::default()
                };
            }
            Err(error) => return Verdict::unreadable(error),
        };
        // Whatever stands before: a rule that allows `#` says nothing about these topics.
        let leaking = self.lowest(|rules, values| rules.trie.leaking(&filter, values));
        if leaking != NO_RULE {
            return self.verdict(Action::Subscribe, leaking, filter.as_bytes());
        }
        let rule = self.lowest(|rules, values| {
            let covering = rules.trie.covering(&filter, values);
            let overlapping = rules.trie.overlapping(&filter, values);
            let mut lowest = covering.min(overlapping);
            let filters = &rules.filters;
            filters.each(filter.as_bytes(), values, |rule| lowest = lowest.min(*rule));
            lowest
        });
        self.verdict(Action::Subscribe, rule, filter.as_bytes())
    }

    /// Gives the reason for a verdict about a topic or filter.
    pub(super) fn explain(&self, action: Action, topic: &[u8], verdict: Verdict) -> Decision<'_> {
        let rule = self.acl.rules.get(verdict.rule as usize);
        let decision = Decision::new(verdict.allowed, verdict.cause, rule);
        decision.unusable(match verdict.cause {
            Cause::UnusableName => {
                self.unusable(|rules| &rules.guards, |guard, _| guard.rule == verdict.rule)
            }
            Cause::Default | Cause::Dollar if !verdict.allowed => self.unusable(
                |rules| &rules.hopes,
                |guard, values| {
                    let pattern = guard.pattern.widened(values);
                    guard.actions.contains(Actions::from(action))
                        && self.would_allow(action, &pattern, topic).unwrap_or(false)
                },
            ),
            _ => None,
        })
    }

    /// Returns the first rule, of those that need a name that this client does not have in a usable
    /// form.
    #[cold]
    fn unusable(
        &self,
        guards: impl Fn(&RuleSet) -> &Vec<Guard>,
        is: impl Fn(&Guard, &Values) -> bool,
    ) -> Option<Unusable<'_>> {
        let named = self.named.as_ref()?;
        let guards = sets(&self.acl, named.groups.as_deref()).flat_map(guards);
        let missing =
            guards.filter_map(|guard| Some((guard, guard.pattern.missing(&named.values)?)));
        let found = missing
            .take(EXPLAINED)
            .filter(|(guard, _)| is(guard, &named.values));
        let (guard, placeholder) = found.min_by_key(|(guard, _)| guard.rule)?;
        Some(Unusable {
            rule: self.acl.rules.get(guard.rule as usize)?,
            placeholder,
        })
    }

    fn would_allow(&self, action: Action, pattern: &str, topic: &[u8]) -> Result<bool, TopicError> {
        let pattern = TopicFilter::new(pattern)?;
        let dialect = self.acl.dialect();
        Ok(match action {
            Action::Subscribe => {
                let filter = TopicFilter::from_bytes(topic)?.as_str();
                pattern.covers(FilterParts::parse(filter, dialect)?.filter())
            }
            _ => {
                let name = ReadName::published(topic, dialect)?;
                pattern.matches(TopicName::from_bytes(name.as_bytes())?)
            }
        })
    }

    fn verdict(&self, action: Action, rule: u32, topic: &[u8]) -> Verdict {
        let named = self.named.as_ref();
        let barred = named.map_or(NO_RULE, |named| named.barred.of(action));
        if barred < rule {
            return Verdict {
                rule: barred,
                cause: Cause::UnusableName,
                allowed: false,
            };
        }
        let (cause, effect) = match (self.acl.rules.get(rule as usize), topic.first()) {
            (Some(rule), _) => (Cause::Rule, rule.effect()),
            (None, Some(b'$')) if self.acl.dialect().reserves_dollar() => {
                (Cause::Dollar, Effect::Deny)
            }
            (None, _) => (Cause::Default, self.acl.default),
        };
        Verdict {
            rule,
            cause,
            allowed: effect == Effect::Allow,
        }
    }
}

/// Returns the sets of rules that hold for a client in these groups.
fn sets<'a>(acl: &'a Compiled, groups: Option<&'a InGroups>) -> impl Iterator<Item = &'a RuleSet> {
    let numbers = groups.into_iter().flat_map(|groups| &*groups.0);
    let more = numbers.filter_map(|number| acl.groups.get(*number));
    std::iter::once(&acl.everybody).chain(more)
}

/// Whether a subscription takes messages away from other clients: those of a shared
/// subscription go to one of its clients, and `$exclusive/` keeps the others out.
///
/// Whether the broker knows the form does not matter. If it does not, no topic has such a name.
pub(super) fn is_shared(filter: &str) -> bool {
    // brokers are not of one mind about the case
    SHARED.iter().any(|form| {
        let begins = filter.get(..form.len());
        begins.is_some_and(|begins| begins.eq_ignore_ascii_case(form))
    })
}

/// What the forms begin with by which subscriptions take messages away from others.
const SHARED: [&str; 4] = ["$share/", "$queue/", "$oshare/", "$exclusive/"];
