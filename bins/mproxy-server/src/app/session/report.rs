//! The last line of a connection.

use mproxy_codec::ReasonCode;
use mproxy_session::{CloseReason, Summary, UpgradeRequest};

use super::offended::ban_of;
use super::remedy::{of_reauthentication, of_will, remedy};
use crate::app::bans::Banned;
use crate::app::key_names::Names;
use crate::app::service::Service;

impl Service {
    /// One line about the end of a connection: who, why, and what to do about it.
    ///
    /// For an admitted client, the line belongs to the access log, if there is one, which may not
    /// include every end. Refused clients and failures are always reported.
    pub(super) fn report(&self, summary: &Summary) {
        let untold = match summary.reason {
            // the line with the event `evict` has reported it
            CloseReason::Evicted if !summary.established() => Some("connection made room"),
            _ if is_probe(summary) => Some("connection without a byte"),
            _ => None,
        };
        if let Some(message) = untold {
            tracing::debug!(
                target: "mproxy::session",
                listener = &*summary.peer.listener,
                peer = %summary.peer,
                reason = summary.reason.as_str(),
                "{message}"
            );
            return;
        }
        let remedy = remedy(summary);
        let is_failure = remedy.is_some();
        let access_log = self
            .policy
            .load()
            .composed
            .access_log
            .filter(|_| summary.established());
        if access_log.is_some_and(|log| !log.every_end) && !is_failure {
            return;
        }
        let ban = ban_of(self, summary);
        let remedy = match (&ban, self.denied_will(summary)) {
            (Some(ban), _) => Some(ban.remedy()),
            (None, Some(layer)) => Some(of_will(&layer)),
            (None, None) if self.is_reauthentication(summary) => {
                Some(of_reauthentication(&self.policy.load().composed.by_names))
            }
            (None, None) => remedy.map(|remedy| self.names().fill(remedy)),
        };
        let told = Told {
            detail: ban.as_ref().map(Banned::detail),
            remedy,
        };
        self.last_line(summary, &told, is_failure, access_log.is_some());
    }

    fn last_line(&self, summary: &Summary, told: &Told, fails: bool, access_log: bool) {
        let glimpse = summary.glimpse.as_deref();
        let session = summary.session.as_ref();
        let client_id = session.map(|session| session.client_id());
        let username = session.and_then(|session| session.user_name());
        // the version of a refusal is not the version of a client that mproxy does not understand
        let level = glimpse.and_then(|it| it.level);
        let version = summary
            .version
            .filter(|version| level.is_none_or(|level| level & 0x7f == version.level()));
        let (event, message) = match (summary.established(), fails) {
            (true, _) => ("disconnect", "client disconnected"),
            (false, true) => ("refuse", "client refused"),
            (false, false) => ("refuse", "connection closed before CONNACK"),
        };
        let upgrade = summary.peer.upgrade.as_deref();
        let upgrade = upgrade.filter(|_| !summary.established());
        let says_panicked = summary.established() || summary.panicked;
        macro_rules! line {
            ($level:ident, $target:literal) => {
                tracing::$level!(
                    target: $target,
                    event,
                    listener = &*summary.peer.listener,
                    peer = %summary.peer,
                    session = summary.established().then_some(summary.id.as_u64()),
                    client_id = client_id.or(glimpse.and_then(|it| it.client_id.as_deref())),
                    username = username.or(glimpse.and_then(|it| it.user_name.as_deref())),
                    version = version.map(|version| version.as_str()),
                    protocol_level = level.map(|level| format!("{level:#04x}")),
                    field = glimpse.and_then(|it| it.field),
                    path = upgrade.map(path),
                    origin = upgrade.and_then(|it| it.header("origin")),
                    side = summary.side.as_str(),
                    reason = summary.reason.as_str(),
                    reason_code = summary.reason_code.map(ReasonCode::as_str),
                    detail = told.detail.as_deref().or(summary.detail.as_deref()),
                    remedy = told.remedy.as_deref(),
                    duration_s = summary.duration.as_secs_f64(),
                    packets_to_server = summary.to_server.packets,
                    packets_to_client = summary.to_client.packets,
                    bytes_to_server = summary.to_server.bytes,
                    bytes_to_client = summary.to_client.bytes,
                    denied = summary.to_server.denied + summary.to_client.denied,
                    shed = (summary.shed > 0).then_some(summary.shed),
                    panicked = says_panicked.then_some(summary.panicked),
                    upstream = &*self.upstream.name,
                    "{message}"
                )
            };
        }
        match (access_log, fails) {
            (true, true) => line!(warn, "mproxy::access"),
            (true, false) => line!(info, "mproxy::access"),
            (false, true) => line!(warn, "mproxy::session"),
            (false, false) => line!(info, "mproxy::session"),
        }
    }

    /// The layer that turned the client away for its will, if `will = "strip"` could have let it in.
    fn denied_will(&self, summary: &Summary) -> Option<String> {
        let detail = summary.detail.as_deref()?;
        let is_will = summary.limit == Some("refused_will");
        let policy = self.policy.load();
        let judge = policy.composed.chain.judge_in(detail).filter(|_| is_will);
        judge.map(str::to_owned)
    }

    /// True for an admitted client that was closed because it authenticated again. Nothing else in a
    /// session is refused with this reason.
    fn is_reauthentication(&self, summary: &Summary) -> bool {
        let refused = summary.reason == CloseReason::AuthDenied && summary.established();
        refused && !self.policy.load().composed.by_names.is_empty()
    }

    /// The names that remedies need.
    pub(in crate::app) fn names(&self) -> Names<'_> {
        Names {
            listener: &self.name,
            upstream: &self.upstream.name,
        }
    }
}

/// What the last line says beyond the summary.
struct Told {
    /// In place of that of the summary.
    detail: Option<String>,
    remedy: Option<String>,
}

/// The path that a WebSocket client asked for, without its query, which may contain a token.
fn path(upgrade: &UpgradeRequest) -> &str {
    let uri = &*upgrade.uri;
    uri.split_once('?').map_or(uri, |(path, _)| path)
}

/// A connection without a byte, not even a WebSocket request: usually the check of a load
/// balancer.
fn is_probe(summary: &Summary) -> bool {
    let by_itself = matches!(
        summary.reason,
        CloseReason::Eof | CloseReason::Reset | CloseReason::ConnectTimeout
    );
    by_itself
        && summary.session.is_none()
        && summary.to_server.bytes == 0
        && summary.peer.upgrade.is_none()
}
