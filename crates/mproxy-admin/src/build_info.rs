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
///     .revision(option_env!("GIT_REVISION"))
///     .rustc("1.95.0")
///     .features(&["ws"]);
/// assert_eq!(build.version(), "0.1.0");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct BuildInfo {
    name: &'static str,
    version: &'static str,
    revision: Option<&'static str>,
    rustc: Option<&'static str>,
    features: &'static [&'static str],
}

impl BuildInfo {
    /// A build of which only the name and the version are known.
    #[must_use]
    pub const fn new(name: &'static str, version: &'static str) -> Self {
        Self {
            name,
            version,
            revision: None,
            rustc: None,
            features: &[],
        }
    }

    /// Sets the commit that was built, if it is known.
    #[must_use]
    pub const fn revision(mut self, revision: Option<&'static str>) -> Self {
        self.revision = revision;
        self
    }

    /// Sets the version of the compiler.
    #[must_use]
    pub const fn rustc(mut self, rustc: &'static str) -> Self {
        self.rustc = Some(rustc);
        self
    }

    /// Sets the cargo features of the binary.
    #[must_use]
    pub const fn features(mut self, features: &'static [&'static str]) -> Self {
        self.features = features;
        self
    }

    /// The version of the binary.
    #[must_use]
    pub const fn version(&self) -> &'static str {
        self.version
    }

    /// Label values of `mproxy_build_info`; a label that is not known says so.
    pub(crate) fn labels(&self) -> [(&'static str, &'static str); 3] {
        [
            ("version", self.version),
            ("revision", self.revision.unwrap_or(UNKNOWN)),
            ("rustc", self.rustc.unwrap_or(UNKNOWN)),
        ]
    }
}

const UNKNOWN: &str = "unknown";
