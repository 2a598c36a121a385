//! What becomes of a packet that cannot be written as a layer would have it: it would be too large, or,
//! against all expectation, not valid. It must not go on as it was.

use mproxy_codec::{EncodeError, ReasonCode};
use mproxy_session::{ConnectRefusal, HeadOnly, Verdict};

/// Of what a client sends.
pub(crate) fn refuse(error: EncodeError) -> Verdict<HeadOnly> {
    Verdict::Refuse(error.into())
}

/// Of a CONNECT.
pub(crate) fn refuse_connect(error: EncodeError) -> ConnectRefusal {
    ConnectRefusal::new(ReasonCode::PACKET_TOO_LARGE).with_text(error.to_string())
}
