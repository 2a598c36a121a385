//! Questions to hooks while no packet moves: about a CONNECT, a will, and what a client has subscribed
//! to.

use std::future::{Future, poll_fn};
use std::task::{Context, Poll};

use mproxy_patience::timeout;
use tower_service::Service;

use crate::BoxError;
use crate::admit::{Admission, Connect};
use crate::cause::{Cause, End};
use crate::error::{Limit, packet_name};
use crate::hook::{Packet, PacketService, Refusal, Tap, Verdict};
use crate::limits::Limits;

/// A CONNECT stage.
pub(super) trait Admit<U, D>:
    Service<Connect, Response = Admission<U, D>, Error: Into<BoxError>>
{
}

impl<A, U, D> Admit<U, D> for A where
    A: Service<Connect, Response = Admission<U, D>, Error: Into<BoxError>>
{
}

/// What the hooks made of a packet that only they are shown.
pub(super) enum Judged {
    Same,
    Changed(Packet),
    /// It, or a part of it, is refused; of a will, that is a refusal of the client.
    Out(Option<Refusal>),
}

/// Asks a CONNECT stage.
///
/// # Errors
/// The session ends.
pub(super) async fn admit<A: Admit<U, D>, U, D>(
    stage: &mut A,
    connect: Connect,
    limits: &Limits,
) -> Result<Admission<U, D>, End> {
    let call = |stage: &mut A| stage.call(connect);
    ask(stage, A::poll_ready, call, "CONNECT", limits).await
}

/// Asks the hooks about a packet of the session's own, if they judge its type. `what` names it.
///
/// # Errors
/// The session ends.
pub(super) async fn judge<U: PacketService>(
    tap: &mut Tap<U>,
    packet: Packet,
    what: &str,
    limits: &Limits,
) -> Result<Judged, End> {
    let kind = packet.kind();
    if !tap.kinds().contains(kind) {
        return Ok(Judged::Same);
    }
    let (asked, version) = (packet.as_bytes().clone(), packet.version());
    let ready = |tap: &mut Tap<U>, cx: &mut Context<'_>| tap.poll_ready_for(kind, cx);
    let call = |tap: &mut Tap<U>| tap.service_mut().call(packet);
    match ask(tap, ready, call, what, limits).await? {
        Verdict::Forward(packet) if !packet.is_own(kind) => {
            let other = packet_name(packet.kind());
            let detail = format!("a hook forwarded {other} in place of {what}");
            Err(Cause::hook(detail))
        }
        Verdict::Forward(packet) if packet.version() != version => {
            let version = packet.version();
            let detail =
                format!("a hook forwarded {what} of MQTT {version} in place of the client's");
            Err(Cause::hook(detail))
        }
        Verdict::Forward(packet) if packet.refuses_some() => Ok(Judged::Out(None)),
        Verdict::Forward(packet) if *packet.as_bytes() == asked => Ok(Judged::Same),
        Verdict::Forward(packet) => Ok(Judged::Changed(packet)),
        Verdict::Discard => Ok(Judged::Out(None)),
        Verdict::Refuse(refusal) => Ok(Judged::Out(Some(refusal))),
        Verdict::Close(reason) => Err(Cause::turned_away(reason.into(), None)),
    }
}

/// Asks a service, in time. Waiting for a permit is not taking long.
async fn ask<S, T: From<Refusal>, F, E>(
    service: &mut S,
    mut ready: impl FnMut(&mut S, &mut Context<'_>) -> Poll<Result<(), E>>,
    call: impl FnOnce(&mut S) -> F,
    what: &str,
    limits: &Limits,
) -> Result<T, End>
where
    F: Future<Output = Result<T, E>>,
    E: Into<BoxError>,
{
    let (patience, limit) = limits.permit_before_connack();
    let ready = poll_fn(|cx| ready(service, cx).map_err(Into::into));
    let ready: Result<Result<(), BoxError>, _> = timeout(patience, ready).await;
    let late = |_| Cause::hook_late(format!("the hooks had no permit for {what} in time"), limit);
    let answer = match ready.map_err(late)? {
        Ok(()) => {
            let late = |_| {
                let detail = format!("a hook took too long over {what}");
                Cause::hook_late(detail, Limit::HookTimeout)
            };
            let answer = call(service);
            let answer = async { answer.await.map_err(Into::into) };
            timeout(limits.hook_timeout, answer).await.map_err(late)?
        }
        Err(error) => Err(error),
    };
    answer.or_else(|error| {
        let refusal = Refusal::in_error(&*error).map(T::from);
        let failed = format_args!("a hook failed over {what}");
        refusal.ok_or_else(|| Cause::hook_failed(failed, error))
    })
}
