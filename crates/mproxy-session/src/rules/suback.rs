//! SUBACK and UNSUBACK: the broker's, merged with what hooks refused, and the proxy's own.

use bytes::Bytes;
use mproxy_codec::{Kind, Suback, encode_suback, encode_unsuback};

use super::exchanges::Answer;
use super::{Fate, Rules};
use crate::cause::{Cause, End};

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

    /// The proxy answers a request that is not forwarded. `Some` is what can be sent now: an answer waits
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
