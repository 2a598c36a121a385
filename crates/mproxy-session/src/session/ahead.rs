//! What a client does before it has a session with the broker: it may send more, and it may leave.

use std::future::{pending, poll_fn};
use std::time::Duration;

use bytes::BytesMut;
use mproxy_codec::{Head, Kind};
use tokio::io::AsyncRead;
use tokio::time::{Instant, sleep};

use super::connect::{hold, read_once};
use crate::cause::{Cause, End};
use crate::handle::SessionHandle;
use crate::summary::Side;

/// How many bytes behind its CONNECT are read of a client that waits; the rest stays in its socket.
const AHEAD: usize = 8 * 1024;

/// How often a client that is not read is looked at: whether it is gone is behind what it has sent.
const LOOK: Duration = Duration::from_secs(1);

/// A client whose CONNECT is not at the broker yet.
pub(super) struct Ahead<'a, C> {
    pub(super) client: &'a mut C,
    /// Whether it is gone, as far as that is known without reading.
    pub(super) has_left: fn(&C) -> bool,
    /// What it has sent behind its CONNECT.
    pub(super) rest: &'a mut BytesMut,
    /// Since when all of that has been there, if some came late.
    pub(super) heard: Option<Instant>,
    pub(super) handle: &'a SessionHandle,
    /// Bytes that its session keeps anyway.
    pub(super) kept: usize,
}

impl<C: AsyncRead + Unpin> Ahead<'_, C> {
    /// Reads until a client leaves that has left no message for the broker. One that has published, and closed its
    /// connection, still gets its turn. Nothing else keeps the place of a client that is gone.
    pub(super) async fn left(&mut self) -> End {
        while self.rest.len() < AHEAD {
            match poll_fn(|cx| read_once(self.client, self.rest, cx)).await {
                Ok(0) if published(self.rest) == Some(Whole::Yes) => return pending().await,
                Ok(0) => return Box::new(Cause::Closed(Side::Client)),
                Ok(_) => self.heard = Some(Instant::now()),
                Err(error) => return Cause::broke(Side::Client, error),
            }
            if let Err(end) = hold(self.handle, self.kept + self.rest.capacity()) {
                return end;
            }
        }
        if published(self.rest).is_some() {
            // the rest of a large message is read when its turn has come
            return pending().await;
        }
        while !(self.has_left)(self.client) {
            sleep(LOOK).await;
        }
        Box::new(Cause::Closed(Side::Client))
    }

    /// The same, for a client that has had its turn: nearly all are at the broker before the first look, so it is
    /// read only once it is gone.
    pub(super) async fn found_gone(&mut self) -> End {
        loop {
            sleep(LOOK).await;
            if (self.has_left)(self.client) {
                return self.left().await;
            }
        }
    }
}

/// Whether a PUBLISH stands before the client's DISCONNECT, and all of it.
fn published(mut packets: &[u8]) -> Option<Whole> {
    while let Ok(Some(head)) = Head::parse(packets) {
        let rest = packets.get(head.total_len()..);
        match (head.kind(), rest) {
            (Kind::Publish, Some(_)) => return Some(Whole::Yes),
            (Kind::Publish, None) => return Some(Whole::No),
            (Kind::Disconnect, _) | (_, None) => return None,
            (_, Some(rest)) => packets = rest,
        }
    }
    None
}

/// Whether all of a packet has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whole {
    Yes,
    No,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_message_keeps_a_place() {
        const PUBLISH: &[u8] = b"\x30\x04\0\x01tx";
        const PINGREQ: &[u8] = b"\xc0\0";
        const DISCONNECT: &[u8] = b"\xe0\0";
        for (packets, keeps) in [
            (vec![], None),
            (vec![PINGREQ], None),
            (vec![DISCONNECT, PUBLISH], None),
            (vec![PUBLISH.split_at(5).0], Some(Whole::No)),
            (vec![PUBLISH.split_at(1).0], None),
            (vec![b"\x30\xff\xff\xff\xff\x7f"], None),
            (vec![b"\0\0", PUBLISH], None),
            (vec![PUBLISH], Some(Whole::Yes)),
            (vec![PINGREQ, PUBLISH, DISCONNECT], Some(Whole::Yes)),
        ] {
            assert_eq!(published(&packets.concat()), keeps, "{packets:02x?}");
        }
    }
}
