//! `type = "access-log"`: which events of a session are logged.

use super::{At, Built, LayerConfig, Place};
use crate::choice::words;
use crate::context::Context;
use crate::diagnostics::Diagnostic;
use crate::scalar::Number;
use crate::section::{Listing, Setting, section};
use crate::validate::bounds;
use mproxy_layers::Observer;
use mproxy_layers::access_log::{AccessLogLayer, AccessLogToClient, AccessLogToServer, Events};
use mproxy_session::{BoxError, Heads, Tap};

section! {
    /// One log line for each event of a session. Payloads and passwords are never logged.
    AccessLog, AccessLogKeys in "[layers.NAME] of type \"access-log\"" layer "access-log",
        reload "at once, for connected clients too"
    {
        /// Some of connect, disconnect, subscribe, unsubscribe, publish, deny, error.
        ///
        /// Refused clients, failed sessions and failed layers are always logged.
        events: Vec<AccessEvent> as Listing<AccessEvent> =
            ["connect", "disconnect", "subscribe", "unsubscribe", "deny", "error"];
        /// With the event "publish": the share of PUBLISH packets that is logged; 0.01 = one in a hundred.
        ///
        /// Each session counts on its own. A PUBLISH that a layer refuses has no such line. log.max_rate
        /// applies to these lines, too: mproxy leaves out further ones and counts them. An audit needs
        /// log.max_rate = "0/s".
        publish_sample: f64 as Setting<Number> = 0.0, check bounds::share;
    }
    reserved {
        "output": "remove it; lines go to the log of the process";
        "format": "set `log.format`";
        "payload": "remove it; payloads are never logged";
        "redact": "remove it; passwords and properties are never logged";
    }
}

/// An event that an access log can report.
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

words! {
    AccessEvent {
        "connect": Connect, "disconnect": Disconnect, "subscribe": Subscribe,
        "unsubscribe": Unsubscribe, "publish": Publish, "deny": Deny, "error": Error,
        later "deliver"
    }
}

impl AccessEvent {
    /// The event of the layer. The program reports the ends of sessions, including those by a layer that fails,
    /// and the layers that deny log denials.
    const fn of_layer(self) -> Events {
        match self {
            Self::Connect => Events::CONNECT,
            Self::Subscribe => Events::SUBSCRIBE,
            Self::Unsubscribe => Events::UNSUBSCRIBE,
            Self::Publish => Events::PUBLISH,
            Self::Disconnect | Self::Error | Self::Deny => Events::NONE,
        }
    }
}

impl AccessLog {
    pub(super) fn check(cx: &mut Context, _: At<'_>, keys: &AccessLogKeys) -> Option<Self> {
        let mut log = Self::read(cx, keys);
        log.events.sort_unstable();
        log.events.dedup();
        let (publish, sample) = (
            log.events.contains(&AccessEvent::Publish),
            log.publish_sample,
        );
        match (keys.events.span(), keys.publish_sample.span()) {
            (Some(span), _) if publish && sample == 0.0 => cx.push(
                Diagnostic::warning("`publish` is in the list, but no PUBLISH will be logged")
                    .at(span)
                    .label("set `publish_sample`: 1.0 = all, 0.01 = one in a hundred"),
            ),
            (_, Some(span)) if !publish && sample > 0.0 => cx.push(
                Diagnostic::warning("`publish_sample` without the event `publish`")
                    .at(span)
                    .label("add \"publish\" to `events`"),
            ),
            _ => {}
        }
        Some(log)
    }
}

impl LayerConfig for AccessLog {
    const TYPE: &'static str = "access-log";
    type Layer<O: Observer> = AccessLogLayer;
    type ToServer<S, O: Observer> = Heads<AccessLogToServer<Tap<S>>>;
    type ToClient<S, O: Observer> = Heads<AccessLogToClient<Tap<S>>>;

    fn build<O: Observer>(&self, _: Place<O>) -> Result<Built<AccessLogLayer>, BoxError> {
        let events = self.events.iter().map(|it| it.of_layer());
        let layer = AccessLogLayer::new()
            .events(events.fold(Events::NONE, |set, event| set | event))
            // the program logs these itself, with a remedy, and also without this layer
            .refusals(false)
            .publish_sample(self.publish_sample);
        Ok(Built::indifferent(layer))
    }
}
