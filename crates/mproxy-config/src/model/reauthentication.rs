//! Clients that authenticate again while they are connected.

use super::Choice;

/// What a layer that goes by names does about AUTH 0x19 (MQTT 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reauthentication {
    /// The client is closed: it may be somebody else afterwards, and the layer would go on as before.
    Refuse,
    /// It passes: the broker does not let a client become somebody else.
    Pass,
}

impl Choice for Reauthentication {
    const ALL: &'static [(&'static str, Self)] = &[("refuse", Self::Refuse), ("pass", Self::Pass)];
}
