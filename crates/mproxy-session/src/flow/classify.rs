//! Which way a packet goes: the fast one, with its neighbours, or the full one, by itself.
//!
//! ```text
//! PUBLISH of the usual form --+-- nobody looks: Run       one look for many packets
//!                             `-- hooks look:   Ordinary  one look for each, bytes stay in the run
//! everything else ------------+-- Full                    head, phase, size, then its own rules
//!                             `-- Incomplete
//! ```

use mproxy_codec::{
    DecodeError, Direction, Head, Kind, PublishLayout, PublishRun, Version, tolerance,
};

use super::cx::PACKET;
use super::{Cx, Flow};
use crate::cause::{Cause, End};
use crate::hook::PacketService;
use crate::limits::has_more_levels;

/// Which way the packets at the front of the input go.
pub(super) enum Path {
    /// Ordinary PUBLISH packets in a row, at which nobody looks.
    Run(PublishRun),
    /// An ordinary PUBLISH for the hooks. More of the lane may follow it.
    Ordinary(PublishLayout, Lane),
    /// Any packet of which the head is in order.
    Full(Head),
    /// The head is not whole.
    Incomplete,
}

/// What is ordinary at the moment. It stays so until a packet takes another path.
#[derive(Clone, Copy)]
pub(super) struct Lane {
    pub(super) version: Version,
    max_packet: usize,
    max_levels: usize,
}

impl Lane {
    /// The layout of the PUBLISH that `bytes` begin with, if it is ordinary, and hooks may see it.
    #[inline]
    pub(super) fn ordinary(self, bytes: &[u8]) -> Option<PublishLayout> {
        let layout = PublishLayout::ordinary(bytes, self.version)?;
        if layout.total_len() > self.max_packet {
            return None;
        }
        let is_deep = has_more_levels(layout.topic(bytes), self.max_levels);
        (!is_deep).then_some(layout)
    }
}

impl<H: PacketService> Flow<H> {
    /// Says which way the packets go that `bytes` begin with.
    ///
    /// # Errors
    /// The head is not one that may come now.
    #[inline]
    pub(super) fn classify(&self, bytes: &[u8], cx: &mut Cx<'_, '_>) -> Result<Path, End> {
        if let Some(lane) = self.lane(cx) {
            if self.tap.kinds().contains(Kind::Publish) {
                if let Some(layout) = lane.ordinary(bytes) {
                    return Ok(Path::Ordinary(layout, lane));
                }
            } else if !cx.rules.counts_flights() || self.direction == Direction::ToClient {
                // counted, they would go one by one, up to the one too many
                let run = PublishRun::scan(bytes, lane.version, lane.max_packet);
                if !run.is_empty() {
                    return Ok(Path::Run(run));
                }
            }
        }
        self.judge_head(bytes, cx)
    }

    /// The lane of ordinary packets, where there is one now.
    #[inline]
    fn lane(&self, cx: &Cx<'_, '_>) -> Option<Lane> {
        let rules = &*cx.rules;
        // a repetition of what the proxy has answered must be found, and what waited has grown older
        if !rules.phase.is_established()
            || rules.exchanges.answers_locally()
            || cx.queued_since.is_some() && rules.version().is_v5()
        {
            return None;
        }
        Some(Lane {
            version: rules.version(),
            max_packet: rules
                .untouched_max_packet(self.direction)
                .min(rules.sender_max_packet(self.direction)),
            max_levels: rules.limits.max_topic_levels,
        })
    }

    /// Judges a packet by its head, before any of its length is waited for or held.
    fn judge_head(&self, bytes: &[u8], cx: &mut Cx<'_, '_>) -> Result<Path, End> {
        let direction = self.direction;
        let rules = &*cx.rules;
        let version = rules.version();
        let first = if rules.is_strict() {
            bytes[0]
        } else {
            tolerance::first_byte(bytes[0], version)
        };
        let malformed = |error| Cause::malformed(direction, Kind::from_first_byte(first), error);
        let kind = Head::check_first_byte(first, version, direction)
            .map_err(malformed)
            .and_then(|kind| rules.phase.check(direction, kind).map(|()| kind))
            .map_err(|end| rules.phase.not_connack(direction, bytes, end))?;
        let Some(head) = Head::parse(bytes).map_err(malformed)? else {
            return Ok(Path::Incomplete);
        };
        if version.is_v5() && !head.is_minimal() {
            return Err(malformed(DecodeError::NotMinimal));
        }
        cx.worked(PACKET);
        cx.rules.check_size(direction, kind, head.total_len())?;
        Ok(Path::Full(head.with_first_byte(first)))
    }
}
