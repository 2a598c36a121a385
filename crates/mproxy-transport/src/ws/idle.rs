//! Frames without payload: pings, pongs and empty data frames. A few keep a connection alive, a
//! flood of them keeps a core busy and moves nothing.

use std::time::Duration;

use tokio::time::Instant;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::{WsViolation, deframe::Deframer};

/// How many frames without payload a peer may send in a period, unless payload comes between them.
#[derive(Debug)]
pub(super) struct IdleFrames {
    max: u32,
    period: Duration,
    /// When the period began. `None` after payload: the clock is read for idle frames only.
    since: Option<Instant>,
}

impl IdleFrames {
    pub(super) fn new(max: u32, period: Duration) -> Self {
        Self {
            max,
            period,
            since: None,
        }
    }

    /// Judges the frames that the deframer has just seen.
    pub(super) fn judge(&mut self, deframer: &mut Deframer) -> Option<WsViolation> {
        let run = deframer.take_idle_run();
        if run.longest > self.max {
            let now = Instant::now();
            let since = self.since.unwrap_or(now);
            if now.duration_since(since) < self.period {
                let detail = format!(
                    "more than {} frames without payload in {:?}",
                    self.max, self.period
                );
                return Some(WsViolation::new(CloseCode::Policy.into(), detail));
            }
            deframer.reset_idle_run();
            self.since = None;
        } else if run.open == 0 {
            self.since = None;
        } else if self.since.is_none() {
            self.since = Some(Instant::now());
        }
        None
    }
}
