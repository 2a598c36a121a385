//! The rules as one client meets them.

use std::sync::Arc;

use mproxy_codec::topic::{TopicError, TopicFilter};

use super::{
    Acl, Action, Actions, Cause, Decision, Effect,
    builder::Compiled,
    trie::{NO_RULE, Purpose, written_out},
};
use crate::identity::Values;

/// The longest topic that is remembered with its verdict: what an idle session may hold on to.
const REMEMBERED_TOPIC: usize = 256;

/// The rules of an [`Acl`] for one client.
///
/// A device publishes to the same topic over and over, so the verdict about the last topic is
/// remembered: a repeated topic costs one comparison and no lookup. A clone shares the rules and
/// the names, and has a memory of its own; use one for each direction.
#[derive(Debug)]
pub struct SessionAcl {
    client: Arc<Client>,
    remembered: Vec<u8>,
    verdict: Verdict,
}

#[derive(Debug)]
struct Client {
    acl: Arc<Compiled>,
    values: Values,
    /// For each action the first deny rule that this client has no usable name for.
    barred: [u32; 3],
}

/// A decision that borrows nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Verdict {
    rule: u32,
    cause: Cause,
    action: Action,
}

impl SessionAcl {
    pub(super) fn new(acl: &Acl, client_id: &str, username: Option<&str>) -> Self {
        let acl = Arc::clone(&acl.0);
        let values = if acl.placeholders {
            Values::new(client_id, username)
        } else {
            Values::default()
        };
        let mut barred = [NO_RULE; 3];
        for guard in acl
            .guards
            .iter()
            .filter(|guard| !guard.pattern.is_fillable(&values))
        {
            for action in [Action::Publish, Action::Subscribe, Action::Deliver] {
                if guard.actions.contains(Actions::from(action)) {
                    let lowest = &mut barred[action as usize];
                    *lowest = guard.rule.min(*lowest);
                }
            }
        }
        Self {
            client: Arc::new(Client {
                acl,
                values,
                barred,
            }),
            remembered: Vec::new(),
            verdict: Verdict {
                rule: NO_RULE,
                cause: Cause::Default,
                action: Action::Publish,
            },
        }
    }

    /// Decides whether the client may publish to a topic, or leave a will on it.
    ///
    /// `topic` is a valid topic name, with any alias resolved.
    pub fn decide_publish(&mut self, topic: impl AsRef<[u8]>) -> Decision<'_> {
        self.decide(Action::Publish, Purpose::Publish, topic.as_ref())
    }

    /// Decides whether the client may receive what was published to a topic.
    ///
    /// `topic` is a valid topic name, with any alias resolved.
    pub fn decide_deliver(&mut self, topic: impl AsRef<[u8]>) -> Decision<'_> {
        self.decide(Action::Deliver, Purpose::Deliver, topic.as_ref())
    }

    /// Decides whether the client may subscribe to a filter, which may be a shared subscription.
    ///
    /// A filter that breaks the rules of MQTT is denied as [`Cause::Malformed`].
    pub fn decide_subscribe(&self, filter: &str) -> Decision<'_> {
        let client = &*self.client;
        let verdict = match inner(filter) {
            Ok(filter) => client.judge_filter(filter),
            Err(_) => Verdict {
                rule: NO_RULE,
                cause: Cause::Malformed,
                action: Action::Subscribe,
            },
        };
        client.explain(verdict)
    }

    fn decide(&mut self, action: Action, purpose: Purpose, topic: &[u8]) -> Decision<'_> {
        let known = self.verdict.action == action && self.remembered == topic && !topic.is_empty();
        if !known {
            self.verdict = self.client.judge_topic(action, purpose, topic);
            self.remembered.clear();
            // The memory keeps its allocation, so that a device with several topics does not
            // allocate either.
            if topic.len() <= REMEMBERED_TOPIC {
                self.remembered.extend_from_slice(topic);
            }
        }
        self.client.explain(self.verdict)
    }
}

impl Clone for SessionAcl {
    fn clone(&self) -> Self {
        Self {
            client: Arc::clone(&self.client),
            remembered: Vec::new(),
            verdict: self.verdict,
        }
    }
}

impl Client {
    fn judge_topic(&self, action: Action, purpose: Purpose, topic: &[u8]) -> Verdict {
        let rule = self.acl.trie.matching(purpose, topic, &self.values);
        self.verdict(action, rule, topic)
    }

    fn judge_filter(&self, filter: TopicFilter<'_>) -> Verdict {
        let filter = written_out(filter.as_str()).as_bytes();
        let trie = &self.acl.trie;
        let covering = trie.covering(Purpose::Grant, filter, &self.values);
        let overlapping = trie.overlapping(Purpose::Refuse, filter, &self.values);
        let naming = self
            .acl
            .filters
            .iter()
            .find(|named| named.filter.is(filter, &self.values));
        let naming = naming.map_or(NO_RULE, |named| named.rule);
        self.verdict(
            Action::Subscribe,
            covering.min(overlapping).min(naming),
            filter,
        )
    }

    fn verdict(&self, action: Action, rule: u32, topic: &[u8]) -> Verdict {
        let barred = self.barred[action as usize];
        if barred < rule {
            return Verdict {
                rule: barred,
                cause: Cause::UnusableName,
                action,
            };
        }
        let cause = match (rule, topic.first()) {
            (NO_RULE, Some(b'$')) => Cause::Dollar,
            (NO_RULE, _) => Cause::Default,
            _ => Cause::Rule,
        };
        Verdict {
            rule,
            cause,
            action,
        }
    }

    fn explain(&self, verdict: Verdict) -> Decision<'_> {
        match (self.acl.rules.get(verdict.rule as usize), verdict.cause) {
            (Some(rule), cause) => Decision::by_rule(cause, rule),
            (None, Cause::Default) => Decision::without_rule(Cause::Default, self.acl.default),
            (None, cause) => Decision::without_rule(cause, Effect::Deny),
        }
    }
}

/// Returns the filter that decides what a subscription reads.
fn inner(filter: &str) -> Result<TopicFilter<'_>, TopicError> {
    let filter = TopicFilter::new(filter)?;
    Ok(filter.shared()?.map_or(filter, |shared| shared.filter()))
}
