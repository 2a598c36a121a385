//! SUBACK and UNSUBACK: the broker's, merged with what hooks refused, and the proxy's own.

use bytes::Bytes;
use mproxy_codec::{Kind, Suback, View, encode_suback, encode_subscribe, encode_unsuback};

use super::exchanges::Answer;
use super::{Fate, Rules};
use crate::cause::{Cause, Change, End};
use crate::hook::Packet;

impl Rules {
    /// The broker answers a SUBSCRIBE or UNSUBSCRIBE.
    ///
    /// # Errors
    /// The answer has another number of codes than the request had filters.
    pub(crate) fn answer(&mut self, request: Kind, answer: &Suback<'_>) -> Result<Fate, End> {
        let (version, strict) = (self.version(), self.is_strict());
        // an UNSUBACK of MQTT 3.x has no codes
        let has_codes = request == Kind::Subscribe || version.is_v5();
        let codes = has_codes.then_some(answer.codes);
        let id = answer.packet_id;
        let Answer::Codes(codes) = self.exchanges.answer(request, id, codes, strict)? else {
            return Ok(Fate::Pass);
        };
        let properties = answer.properties.as_bytes();
        let merged = match request {
            Kind::Subscribe => encode_suback(version, id, properties, &codes),
            _ => encode_unsuback(version, id, properties, &codes),
        };
        merged.map(Fate::Replace).map_err(Cause::encode)
    }

    /// A SUBSCRIBE of all shared subscriptions of the client, for hooks that judge them again; `None`
    /// when there are none.
    ///
    /// # Errors
    /// There are more than hooks are to judge.
    pub(crate) fn subscribe_again(&self) -> Result<Option<Packet>, End> {
        let too_many = || Box::new(Cause::RulesChanged(Change::Shared));
        let all = self.exchanges.shared().ok_or_else(too_many)?;
        if all.is_empty() {
            return Ok(None);
        }
        // hooks are not asked to remember it
        let id = 1;
        let frame = encode_subscribe(self.version(), id, &[], all).map_err(|_| too_many())?;
        let packet = Packet::of_own(self.version(), frame);
        let packet = packet.map_err(|error| Cause::internal(error.to_string()))?;
        let subscribe = packet.subscribe().map(View::Subscribe);
        let checked = subscribe.map_or(Ok(()), |it| self.limits.check_filters(&it));
        checked.map_err(|_| too_many()).map(|()| Some(packet))
    }

    /// The proxy answers a request that is not forwarded. `Some` if it can be sent now: an answer waits
    /// for those to earlier requests with its identifier.
    pub(crate) fn answer_request(
        &mut self,
        request: Kind,
        id: u16,
        codes: &[u8],
        text: Option<&str>,
    ) -> Option<Bytes> {
        let answer = self.replies.request(request, id, codes, text)?;
        self.exchanges.refuse(request, id, answer)
    }
}
