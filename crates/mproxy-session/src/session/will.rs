//! A will is a PUBLISH in advance: it passes the hooks before the broker hears of it.

use std::future::poll_fn;

use mproxy_codec::{Direction, Kind, PropertyId, ReasonCode};
use tokio::time::timeout;

use crate::BoxError;
use crate::admit::Connect;
use crate::cause::{Cause, End};
use crate::error::{Limit, packet_name};
use crate::hook::{Packet, PacketService, Refusal, Tap, Verdict};
use crate::limits::{Limits, RefusedWill};
use crate::recorder::Recorder;

/// What the hooks made of a will.
pub(super) enum Judged {
    Same,
    Changed(Packet),
    /// It is taken out, or the client turned away with this refusal.
    Out(Option<Refusal>),
}

/// The will of a client, for its PUBLISH hooks.
///
/// # Errors
/// It cannot be written as a PUBLISH, which what was valid as a will always can.
pub(super) fn of(connect: &Connect) -> Result<Option<Packet>, End> {
    Packet::of_will(connect.packet())
        .map_err(|error| Cause::internal(format!("a will that is not a PUBLISH: {error}")))
}

/// Offers the will of an admitted client to what judges its PUBLISH packets, and does with it what they
/// decide. Returns true if the will was taken out.
///
/// # Errors
/// The client is turned away.
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
            .map_err(|error| Cause::turned_away(Refusal::from(error).into(), None)),
        Judged::Out(Some(refusal)) if limits.refused_will == RefusedWill::RefuseClient => {
            Err(Cause::turned_away(refusal.into(), Limit::RefusedWill))
        }
        // what cannot be taken out is not let in
        Judged::Out(_) => connect
            .packet_mut()
            .remove_will()
            .map(|()| true)
            .map_err(|error| Cause::internal(error.to_string())),
    }
}

/// Asks the hooks about a will, if they judge PUBLISH packets.
///
/// # Errors
/// The session ends.
pub(super) async fn judge<U: PacketService>(
    tap: &mut Tap<U>,
    will: Packet,
    limits: &Limits,
    recorder: &dyn Recorder,
) -> Result<Judged, End> {
    if !tap.kinds().contains(Kind::Publish) {
        return Ok(Judged::Same);
    }
    if let Some(publish) = will.publish() {
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
    let (asked, version) = (will.as_bytes().clone(), will.version());
    match ask(tap, will, limits).await? {
        Verdict::Forward(packet) if !packet.is_will() => {
            let what = packet_name(packet.kind());
            Err(Cause::hook(format!(
                "a hook forwarded {what} in place of the will"
            )))
        }
        Verdict::Forward(packet) if packet.version() != version => {
            let version = packet.version();
            Err(Cause::hook(format!(
                "a hook forwarded a will of MQTT {version} in place of the client's"
            )))
        }
        Verdict::Forward(packet) if *packet.as_bytes() == asked => Ok(Judged::Same),
        Verdict::Forward(packet) => Ok(Judged::Changed(packet)),
        Verdict::Discard => Ok(Judged::Out(None)),
        Verdict::Refuse(refusal) => Ok(Judged::Out(Some(refusal))),
        Verdict::Close(reason) => Err(Cause::turned_away(reason.into(), None)),
    }
}

async fn ask<U: PacketService>(
    tap: &mut Tap<U>,
    will: Packet,
    limits: &Limits,
) -> Result<Verdict, End> {
    let ready = poll_fn(|cx| tap.poll_ready_for(Kind::Publish, cx).map_err(Into::into));
    let (patience, limit) = limits.permit_before_connack();
    let ready: Result<(), BoxError> = timeout(patience, ready)
        .await
        .map_err(|_| Cause::hook_late("the hooks had no permit for the will in time", limit))?;
    let verdict = match ready {
        Ok(()) => {
            let verdict = tap.service_mut().call(will);
            let verdict = async { verdict.await.map_err(Into::into) };
            timeout(limits.hook_timeout, verdict).await.map_err(|_| {
                Cause::hook_late("a hook took too long over the will", Limit::HookTimeout)
            })?
        }
        Err(error) => Err(error),
    };
    verdict.or_else(|error: BoxError| {
        let refusal = Refusal::in_error(&*error).map(Verdict::Refuse);
        refusal.ok_or_else(|| Cause::hook_failed("a hook failed over the will", error))
    })
}
