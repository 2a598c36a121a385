//! Judges a running session again, because the rules have changed.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

use bytes::{BufMut, Bytes, BytesMut};
use mproxy_codec::{ConnectPacket, DecodeError, Kind, Version};

use super::ask::{self, Admit, Judged};
use super::{Live, transition, will};
use crate::admit::{Admission, Connect};
use crate::cause::{Cause, Change, End};
use crate::context::{Names, SessionInfo};
use crate::handle::{Running, When};
use crate::hook::{OnClose, Packet, PacketService};
use crate::pipe::{Io, Pipe};
use crate::slow;

/// The bit of the protocol level that a bridge sets.
const BRIDGE: u8 = 0x80;

/// What is needed to judge a session again: the CONNECT stage, and parts of its CONNECT.
pub(super) struct Renewal<A> {
    stage: A,
    /// Boxed, because most sessions do not need it.
    sent: Option<Box<Sent>>,
}

/// What a client has sent that must be judged again and the session itself does not keep.
struct Sent {
    /// Its names, if hooks have changed them.
    names: Option<Names>,
    /// Its will, as the PUBLISH that was offered to hooks.
    will: Option<Bytes>,
}

impl<A> Renewal<A> {
    pub(super) fn new(stage: A, names: Names, will: Option<Bytes>, session: &SessionInfo) -> Self {
        let names = (names != *session.names()).then_some(names);
        let is_needed = names.is_some() || will.is_some();
        Self {
            stage,
            sent: is_needed.then(|| Box::new(Sent { names, will })),
        }
    }

    /// Bytes that the session, and hooks that keep `held` bytes, keep for its whole life.
    pub(super) fn kept(&self, session: &SessionInfo, held: usize) -> usize {
        let sent = self.sent.as_ref().map_or(0, |sent| {
            let will = sent.will.as_ref().map_or(0, Bytes::len);
            sent.names.as_ref().map_or(0, Names::size) + will
        });
        session.size().saturating_add(held).saturating_add(sent)
    }

    /// The CONNECT of the client, as far as the session has kept it.
    fn packet(&self, session: &SessionInfo) -> Result<ConnectPacket, DecodeError> {
        let names = self.sent.as_ref().and_then(|sent| sent.names.as_ref());
        ConnectPacket::parse(connect(session, names.unwrap_or_else(|| session.names())))
    }

    fn will(&self, session: &SessionInfo) -> Result<Option<Packet>, DecodeError> {
        let will = self.sent.as_ref().and_then(|sent| sent.will.clone());
        will.map(|will| Packet::of_own(session.version(), will))
            .transpose()
    }
}

/// A CONNECT without will, password and properties. Written by hand, because a client may be a bridge, or
/// have a name with a control character, which the builder rejects.
fn connect(session: &SessionInfo, names: &Names) -> Bytes {
    let version = session.version();
    let (name, level): (&[u8], _) = match version {
        Version::V31 => (b"\0\x06MQIsdp", 3),
        Version::V311 => (b"\0\x04MQTT", 4),
        Version::V5 => (b"\0\x04MQTT", 5),
    };
    let mut body = BytesMut::from(name);
    body.put_u8(level | if session.is_bridge() { BRIDGE } else { 0 });
    let user_name = names.user_name();
    body.put_u8(u8::from(session.clean_start()) << 1 | u8::from(user_name.is_some()) << 7);
    body.put_u16(session.keep_alive());
    if version.is_v5() {
        body.put_u8(0);
    }
    for field in [Some(names.client_id()), user_name].into_iter().flatten() {
        // it was a packet field, so it fits one
        body.put_u16(u16::try_from(field.len()).unwrap_or(u16::MAX));
        body.put_slice(field.as_bytes());
    }
    let mut packet = BytesMut::with_capacity(5 + body.len());
    packet.put_u8(0x10);
    let mut left = body.len();
    while left >= 0x80 {
        packet.put_u8(0x80 | (left % 0x80) as u8);
        left /= 0x80;
    }
    packet.put_u8(left as u8);
    packet.put_slice(&body);
    packet.freeze()
}

/// Calls the CONNECT stage again, and lets its hooks judge all later packets. The session must be at a
/// packet border, with no packet at its hooks.
///
/// # Errors
/// The end of the session: it is refused, cannot go on under the new rules, or is ordered to end.
pub(super) async fn renew<C: Io, S: Io, U: PacketService, D: PacketService, A: Admit<U, D>>(
    mut live: Box<Live<C, S, U, D, A>>,
) -> Result<Box<Live<C, S, U, D, A>>, Box<(Box<Live<C, S, U, D, A>>, End)>> {
    match live.renew().await {
        Ok(()) => Ok(live),
        Err(end) => Err(Box::new((live, end))),
    }
}

impl<C: Io, S: Io, U: PacketService, D: PacketService, A: Admit<U, D>> Live<C, S, U, D, A> {
    async fn renew(&mut self) -> Result<(), End> {
        // not the pipe, whose hooks cannot be shared between threads
        let Pipe {
            handle,
            recorder,
            rules,
            ..
        } = &self.pipe;
        let (recorder, limits) = (&**recorder, &*rules.limits);
        let internal = |error: DecodeError| Cause::internal(error.to_string());
        handle.begin_renewal();
        let session = rules.session.clone();
        let packet = self.renewal.packet(&session).map_err(internal)?;
        let connect = Connect::renewal(packet, session.clone(), handle.0.clone());
        let asked = ask::admit(&mut self.renewal.stage, connect, limits);
        let asked = slow::watched::<A, _>(asked, "CONNECT", session.clone(), recorder);
        let (connect, mut hooks) = match unless_ordered(handle, "CONNECT", asked).await? {
            Admission::Admit { connect, hooks } => (connect, hooks),
            Admission::Refuse(refusal) => {
                handle.denied(recorder);
                return Err(Cause::turned_away(refusal, None));
            }
        };
        if !session.names().are_of(connect.packet()) {
            return Err(Box::new(Cause::RulesChanged(Change::Names)));
        }
        transition(&session, "admitted again");
        // what they would only change stays: the broker takes no other will
        let unless_out = |judged: Judged, change| match judged {
            Judged::Same | Judged::Changed(_) => Ok(()),
            Judged::Out(_) => {
                handle.denied(recorder);
                Err(Box::new(Cause::RulesChanged(change)))
            }
        };
        let tap = &mut hooks.to_server;
        if let Some(will) = self.renewal.will(&session).map_err(internal)? {
            let judged = will::judge(tap, will, limits, recorder);
            let judged = slow::watched::<U, _>(judged, "PUBLISH", session.clone(), recorder);
            let judged = unless_ordered(handle, "the will", judged).await?;
            unless_out(judged, Change::Will)?;
        }
        if tap.kinds().contains(Kind::Subscribe)
            && let Some(subscribe) = rules.subscribe_again()?
        {
            let what = "a shared subscription";
            let judged = ask::judge(tap, subscribe, what, limits);
            let judged = slow::watched::<U, _>(judged, "SUBSCRIBE", session.clone(), recorder);
            let judged = unless_ordered(handle, what, judged).await?;
            unless_out(judged, Change::Shared)?;
        }
        let kept = self.renewal.kept(&session, hooks.held);
        self.pipe.renew(hooks.to_server, hooks.to_client, kept);
        self.on_close = both(self.on_close.take(), hooks.on_close);
        Ok(())
    }
}

/// Waits for the hooks' answer about `what`, unless the session is ordered to end now. An order that
/// takes effect at a border waits, because packets that were read must still be judged.
async fn unless_ordered<T>(
    handle: &Running,
    what: &'static str,
    asked: impl Future<Output = Result<T, End>>,
) -> Result<T, End> {
    let mut asked = pin!(asked);
    poll_fn(|cx| {
        if let Poll::Ready(order) = handle.poll_own_order(cx)
            && order.when > When::Border
        {
            return Poll::Ready(Err(order.into()));
        }
        catch_unwind(AssertUnwindSafe(|| asked.as_mut().poll(cx)))
            .unwrap_or_else(|panic| Poll::Ready(Err(Cause::panic(what, &*panic))))
    })
    .await
}

/// Both notices of the end; the later one runs first.
fn both(earlier: Option<Box<OnClose>>, later: Option<OnClose>) -> Option<Box<OnClose>> {
    match (earlier, later) {
        (earlier, None) => earlier,
        (None, Some(later)) => Some(Box::new(later)),
        (Some(earlier), Some(later)) => Some(Box::new(Box::new(move |summary| {
            Box::pin(async move {
                let summary = later(summary).await;
                earlier(summary).await
            })
        }))),
    }
}
