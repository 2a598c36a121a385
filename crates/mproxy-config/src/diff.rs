//! What differs between two configurations, and what needs a restart.

use crate::root::Config;
use crate::section::Section;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// What differs between two configurations, by path: `listeners.mqtt.limits.max_packet_size`,
/// `layers.acl`.
///
/// A listener, a chain, a broker or a layer that only one of them has is listed by its own path, and so is
/// a layer that differs in any way, because it is rebuilt as a whole. A chain or broker that a listener refers
/// to is listed by its own path, not for the listener. Moving a rule to another line changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// What differs and can be changed while the proxy runs.
    pub applied: Vec<String>,
    /// The tables in which nothing differs.
    pub unchanged: Vec<String>,
    /// What differs and needs a restart.
    pub restart_required: Vec<String>,
}

impl Changes {
    /// Notes that something at this path has changed that the configuration does not show: the content of
    /// a file that it names. Nothing is noted if the path, or a key below it, is among the differences.
    pub fn note(&mut self, path: &str) {
        let is_at = |key: &str, path: &str| {
            let rest = key.strip_prefix(path);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        if !self.applied.iter().any(|key| is_at(key, path)) {
            self.applied.push(path.to_owned());
        }
        self.unchanged.retain(|table| !is_at(path, table));
    }

    const fn count(&self) -> usize {
        self.applied.len() + self.restart_required.len()
    }
}

/// Compares the configuration that runs with a new one.
#[must_use]
pub fn diff(old: &Config, new: &Config) -> Changes {
    let changes = RefCell::default();
    let root = Path {
        path: String::new(),
        restart: false,
        changes: &changes,
    };
    old.compare(new, &root);
    changes.into_inner()
}

/// A key that is compared, and where its difference is noted.
pub(crate) struct Path<'a> {
    path: String,
    restart: bool,
    changes: &'a RefCell<Changes>,
}

impl Path<'_> {
    /// A key in this table.
    pub(crate) fn key(&self, name: &str, restart: bool) -> Self {
        let path = match &*self.path {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        };
        Self {
            path,
            restart,
            changes: self.changes,
        }
    }

    /// Compares the values of this key.
    pub(crate) fn compare<T: PartialEq + ?Sized>(&self, old: &T, new: &T) {
        if old != new {
            self.differs();
        }
    }

    /// Compares this table, and notes it as unchanged when nothing in it differs.
    pub(crate) fn table(&self, compare: impl FnOnce(&Self)) {
        let before = self.changes.borrow().count();
        compare(self);
        let mut changes = self.changes.borrow_mut();
        if changes.count() == before {
            changes.unchanged.push(self.path.clone());
        }
    }

    /// Compares this table as a whole: whatever differs in it, it is one difference.
    pub(crate) fn whole(&self, compare: impl FnOnce(&Path<'_>)) {
        let changes = RefCell::default();
        let path = self.path.clone();
        compare(&Path {
            path,
            restart: false,
            changes: &changes,
        });
        self.compare(&changes.into_inner().count(), &0);
    }

    /// Compares tables by name.
    pub(crate) fn each<K: AsRef<str> + Ord, T>(
        &self,
        old: &BTreeMap<K, T>,
        new: &BTreeMap<K, T>,
        compare: impl Fn(&T, &T, &Self),
    ) {
        for (name, new) in new {
            let path = self.key(name.as_ref(), false);
            match old.get(name) {
                Some(old) => path.table(|path| compare(old, new, path)),
                None => path.differs(),
            }
        }
        for name in old.keys().filter(|name| !new.contains_key(*name)) {
            self.key(name.as_ref(), false).differs();
        }
    }

    /// Notes that this key differs.
    pub(crate) fn differs(&self) {
        let mut changes = self.changes.borrow_mut();
        let list = match self.restart {
            true => &mut changes.restart_required,
            false => &mut changes.applied,
        };
        list.push(self.path.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::from_text;

    const OLD: &str = r#"
        [[listeners]]
        name = "mqtt"
        chain = "default"
        limits.max_packet_size = "1MiB"
        [upstreams.broker]
        [chains.default]
        layers = ["log", "acl"]
        [layers.log]
        type = "access-log"
        [layers.acl]
        type = "acl"
        rules = [{ allow = ["publish"], topics = ["a"] }]
    "#;

    fn changes(old: &str, new: &str) -> Changes {
        diff(&from_text(old).unwrap(), &from_text(new).unwrap())
    }

    /// What a change of the text applies, and what it does not.
    fn after(old: &str, new: &str) -> (Vec<String>, Vec<String>) {
        assert!(OLD.contains(old), "{old}");
        let changes = changes(OLD, &OLD.replace(old, new));
        (changes.applied, changes.restart_required)
    }

    fn applied(old: &str, new: &str) -> Vec<String> {
        let (applied, restart) = after(old, new);
        assert_eq!(restart, [""; 0]);
        applied
    }

    #[test]
    fn nothing_differs_from_itself() {
        let changes = changes(OLD, OLD);
        assert_eq!(changes.count(), 0);
        for table in ["server", "listeners.mqtt", "upstreams.broker", "layers.acl"] {
            assert!(changes.unchanged.iter().any(|it| it == table), "{table}");
        }
    }

    #[test]
    fn a_key_is_named_by_its_path() {
        let path = ["listeners.mqtt.limits.max_packet_size"];
        assert_eq!(applied("1MiB", "2MiB"), path);
        let path = ["upstreams.broker.health.interval"];
        assert_eq!(
            applied("broker]", "broker]\nhealth.interval = \"9s\""),
            path
        );
    }

    #[test]
    fn a_layer_is_one_change_and_not_one_of_its_chain() {
        assert_eq!(applied("\"publish\"", "\"subscribe\""), ["layers.acl"]);
        assert_eq!(applied("\"log\", ", ""), ["chains.default.layers"]);
    }

    #[test]
    fn what_only_one_has_is_told_by_its_name() {
        let second = "[[listeners]]\nname = \"ws\"\nprotocol = \"ws\"\n[upstreams.broker]";
        assert_eq!(applied("[upstreams.broker]", second), ["listeners.ws"]);
        let renamed = applied("[upstreams.broker]", "[upstreams.other]");
        let expected = [
            "listeners.mqtt.upstream",
            "upstreams.other",
            "upstreams.broker",
        ];
        assert_eq!(renamed, expected);
    }

    #[test]
    fn what_is_read_at_start_only_takes_a_restart() {
        let server = "[server]\nworker_threads = 3\ndrain_timeout = \"9s\"\n[upstreams.broker]";
        let (applied, restart) = after("[upstreams.broker]", server);
        assert_eq!(applied, ["server.drain_timeout"]);
        assert_eq!(restart, ["server.worker_threads"]);
    }

    #[test]
    fn what_the_configuration_does_not_show_is_noted_once_and_its_tables_are_not_unchanged() {
        let list = |items: &[&str]| items.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let mut changes = Changes {
            applied: list(&["listeners.a.tls.min_version"]),
            unchanged: list(&[
                "listeners.ab.tls",
                "listeners.b.tls",
                "listeners.b.limits",
                "listeners.b",
                "admin",
            ]),
            restart_required: Vec::new(),
        };
        for path in [
            "listeners.a.tls",
            "listeners.b.tls",
            "listeners.b.tls",
            "admin.token_file",
        ] {
            changes.note(path);
        }
        let applied = [
            "listeners.a.tls.min_version",
            "listeners.b.tls",
            "admin.token_file",
        ];
        assert_eq!(changes.applied, applied);
        assert_eq!(
            changes.unchanged,
            ["listeners.ab.tls", "listeners.b.limits"]
        );
    }
}
