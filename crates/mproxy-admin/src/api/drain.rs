//! A drain that callers request, and its state.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

/// How to drain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainHow {
    /// The time from now until the remaining sessions are cut, written as `25s`; what the
    /// configuration says if it is missing.
    #[serde(default, deserialize_with = "duration")]
    pub timeout: Option<Duration>,
}

/// How far a drain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Drain {
    /// What the proxy does now.
    pub state: DrainState,
    /// How many sessions are open.
    pub sessions: usize,
    /// Whether a signal has come, so that the process ends after the drain.
    pub ends: bool,
}

/// What a proxy does with clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DrainState {
    /// It does not drain.
    #[default]
    Serving,
    /// It is not ready, but accepts connections: load balancers are to notice first.
    NotReady,
    /// It accepts no connections, and sends clients away.
    Draining,
    /// It has sent all clients away.
    Drained,
}

/// Why a drain is neither begun nor undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DrainRefused {
    /// A signal has come, and the process ends.
    Ending,
    /// This listener cannot be opened again.
    Closed(String),
}

fn duration<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(value)?;
    let parsed = humantime::parse_duration(&text);
    parsed.map(Some).map_err(serde::de::Error::custom)
}
