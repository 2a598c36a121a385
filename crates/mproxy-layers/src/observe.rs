//! How layers report what they do, without knowing who counts.

use std::fmt;

use mproxy_codec::Kind;
use mproxy_session::Refusal;

use crate::cut::cut;

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

/// Receives what a layer does, to count it.
///
/// The methods are called on the path of every packet: they must be cheap, and neither wait nor
/// log. Each does nothing by default; `()` is the observer that ignores everything.
pub trait Observer: Clone + Send + Sync + 'static {
    /// The name of the layer in the log line about a client that it refuses for its will.
    fn layer(&self) -> Option<&str> {
        None
    }

    /// A layer has judged a client at CONNECT. Layers that check client ids report every client,
    /// the others only those that they refuse. A will is a separate [`Action`].
    fn connect(&self, allowed: bool) {
        let _ = allowed;
    }

    /// A layer has refused one filter of an UNSUBSCRIBE, or all of one that it could not write.
    fn unsubscribe_refused(&self) {}

    /// A layer has judged an action. For a SUBSCRIBE this is called for each filter, and once for one
    /// that is refused because the layer could not write it.
    fn decision(&self, action: Action, allowed: bool) {
        let _ = (action, allowed);
    }

    /// A layer has judged an action this many times, with the same outcome.
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

/// Names the layer that refuses, and says why, for the log only, not for the client.
pub(crate) fn of_layer(
    observer: &impl Observer,
    refusal: Refusal,
    why: Option<&dyn fmt::Display>,
) -> Refusal {
    let why = why.map(|why| cut(&why.to_string()).into_owned());
    match (observer.layer(), why) {
        (Some(layer), Some(why)) => refusal.with_origin(format!("{layer}: {why}")),
        (Some(layer), None) => refusal.with_origin(layer),
        (None, Some(why)) => refusal.with_origin(why),
        (None, None) => refusal,
    }
}

/// Which topic of a PUBLISH or a will is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// The one that the message goes to.
    Message,
    /// The one that the receiver is to answer at.
    Response,
}

impl Of {
    /// The refusal of a will with this topic, as the client is told.
    pub(crate) fn will(self, topic: &str, what: impl fmt::Display) -> String {
        let topic = cut(topic);
        match self {
            Self::Message => format!("will on topic {topic}{what}"),
            Self::Response => format!("Response Topic {topic} of the will{what}"),
        }
    }

    /// The reason for a denial, with what is not seen in its topic: that it is a Response Topic, and
    /// that a client was let in without its will.
    pub(crate) fn explain(self, action: Action, why: &dyn fmt::Display) -> String {
        let whose = match (self, action) {
            (Self::Message, _) => "",
            (Self::Response, Action::Will) => "; it is the Response Topic of the will",
            (Self::Response, _) => "; it is the Response Topic of a message",
        };
        let stripped = match action {
            Action::Will => "; the client is let in without its will",
            _ => "",
        };
        format!("{why}{whose}{stripped}")
    }
}
