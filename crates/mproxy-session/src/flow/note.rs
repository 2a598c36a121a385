//! What is remembered of a packet other than PUBLISH that goes to its receiver.

use mproxy_codec::ReasonCode;

use super::subject::{Request, Subject};
use super::{Cx, Flow};
use crate::cause::Cause;
use crate::hook::{Entry, PacketService};

impl<H: PacketService> Flow<H> {
    /// Takes note of a packet other than PUBLISH that goes to its receiver, with `len` bytes.
    pub(super) fn note(
        &mut self,
        subject: &Subject,
        len: usize,
        entries: Option<&[Entry]>,
        cx: &mut Cx<'_, '_>,
    ) {
        match subject {
            Subject::Request(request) => self.note_request(*request, len, entries, cx),
            Subject::Connack(code) => {
                cx.rules.phase.connack = Some(*code);
                if *code != ReasonCode::SUCCESS {
                    let form = cx.rules.version();
                    let end = Cause::RefusedByBroker { code: *code, form };
                    self.sender.say_last(Box::new(end));
                }
            }
            Subject::Disconnect { code, .. } => {
                let (direction, code) = (self.direction, *code);
                self.sender
                    .say_last(Box::new(Cause::Disconnected { direction, code }));
            }
            Subject::Publish { .. } | Subject::Auth | Subject::Other { .. } => {}
        }
    }

    fn note_request(
        &self,
        request: Request,
        len: usize,
        entries: Option<&[Entry]>,
        cx: &mut Cx<'_, '_>,
    ) {
        let refused = entries.map_or(0, |it| it.iter().filter(|it| it.refused.is_some()).count());
        if refused > 0 {
            cx.denied();
        }
        // where nobody changes requests, their answers pass as they come
        if self.tap.kinds().contains(request.kind) || cx.rules.is_strict() {
            let forwarded = entries.map_or(request.filters, |entries| entries.len() - refused);
            let exchanges = &mut cx.rules.exchanges;
            exchanges.request(request.kind, request.id, (forwarded, len), entries);
        }
    }
}
