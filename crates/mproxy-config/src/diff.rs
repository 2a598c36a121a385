//! What a reload changes.

use super::model::Config;

/// What is different between two configurations, by section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Holds from the reload on.
    pub applied: Vec<String>,
    /// Is the same in both.
    pub unchanged: Vec<String>,
    /// Is different, and holds after a restart only.
    pub restart_required: Vec<String>,
}

/// Compares the configuration that runs with a new one.
#[must_use]
pub fn diff(old: &Config, new: &Config) -> Changes {
    let mut changes = Changes::default();
    let mut section = |name: &str, is_same: bool, restart: bool| {
        let list = match (is_same, restart) {
            (true, _) => &mut changes.unchanged,
            (false, false) => &mut changes.applied,
            (false, true) => &mut changes.restart_required,
        };
        list.push(name.to_owned());
    };
    let threads = old.server.worker_threads == new.server.worker_threads;
    section("server.worker_threads", threads, true);
    section("server", old.server == new.server || !threads, false);
    section("listeners", old.listeners == new.listeners, false);
    section("upstreams", old.upstreams == new.upstreams, false);
    section("chains", old.chains == new.chains, false);
    section("layers", old.layers == new.layers, false);
    section("admin", old.admin == new.admin, true);
    section("log", old.log == new.log, true);
    changes
}
