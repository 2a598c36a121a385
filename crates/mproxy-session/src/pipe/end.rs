//! When a pipe ends, and why.

use std::pin::Pin;
use std::task::{Context, Poll};

use super::deadlines::Deadline;
use super::{Io, Pipe};
use crate::cause::{Cause, End, Overdue};
use crate::error::Limit;
use crate::hook::PacketService;
use crate::summary::Side;

impl<C: Io, S: Io, U: PacketService, D: PacketService> Pipe<C, S, U, D> {
    /// The end of the session, if everything has been forwarded.
    pub(super) fn finished(&mut self, cx: &mut Context<'_>) -> Option<End> {
        let client_done = self.to_server.is_finished();
        if self.to_client.is_finished() {
            // a client that cannot be written to may have sent more before it left
            if !self.to_client.out.is_dead() || client_done {
                return Some(self.end());
            }
        }
        if client_done && !self.broker_is_shut {
            // [MQTT-3.14.4-3]: the end of the stream, not a DISCONNECT, so that the will fires
            match Pin::new(&mut self.broker).poll_shutdown(cx) {
                Poll::Pending => {}
                Poll::Ready(_) => self.broker_is_shut = true,
            }
            self.deadlines.begin_closing();
        }
        if self.to_client.is_finished() {
            self.deadlines.begin_closing();
        }
        None
    }

    /// Why it ended, now that it has ended.
    fn end(&mut self) -> End {
        if let Some(end) = self.to_server.take_end() {
            return match self.to_client.take_end() {
                // a broker that cannot be written to may have sent the reason
                Some(last_word) if end.account(true, None).side == Side::Upstream => last_word,
                _ => end,
            };
        }
        if self.to_server.has_closed() {
            return Box::new(Cause::Closed(Side::Client));
        }
        let end = self.to_client.take_end();
        end.unwrap_or_else(|| Box::new(Cause::Closed(Side::Upstream)))
    }

    #[cold]
    pub(super) fn expired(&mut self, what: Deadline) -> End {
        Box::new(Cause::Overdue(match what {
            Deadline::Linger | Deadline::Expiry | Deadline::Pace => {
                return match self.handle.order() {
                    Some(order) => order.into(),
                    None => self.end(),
                };
            }
            Deadline::Permit => {
                let detail = "the hooks had no permit for a packet in time";
                return Cause::hook_late(detail, Limit::PermitTimeout);
            }
            Deadline::Hook => return Cause::hook_late("a hook took too long", Limit::HookTimeout),
            Deadline::Connack => Overdue::Connack,
            Deadline::KeepAlive => Overdue::KeepAlive,
            Deadline::Write(direction) => Overdue::Write(direction),
            // it is stuck, so the client is not read either
            Deadline::Answers => Overdue::Answers,
            Deadline::Packet(direction) => Overdue::Packet(direction),
            Deadline::Consumer => Overdue::Consumer,
        }))
    }
}
