//! Wills: hooks judge them as PUBLISH before the broker gets them.

use mproxy_codec::{Direction, Kind, PropertyId, ReasonCode};

use super::ask::{self, Judged};
use crate::admit::Connect;
use crate::cause::{Cause, End};
use crate::error::Limit;
use crate::hook::{Packet, PacketService, Tap};
use crate::limits::{Limits, RefusedWill};
use crate::recorder::Recorder;

/// The will of a client, for its PUBLISH hooks.
///
/// # Errors
/// It cannot be written as a PUBLISH, which is impossible for a valid will.
pub(super) fn of(connect: &Connect) -> Result<Option<Packet>, End> {
    Packet::of_will(connect.packet())
        .map_err(|error| Cause::internal(format!("a will that is not a PUBLISH: {error}")))
}

/// Offers the will of an admitted client to the hooks that judge its PUBLISH packets, and applies what they
/// decide. Returns true if the will was removed.
///
/// # Errors
/// The client is refused.
pub(super) async fn offer<U: PacketService>(
    tap: &mut Tap<U>,
    will: Packet,
    connect: &mut Connect,
    limits: &Limits,
    recorder: &dyn Recorder,
) -> Result<bool, End> {
    match judge(tap, will, limits, recorder).await? {
        Judged::Same => Ok(false),
        Judged::Changed(packet) => packet
            .write_will(connect.packet_mut())
            .map(|()| false)
            .map_err(|error| Cause::turned_away(error.into(), None)),
        Judged::Out(Some(refusal)) if limits.refused_will == RefusedWill::RefuseClient => {
            Err(Cause::turned_away(refusal, Limit::RefusedWill))
        }
        // a will that cannot be removed is not let in
        Judged::Out(_) => connect
            .packet_mut()
            .remove_will()
            .map(|()| true)
            .map_err(|error| Cause::internal(error.to_string())),
    }
}

/// Offers a will to the hooks, if they judge PUBLISH packets.
///
/// # Errors
/// The session ends.
pub(super) async fn judge<U: PacketService>(
    tap: &mut Tap<U>,
    will: Packet,
    limits: &Limits,
    recorder: &dyn Recorder,
) -> Result<Judged, End> {
    if let (true, Some(publish)) = (tap.kinds().contains(Kind::Publish), will.publish()) {
        let (kind, code) = (Kind::Connect, ReasonCode::TOPIC_NAME_INVALID);
        let response = publish.properties().str(PropertyId::ResponseTopic);
        let response = response.unwrap_or_default().as_bytes();
        limits
            .check_levels(kind, publish.topic_bytes(), "the topic of the will", code)
            .and_then(|()| {
                limits.check_levels(kind, response, "the response topic of the will", code)
            })
            .inspect_err(|_| recorder.refused(Direction::ToServer, kind))?;
    }
    ask::judge(tap, will, "the will", limits).await
}
