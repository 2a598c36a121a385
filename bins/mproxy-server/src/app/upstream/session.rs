//! What the end of a session tells about its broker.

use std::time::Duration;

use mproxy_session::{CloseReason, Side, Summary};

use super::health::Outcome;

/// How long a client has waited for its CONNACK if it is the broker's fault that it went: clients
/// give up sooner than `connack_timeout` does.
const WAITED: Duration = Duration::from_secs(1);

/// What matters of a summary.
#[derive(Clone, Copy, Debug)]
struct End {
    side: Side,
    reason: CloseReason,
    /// The broker let the client in.
    established: bool,
    /// CONNECT was read.
    connected: bool,
    duration: Duration,
}

/// What a session that is over tells; `is_last` says whether no other connection to the broker is
/// open.
pub(super) fn outcome(summary: &Summary, is_last: impl FnOnce() -> bool) -> Option<Outcome> {
    End {
        side: summary.side,
        reason: summary.reason,
        established: summary.established(),
        connected: summary.session.is_some(),
        duration: summary.duration,
    }
    .outcome(is_last)
}

impl End {
    fn outcome(self, is_last: impl FnOnce() -> bool) -> Option<Outcome> {
        use CloseReason::{Eof, Reset, UpstreamRefused, UpstreamUnreachable};
        match (self.side, self.reason) {
            // its recorder has told that it was answered
            (Side::Upstream, _) if self.established => is_last().then_some(Outcome::LastClosed),
            _ if self.established => None,
            (_, UpstreamRefused) => Some(Outcome::Answered),
            (Side::Upstream, _) | (_, UpstreamUnreachable) => Some(Outcome::Unanswered),
            (Side::Client, Eof | Reset) if self.connected && self.duration >= WAITED => {
                Some(Outcome::Unanswered)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_broker_did_counts() {
        use CloseReason as R;
        use Side::{Client, Proxy, Upstream};
        let (answered, unanswered) = (Some(Outcome::Answered), Some(Outcome::Unanswered));
        for (side, reason, established, expected) in [
            (Upstream, R::UpstreamRefused, false, answered),
            (Upstream, R::UpstreamUnreachable, false, unanswered),
            (Upstream, R::UpstreamEof, false, unanswered),
            (Upstream, R::UpstreamProtocolError, false, unanswered),
            (Proxy, R::UpstreamUnreachable, false, unanswered),
            (Upstream, R::UpstreamEof, true, Some(Outcome::LastClosed)),
            (Client, R::Disconnect, true, None),
            (Client, R::Eof, true, None),
            (Proxy, R::Drain, true, None),
            (Proxy, R::AuthDenied, false, None),
            (Proxy, R::ConnectTimeout, false, None),
            (Client, R::Malformed, false, None),
            // a client that left: too soon to say anything, or after it had waited
            (Client, R::Eof, false, None),
        ] {
            let end = End {
                side,
                reason,
                established,
                connected: true,
                duration: WAITED / 2,
            };
            assert_eq!(end.outcome(|| true), expected, "{end:?}");
        }
        let mut gave_up = End {
            side: Client,
            reason: R::Eof,
            established: false,
            connected: true,
            duration: WAITED,
        };
        assert_eq!(gave_up.outcome(|| false), unanswered);
        gave_up.connected = false;
        assert_eq!(gave_up.outcome(|| false), None);
    }

    #[test]
    fn a_closed_connection_among_others_tells_nothing() {
        let end = End {
            side: Side::Upstream,
            reason: CloseReason::UpstreamEof,
            established: true,
            connected: true,
            duration: WAITED,
        };
        assert_eq!(end.outcome(|| false), None);
    }
}
