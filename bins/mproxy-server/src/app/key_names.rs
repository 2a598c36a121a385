//! The names of listeners and brokers in remedies: a remedy names a key, such as `listeners.NAME.bind`.

/// The names of a listener and its broker in the configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names<'a> {
    pub(crate) listener: &'a str,
    pub(crate) upstream: &'a str,
}

impl Names<'_> {
    /// Puts the names where a remedy has `NAME`, so that `--set` accepts its keys.
    pub(crate) fn fill(self, remedy: &str) -> String {
        fill_upstream(&fill_listener(remedy, self.listener), self.upstream)
    }
}

/// Puts the name of a listener where a remedy has `NAME`.
pub(crate) fn fill_listener(remedy: &str, name: &str) -> String {
    remedy.replace("listeners.NAME.", &format!("listeners.{name}."))
}

/// Puts the name of a broker where a remedy has `NAME`.
pub(crate) fn fill_upstream(remedy: &str, name: &str) -> String {
    remedy.replace("upstreams.NAME.", &format!("upstreams.{name}."))
}
