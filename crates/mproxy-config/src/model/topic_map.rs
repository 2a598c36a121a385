//! `type = "topic-map"`: where the client's topics are at the broker.

use super::{DeniedWill, Dialect, Reauthentication, Template, VendorForm};
use mproxy_layers::topic_map::{self, MapRule, TopicMapError};

/// The settings of a topic map, of which it is known that it can be undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicMap {
    /// What replaces what; the first rule that a topic begins with counts.
    pub rules: Vec<TopicMapRule>,
    /// What stands before all topics that no rule is about.
    pub prefix: Option<Template>,
    /// What happens to a client whose will has no place in the map.
    pub will: DeniedWill,
    /// User names of clients that see the broker as it is.
    pub super_usernames: Vec<String>,
    /// Client ids of clients that see the broker as it is.
    pub super_client_ids: Vec<String>,
    /// The forms of topics in which the topic inside is mapped; sorted, each once.
    pub vendor: Vec<VendorForm>,
    /// Whether groups of shared subscriptions are put under the tenant.
    pub group_prefix: bool,
    /// What is done about clients that authenticate again.
    pub reauthentication: Reauthentication,
}

/// What topics begin with at the client, and what at the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicMapRule {
    /// At the client; literal.
    pub from: Template,
    /// At the broker.
    pub to: Template,
    /// Whether all clients meet there.
    pub shared: bool,
    /// Whether clients may publish to what is shared.
    pub writable: bool,
}

impl TopicMap {
    /// True when something in it differs from client to client, or all are to meet somewhere.
    pub fn keeps_apart(&self) -> bool {
        let rules = self.rules.iter();
        let mut written = rules.map(|rule| &rule.to).chain(&self.prefix);
        self.rules.iter().any(|rule| rule.shared) || written.any(|to| to.as_str().contains("${"))
    }

    /// Compiles the map before a broker of this dialect. The prefix is its last rule.
    ///
    /// # Errors
    ///
    /// It cannot be undone, or the broker reads a text in it otherwise.
    pub fn compile(&self, dialect: Dialect) -> Result<topic_map::TopicMap, TopicMapError> {
        let mut map = topic_map::TopicMap::builder();
        for rule in &self.rules {
            let written = MapRule::new(rule.from.as_str(), rule.to.as_str());
            map = map.rule(written.shared(rule.shared).writable(rule.writable));
        }
        if let Some(prefix) = &self.prefix {
            map = map.rule(MapRule::new("", prefix.as_str()));
        }
        map.dialect(dialect.with_forms(&self.vendor))
            .tenant_groups(self.group_prefix)
            .super_usernames(self.super_usernames.iter().map(String::as_str))
            .super_client_ids(self.super_client_ids.iter().map(String::as_str))
            .build()
    }
}
