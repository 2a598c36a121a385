//! The lines themselves.

use std::fmt;

use mproxy_codec::ReasonCode;
use mproxy_session::{CloseReason, ConnectRefusal, SessionInfo, Side, Summary};
use tracing::{Level, enabled, error, info, warn};

use super::publish::Published;
use crate::cut::cut;

/// Writes one line, with the fields that every line has. The server's own lines name and order
/// theirs in the same way: docs/logs.md has all of them.
macro_rules! line {
    ($level:ident, event = $event:literal, $session:expr, { $($fields:tt)* }, $message:literal) => {
        $level!(
            target: "mproxy::access",
            event = $event,
            listener = &*$session.peer().listener,
            peer = %$session.peer(),
            client_id = &*cut($session.client_id()),
            username = $session.user_name().map(cut).as_deref(),
            version = $session.version().as_str(),
            $($fields)*
            $message
        )
    };
}

pub(super) fn accepted(session: &SessionInfo) {
    line!(info, event = "connect", session, {
        keep_alive_s = session.keep_alive(),
        clean_start = session.clean_start(),
    }, "client connected");
}

pub(super) fn refused(session: &SessionInfo, refusal: &ConnectRefusal) {
    line!(warn, event = "refuse", session, {
        side = Side::Proxy.as_str(),
        reason = CloseReason::AuthDenied.as_str(),
        reason_code = refusal.reason.as_str(),
        detail = refusal.text.as_deref().map(cut).as_deref(),
    }, "client refused");
}

/// A session that ended before CONNACK: the client was refused, unless it left by itself.
pub(super) fn not_connected(session: &SessionInfo, summary: &Summary) {
    macro_rules! ended {
        ($level:ident, $message:literal) => {
            line!($level, event = "refuse", session, {
                side = summary.side.as_str(),
                reason = summary.reason.as_str(),
                reason_code = summary.reason_code.map(ReasonCode::as_str),
                detail = summary.detail.as_deref().map(cut).as_deref(),
                duration_s = summary.duration.as_secs_f64(),
            }, $message)
        };
    }
    match summary.side {
        Side::Client
            if matches!(
                summary.reason,
                CloseReason::Eof
                    | CloseReason::Reset
                    | CloseReason::Disconnect
                    | CloseReason::DisconnectWithWill
            ) =>
        {
            ended!(info, "connection closed before CONNACK");
        }
        _ => ended!(warn, "client refused"),
    }
}

pub(super) fn failed(session: &SessionInfo, error: &dyn fmt::Display) {
    line!(error, event = "error", session, {
        detail = &*cut(&error.to_string()),
    }, "layer failed at CONNECT");
}

pub(super) fn subscribed(session: &SessionInfo, granted: Option<String>, refused: Option<String>) {
    let (granted, refused) = (granted.as_deref(), refused.as_deref());
    if granted.is_some() {
        line!(info, event = "subscribe", session, { granted, refused, }, "client subscribed");
    } else {
        line!(info, event = "subscribe", session, { refused, }, "subscription refused");
    }
}

/// A SUBSCRIBE without SUBACK.
pub(super) fn unanswered(session: &SessionInfo, filters: &str) {
    line!(info, event = "subscribe", session, { filters, }, "SUBSCRIBE was not answered");
}

pub(super) fn unsubscribes(session: &SessionInfo, filters: &str) {
    line!(info, event = "unsubscribe", session, { filters, }, "client unsubscribes");
}

/// Whether a subscriber wants the lines of [`published`].
pub(super) fn is_published_read() -> bool {
    enabled!(target: "mproxy::access", Level::INFO)
}

pub(super) fn published(publish: &Published) {
    line!(info, event = "publish", publish.session, {
        topic = &*publish.topic,
        qos = publish.qos.as_u8(),
        retain = publish.retain,
        bytes = publish.bytes,
    }, "client publishes");
}

pub(super) fn closed(session: &SessionInfo, summary: &Summary) {
    line!(info, event = "disconnect", session, {
        side = summary.side.as_str(),
        reason = summary.reason.as_str(),
        reason_code = summary.reason_code.map(ReasonCode::as_str),
        detail = summary.detail.as_deref().map(cut).as_deref(),
        duration_s = summary.duration.as_secs_f64(),
        packets_to_server = summary.to_server.packets,
        packets_to_client = summary.to_client.packets,
        bytes_to_server = summary.to_server.bytes,
        bytes_to_client = summary.to_client.bytes,
        denied = summary.to_server.denied + summary.to_client.denied,
        shed = (summary.shed > 0).then_some(summary.shed),
        panicked = summary.panicked,
    }, "client disconnected");
}
