//! The answer to a reload.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

/// What a reload has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// Keys and sections that hold from now on.
    pub applied: Vec<String>,
    /// Those that are the same as before.
    pub unchanged: Vec<String>,
    /// Those that are different and hold after a restart only.
    pub restart_required: Vec<String>,
    /// Those that are different and have no effect, with the flag or variable that counts instead.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub overridden: BTreeMap<String, String>,
    /// The warnings of the new configuration, as `check --format json` tells them, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<Value>,
}

/// Why nothing has changed.
#[derive(Clone, Debug, PartialEq)]
pub enum ReloadRefused {
    /// The new configuration is refused.
    Invalid {
        /// Why, in a sentence.
        error: String,
        /// Its problems with their places, as `check --format json` tells them.
        diagnostics: Value,
    },
    /// It needs a restart, and the caller wanted it to be refused then.
    RestartRequired {
        /// The keys and sections that do.
        restart_required: Vec<String>,
    },
    /// The proxy drains, or is gone.
    Draining,
}
