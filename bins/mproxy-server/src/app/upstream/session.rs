//! What the end of a session says about its broker.

use std::time::Duration;

use mproxy_session::{CloseReason, Side, Summary};

use super::health::Outcome;

/// If a client waited this long for its CONNACK and left, it is the broker's fault: clients
/// give up before `connack_timeout`.
const WAITED: Duration = Duration::from_secs(1);

/// The report of a session that ends; `waited` is how long it has waited for CONNACK, if it still does.
/// If the broker accepted it, its recorder has already reported that.
pub(super) fn ending(side: Side, reason: CloseReason, waited: Option<Duration>) -> Option<Outcome> {
    use CloseReason::{Eof, Reset, UpstreamRefused, UpstreamUnreachable};
    match (side, reason, waited) {
        (_, UpstreamRefused, _) => Some(Outcome::Answered),
        (Side::Upstream, _, Some(_)) | (_, UpstreamUnreachable, Some(_)) => {
            Some(Outcome::Unanswered)
        }
        (Side::Client, Eof | Reset, Some(waited)) if waited >= WAITED => Some(Outcome::Unanswered),
        _ => None,
    }
}

/// Whether the broker accepted the client and then closed its connection.
pub(super) fn was_closed(summary: &Summary) -> bool {
    summary.side == Side::Upstream && summary.established()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_broker_did_counts() {
        use CloseReason as R;
        use Side::{Client, Proxy, Upstream};
        let (answered, unanswered) = (Some(Outcome::Answered), Some(Outcome::Unanswered));
        let short = Some(WAITED / 2);
        for (side, reason, waited, expected) in [
            (Upstream, R::UpstreamRefused, None, answered),
            (Upstream, R::UpstreamUnreachable, short, unanswered),
            (Upstream, R::UpstreamEof, short, unanswered),
            (Upstream, R::UpstreamProtocolError, short, unanswered),
            (Proxy, R::UpstreamUnreachable, short, unanswered),
            // no connection: the dial has reported
            (Upstream, R::UpstreamUnreachable, None, None),
            // after CONNACK
            (Upstream, R::UpstreamEof, None, None),
            (Client, R::Disconnect, None, None),
            (Client, R::Eof, None, None),
            (Proxy, R::Drain, None, None),
            // not caused by the broker
            (Proxy, R::Drain, short, None),
            (Proxy, R::AuthDenied, None, None),
            (Proxy, R::ConnectTimeout, None, None),
            (Client, R::Malformed, short, None),
            // a client that left: too early to blame the broker, or after it had waited
            (Client, R::Eof, short, None),
            (Client, R::Eof, Some(WAITED), unanswered),
            (Client, R::Reset, Some(WAITED), unanswered),
        ] {
            let outcome = ending(side, reason, waited);
            assert_eq!(outcome, expected, "{side} {reason} {waited:?}");
        }
    }
}
