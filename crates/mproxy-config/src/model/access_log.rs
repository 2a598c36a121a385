//! `type = "access-log"`: which events of a session are logged.

use super::Choice;

/// The settings of an access log.
#[derive(Clone, Debug, PartialEq)]
pub struct AccessLog {
    /// The events that are logged; sorted, each once.
    pub events: Vec<AccessEvent>,
    /// The share of PUBLISH packets that is logged, 0 to 1; counts only with
    /// [`AccessEvent::Publish`].
    pub publish_sample: f64,
}

/// An event that an access log can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AccessEvent {
    /// The broker accepted or refused a client.
    Connect,
    /// A session ended.
    Disconnect,
    /// A subscription was answered.
    Subscribe,
    /// A subscription ended.
    Unsubscribe,
    /// A PUBLISH from the client went on to the broker.
    Publish,
    /// Something was refused.
    Deny,
    /// A session was ended because of a mistake.
    Error,
}

impl Choice for AccessEvent {
    const ALL: &'static [(&'static str, Self)] = &[
        ("connect", Self::Connect),
        ("disconnect", Self::Disconnect),
        ("subscribe", Self::Subscribe),
        ("unsubscribe", Self::Unsubscribe),
        ("publish", Self::Publish),
        ("deny", Self::Deny),
        ("error", Self::Error),
    ];
    const LATER: &'static [&'static str] = &["deliver"];
}
