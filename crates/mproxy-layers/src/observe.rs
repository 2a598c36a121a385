//! How layers report what they do, without knowing who counts.

use std::fmt;

use mproxy_codec::Kind;
use mproxy_session::Refusal;

/// Something that a client, or the broker for it, does, and a layer judges.
#[allow(clippy::exhaustive_enums)] // complete: what carries a topic
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// The client publishes.
    Publish,
    /// The client subscribes.
    Subscribe,
    /// The broker delivers to the client.
    Deliver,
    /// The client leaves a will.
    Will,
}

impl Action {
    /// Returns the name that logs and metrics use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Deliver => "deliver",
            Self::Will => "will",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Is told what a layer does, to count it.
///
/// The methods are called on the path of every packet: they must be cheap, and neither wait nor
/// log. Each does nothing unless it is implemented; `()` is the observer that ignores everything.
pub trait Observer: Clone + Send + Sync + 'static {
    /// What the log calls the layer, in the line of a client that it turns away for its will.
    fn layer(&self) -> Option<&str> {
        None
    }

    /// A layer has judged an action; for a SUBSCRIBE, one filter.
    fn decision(&self, action: Action, allowed: bool) {
        let _ = (action, allowed);
    }

    /// A layer has judged an action as often as this, with the same outcome.
    fn decisions(&self, action: Action, allowed: bool, count: u32) {
        for _ in 0..count {
            self.decision(action, allowed);
        }
    }

    /// A layer has changed a packet.
    fn modified(&self, kind: Kind) {
        let _ = kind;
    }

    /// A layer has dropped a packet.
    fn dropped(&self, kind: Kind) {
        let _ = kind;
    }
}

impl Observer for () {}

/// Names the layer that refuses.
pub(crate) fn of_layer(observer: &impl Observer, refusal: Refusal) -> Refusal {
    match observer.layer() {
        Some(layer) => refusal.with_origin(layer),
        None => refusal,
    }
}
