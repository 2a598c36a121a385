//! What becomes of a packet that cannot be written as a layer would have it: it would be too large, or,
//! against all expectation, not valid. It must not go on as it was.

use mproxy_codec::{EncodeError, ReasonCode};
use mproxy_session::{ConnectRefusal, Verdict};

/// Of what a client sends.
pub(crate) fn refuse(error: EncodeError) -> Verdict {
    Verdict::refuse(match error {
        EncodeError::PacketTooLarge | EncodeError::FieldTooLong => ReasonCode::QUOTA_EXCEEDED,
        _ => ReasonCode::IMPLEMENTATION_SPECIFIC_ERROR,
    })
}

/// Of a CONNECT.
pub(crate) fn refuse_connect(error: EncodeError) -> ConnectRefusal {
    ConnectRefusal::new(ReasonCode::PACKET_TOO_LARGE).with_text(error.to_string())
}
