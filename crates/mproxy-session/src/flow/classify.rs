//! Which path a packet takes: the fast one, together with its neighbours, or the full one, alone.
//!
//! ```text
//! PUBLISH of the usual form --+-- nobody looks: Run       one look for many packets
//!                             `-- hooks look:   Repeated  one look for each, bytes stay in the run
//!                                               Ordinary  the hooks are asked
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

/// The path of the packets at the front of the input.
pub(super) enum Path {
    /// A row of ordinary PUBLISH packets that no hook looks at.
    Run(PublishRun),
    /// An ordinary PUBLISH for which the hooks' last verdict still holds.
    Repeated(PublishLayout),
    /// An ordinary PUBLISH for the hooks.
    Ordinary(PublishLayout),
    /// Any packet with a valid head.
    Full(Head),
    /// The head is incomplete.
    Incomplete,
}

/// The lane of ordinary packets. It does not change until a packet takes another path.
#[derive(Clone, Copy)]
pub(super) enum Lane {
    /// There is none at the moment.
    Closed,
    /// No hook looks at PUBLISH.
    Unwatched(Ordinary),
    /// Hooks look at each PUBLISH.
    Watched(Ordinary),
}

/// Which packets are ordinary in this session.
#[derive(Clone, Copy)]
pub(super) struct Ordinary {
    version: Version,
    max_packet: usize,
}

impl<H: PacketService> Flow<H> {
    /// The path of the packets at the start of `bytes`.
    ///
    /// # Errors
    /// The head may not come now.
    #[inline(always)] // returning the layout through memory costs a tenth of a packet behind an acl
    pub(super) fn classify(
        &mut self,
        lane: Lane,
        bytes: &[u8],
        cx: &mut Cx<'_, '_>,
    ) -> Result<Path, End> {
        match lane {
            Lane::Unwatched(Ordinary {
                version,
                max_packet,
            }) => {
                let run = PublishRun::scan(bytes, version, max_packet);
                if !run.is_empty() {
                    return Ok(Path::Run(run));
                }
            }
            Lane::Watched(Ordinary {
                version,
                max_packet,
            }) => {
                if let Some(layout) = PublishLayout::ordinary(bytes, version)
                    && layout.total_len() <= max_packet
                {
                    let topic = layout.topic(bytes);
                    let memo = self.tap.memo_mut();
                    if memo.is_some_and(|memo| memo.knows(bytes[0], topic)) {
                        return Ok(Path::Repeated(layout));
                    }
                    if !cx.rules.limits.is_too_deep(topic) {
                        return Ok(Path::Ordinary(layout));
                    }
                }
            }
            Lane::Closed => {}
        }
        self.judge_head(bytes, cx)
    }

    /// The current lane of ordinary packets.
    #[inline]
    pub(super) fn lane(&self, cx: &Cx<'_, '_>) -> Lane {
        let rules = &*cx.rules;
        // the full path finds repetitions of what the proxy answered, ages packets that waited, and
        // drops messages for a slow receiver
        if !rules.phase.is_established()
            || rules.exchanges.answers_locally()
            || cx.queued_since.is_some() && rules.version().is_v5()
            || self.drops_messages()
        {
            return Lane::Closed;
        }
        let ordinary = Ordinary {
            version: rules.version(),
            max_packet: rules
                .untouched_max_packet(self.direction)
                .min(rules.sender_max_packet(self.direction)),
        };
        if self.tap.kinds().contains(Kind::Publish) {
            Lane::Watched(ordinary)
        } else if rules.counts_flights() && self.direction == Direction::ToServer {
            // one by one, until there is one too many
            Lane::Closed
        } else {
            Lane::Unwatched(ordinary)
        }
    }

    /// Judges a packet by its head, before waiting for, or holding, any more of it.
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
