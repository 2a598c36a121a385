//! The lines themselves.

use std::fmt;

use mproxy_codec::ReasonCode;
use mproxy_session::{ConnectRefusal, SessionInfo, Summary};
use tracing::{Level, enabled, error, info, warn};

use super::publish::Published;
use crate::printable::Printable;

/// Writes one line, with the fields that every line has.
macro_rules! line {
    ($level:ident, $event:literal, $session:expr, { $($fields:tt)* }, $message:literal) => {
        $level!(
            target: "mproxy::access",
            event = $event,
            client_id = %Printable($session.client_id()),
            user = $session.user_name().map(|user| tracing::field::display(Printable(user))),
            peer = %$session.peer(),
            listener = %$session.peer().listener,
            $($fields)*
            $message
        )
    };
}

pub(super) fn accepted(session: &SessionInfo) {
    line!(info, "connect", session, {
        version = %session.version(),
        clean_start = session.clean_start(),
        keep_alive = session.keep_alive(),
    }, "client connected");
}

pub(super) fn refused(session: &SessionInfo, refusal: &ConnectRefusal) {
    line!(warn, "refuse", session, {
        version = %session.version(),
        reason = refusal.reason.as_str(),
        text = refusal.text.as_deref().map(|text| tracing::field::display(Printable(text))),
    }, "client refused");
}

pub(super) fn refused_by_broker(session: &SessionInfo, summary: &Summary) {
    line!(warn, "refuse", session, {
        version = %session.version(),
        side = summary.side.as_str(),
        reason = summary.reason.as_str(),
        connack = summary.connack.map(ReasonCode::as_str),
        text = summary.detail.as_deref().map(|text| tracing::field::display(Printable(text))),
    }, "client not connected");
}

pub(super) fn failed(session: &SessionInfo, error: &dyn fmt::Display) {
    line!(error, "error", session, {
        error = %Printable(&error.to_string()),
    }, "layer failed at CONNECT");
}

pub(super) fn subscribes(session: &SessionInfo, filters: &str) {
    line!(info, "subscribe", session, { filters, }, "client subscribes");
}

pub(super) fn unsubscribes(session: &SessionInfo, filters: &str) {
    line!(info, "unsubscribe", session, { filters, }, "client unsubscribes");
}

/// Says whether anybody reads what [`published`] writes.
pub(super) fn is_published_read() -> bool {
    enabled!(target: "mproxy::access", Level::INFO)
}

pub(super) fn published(publish: &Published) {
    line!(info, "publish", publish.session, {
        topic = %publish.topic,
        qos = publish.qos.as_u8(),
        retain = publish.retain,
        bytes = publish.bytes,
    }, "client publishes");
}

pub(super) fn closed(session: &SessionInfo, summary: &Summary) {
    line!(info, "disconnect", session, {
        side = summary.side.as_str(),
        reason = summary.reason.as_str(),
        reason_code = summary.reason_code.as_str(),
        text = summary.detail.as_deref().map(|text| tracing::field::display(Printable(text))),
        duration_ms = u64::try_from(summary.duration.as_millis()).unwrap_or(u64::MAX),
        packets_to_server = summary.to_server.packets,
        bytes_to_server = summary.to_server.bytes,
        packets_to_client = summary.to_client.packets,
        bytes_to_client = summary.to_client.bytes,
        denied = summary.to_server.denied + summary.to_client.denied,
        panicked = summary.panicked,
    }, "client disconnected");
}
