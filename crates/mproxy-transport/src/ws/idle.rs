//! Frames without payload: pings, pongs and empty data frames. A few keep a connection alive, a
//! flood of them keeps a core busy and moves nothing.

use std::time::Duration;

use tokio::time::Instant;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::{WsViolation, deframe::Deframer};

/// How many frames without payload a peer may send in a period, beyond one per frame with payload.
#[derive(Debug)]
pub(super) struct IdleFrames {
    max: u32,
    period: Duration,
    /// How many came in this period.
    seen: u32,
    /// When it began. The clock is read for idle frames only.
    since: Option<Instant>,
}

impl IdleFrames {
    pub(super) fn new(max: u32, period: Duration) -> Self {
        Self {
            max,
            period,
            seen: 0,
            since: None,
        }
    }

    /// Judges the frames that the deframer has just seen.
    pub(super) fn judge(&mut self, deframer: &mut Deframer) -> Option<WsViolation> {
        let idle = deframer.take_idle();
        if idle == 0 {
            return None;
        }
        let now = Instant::now();
        let since = *self.since.get_or_insert(now);
        if now.duration_since(since) >= self.period {
            self.since = Some(now);
            self.seen = 0;
        }
        self.seen = self.seen.saturating_add(idle);
        (self.seen > self.max).then(|| {
            let (max, period) = (self.max, self.period);
            let detail = format!("more than {max} frames without payload in {period:?}");
            WsViolation::new(CloseCode::Policy.into(), detail)
        })
    }
}
