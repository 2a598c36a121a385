//! The answer to a reload.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

/// What a reload has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reloaded {
    /// Keys and sections that have changed and are in effect.
    pub applied: Vec<String>,
    /// Keys and sections that have not changed.
    pub unchanged: Vec<String>,
    /// Those that have changed but take effect only after a restart.
    pub restart_required: Vec<String>,
    /// Those that have changed without effect, with the flag or variable that overrides them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub overridden: BTreeMap<String, String>,
    /// The warnings of the new configuration, as `check --format json` shows them, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<Value>,
}

/// Why a reload changed nothing.
#[derive(Clone, Debug, PartialEq)]
pub enum ReloadRefused {
    /// The new configuration is refused.
    Invalid {
        /// Why, in a sentence.
        error: String,
        /// Its problems with their places, as `check --format json` shows them.
        diagnostics: Value,
    },
    /// It needs a restart, and `strict` refuses that.
    RestartRequired {
        /// The keys and sections that do.
        restart_required: Vec<String>,
    },
    /// The proxy is draining or has stopped.
    Draining,
}
