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

/// Offers the will of an admitted client to what judges its PUBLISH packets, and does with it what they
/// decide. Returns true if the will was taken out.
///
/// # Errors
/// The client is turned away.
pub(super) async fn offer<U: PacketService>(
    tap: &mut Tap<U>,
    connect: &mut Connect,
    limits: &Limits,
    recorder: &dyn Recorder,
) -> Result<bool, End> {
    if !tap.kinds().contains(Kind::Publish) {
        return Ok(false);
    }
    // what was valid as a will is valid as a PUBLISH
    let offered = Packet::of_will(connect.packet())
        .map_err(|error| Cause::internal(format!("a will that is no PUBLISH: {error}")))?;
    let Some(offered) = offered else {
        return Ok(false);
    };
    if let Some(publish) = offered.publish() {
        let (topic, code) = (publish.topic_bytes(), ReasonCode::TOPIC_NAME_INVALID);
        let response = publish.properties().str(PropertyId::ResponseTopic);
        let response = response.unwrap_or_default().as_bytes();
        limits
            .check_levels(Kind::Connect, topic, "the topic of the will", code)
            .and_then(|()| {
                limits.check_levels(
                    Kind::Connect,
                    response,
                    "the response topic of the will",
                    code,
                )
            })
            .inspect_err(|_| recorder.refused(Direction::ToServer, Kind::Connect))?;
    }
    let asked = offered.as_bytes().clone();
    let verdict = ask(tap, offered, limits).await?;
    let refusal = match verdict {
        Verdict::Forward(packet) => {
            let (what, version) = (packet_name(packet.kind()), packet.version());
            if !packet.is_will() {
                return Err(Cause::hook(format!(
                    "a hook forwarded {what} in place of the will"
                )));
            }
            if version != connect.packet().version() {
                return Err(Cause::hook(format!(
                    "a hook forwarded a will of MQTT {version} in place of the client's"
                )));
            }
            if packet.as_bytes() == &asked {
                return Ok(false);
            }
            return packet
                .write_will(connect.packet_mut())
                .map(|()| false)
                .map_err(|error| Cause::turned_away(Refusal::from(error).into(), None));
        }
        Verdict::Discard => None,
        Verdict::Refuse(refusal) => Some(refusal),
        Verdict::Close(reason) => return Err(Cause::turned_away(reason.into(), None)),
    };
    match refusal {
        Some(refusal) if limits.refused_will == RefusedWill::RefuseClient => {
            Err(Cause::turned_away(refusal.into(), Limit::RefusedWill))
        }
        // what cannot be taken out is not let in
        _ => connect
            .packet_mut()
            .remove_will()
            .map(|()| true)
            .map_err(|error| Cause::internal(error.to_string())),
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
