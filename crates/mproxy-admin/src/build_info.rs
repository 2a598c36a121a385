//! What was built: the same facts for `/version` and for `mproxy_build_info`.

use serde::Serialize;

/// The identity of this build, as `/version` and `mproxy_build_info` show it.
///
/// The binary fills it from what its build script knows; this crate cannot know any of it.
///
/// ```
/// use mproxy_admin::BuildInfo;
///
/// let build = BuildInfo::new("mproxy-server", "0.1.0")
///     .revision(option_env!("GIT_REVISION"));
/// # let _ = build;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BuildInfo {
    name: &'static str,
    version: &'static str,
    revision: Option<&'static str>,
    tls: Option<&'static str>,
}

impl BuildInfo {
    /// A build of which only the name and the version are known.
    #[must_use]
    pub const fn new(name: &'static str, version: &'static str) -> Self {
        Self {
            name,
            version,
            revision: None,
            tls: None,
        }
    }

    /// Sets the commit that was built, if it is known.
    #[must_use]
    pub const fn revision(mut self, revision: Option<&'static str>) -> Self {
        self.revision = revision;
        self
    }

    /// Sets the library of TLS, if there is one: `aws-lc-rs (AWS-LC 5.1.0)`.
    #[must_use]
    pub const fn tls(mut self, library: &'static str) -> Self {
        self.tls = Some(library);
        self
    }

    /// Label values of `mproxy_build_info`; a label that is not known says so.
    pub(crate) fn labels(&self) -> [(&'static str, &'static str); 2] {
        [
            ("version", self.version),
            ("revision", self.revision.unwrap_or(UNKNOWN)),
        ]
    }
}

const UNKNOWN: &str = "unknown";
