//! Bookkeeping for forwarded packets other than PUBLISH.

use mproxy_codec::ReasonCode;

use super::subject::{Request, Subject};
use super::{Cx, Flow};
use crate::cause::Cause;
use crate::hook::{Entry, PacketService};
use crate::rules::Shared;

impl<H: PacketService> Flow<H> {
    /// Records a forwarded packet other than PUBLISH, of `len` bytes.
    pub(super) fn note(
        &mut self,
        subject: &Subject,
        len: usize,
        entries: Option<&[Entry]>,
        cx: &mut Cx<'_, '_>,
    ) {
        match subject {
            Subject::Request(request) => self.note_request(request, len, entries, cx),
            Subject::Connack(code) => {
                cx.rules.phase.connack = Some(*code);
                if *code != ReasonCode::SUCCESS {
                    self.sender
                        .say_last(Box::new(Cause::RefusedByBroker(*code)));
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
        request: &Request,
        len: usize,
        entries: Option<&[Entry]>,
        cx: &mut Cx<'_, '_>,
    ) {
        let refused = entries.map_or(0, |it| it.iter().filter(|it| it.refused.is_some()).count());
        if refused > 0 {
            cx.denied();
        }
        // those of the client stand in front of what hooks have added
        let entry = |place| entries.and_then(|entries| entries.get(place));
        let goes = |it: &&Shared| entry(it.place).is_none_or(|entry| entry.refused.is_none());
        let shared: Box<[_]> = request.shared.iter().filter(goes).cloned().collect();
        // where nobody changes requests, the answers to most pass as they come
        if self.tap.kinds().contains(request.kind) || cx.rules.is_strict() || !shared.is_empty() {
            let forwarded = entries.map_or(request.filters, |entries| entries.len() - refused);
            let exchanges = &mut cx.rules.exchanges;
            let size = (forwarded, len);
            exchanges.request(request.kind, request.id, size, entries, shared);
        }
    }
}
