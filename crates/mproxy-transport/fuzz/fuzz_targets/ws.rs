//! The frame decoder, and how it is driven.

#[path = "../../src/ws/deframe.rs"]
mod deframe;
#[path = "../../src/ws/mask.rs"]
mod mask;
#[path = "../../src/ws/violation.rs"]
mod violation;

pub use self::violation::WsViolation;

use tokio_tungstenite::tungstenite::protocol::Role;

use self::deframe::{Deframer, End};
use super::Seen;

/// Deframes pieces until there is an end.
pub(crate) fn deframe<'a>(
    server: bool,
    max_message_size: usize,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Seen {
    let role = if server { Role::Server } else { Role::Client };
    let mut deframer = Deframer::new(role, max_message_size);
    let mut seen = Seen::default();
    for piece in pieces {
        let mut piece = piece.to_vec();
        let (payload, end) = deframer.deframe(&mut piece);
        seen.payload.extend_from_slice(&piece[..payload]);
        seen.ping = deframer.take_ping().or(seen.ping);
        match end {
            None => {}
            Some(End::Close(code)) => seen.close = Some(code.map(u16::from)),
            Some(End::Violation(violation)) => seen.violation = Some(violation.code()),
        }
        if seen.close.is_some() || seen.violation.is_some() {
            break;
        }
    }
    seen
}
