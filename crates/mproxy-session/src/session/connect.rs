//! The first packet: read up to its end and no further than its bounds, and parsed.

use std::future::poll_fn;
use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use mproxy_codec::{ConnectPacket, DecodeError, Direction, Head, Version};
use tokio::io::{AsyncRead, ReadBuf};

use crate::error::{End, Violation};
use crate::limits::{ControlCharacters, Limits};
use crate::scratch;
use crate::summary::{CloseReason, Side};

/// How the protocol name of MQTT 3.1 stands in a CONNECT.
const V31_NAME: &[u8] = b"\0\x06MQIsdp";

/// Reads up to the end of the first packet, which must be CONNECT. Tells `came` how many bytes there
/// are, for whoever reports a connection on which it is never whole.
pub(super) async fn read_connect<C>(
    client: &mut C,
    limits: &Limits,
    came: impl Fn(usize),
) -> Result<(Bytes, BytesMut), End>
where
    C: AsyncRead + Unpin,
{
    let mut received = BytesMut::new();
    loop {
        if let Some(len) = connect_len(&received, limits)?
            && received.len() >= len
        {
            if received.len() == len {
                // nothing behind it: the session keeps no buffer
                return Ok((received.freeze(), BytesMut::new()));
            }
            let frame = received.split_to(len).freeze();
            return Ok((frame, received));
        }
        let read = poll_fn(|cx| {
            let mut room = scratch::take_read();
            let mut buffer = ReadBuf::new(&mut room);
            let polled = Pin::new(&mut *client).poll_read(cx, &mut buffer);
            received.extend_from_slice(buffer.filled());
            let read = buffer.filled().len();
            scratch::give_read(room);
            polled.map_ok(|()| read)
        });
        match read.await {
            Ok(0) => return Err(End::quiet(Side::Client, CloseReason::Eof)),
            Ok(_) => came(received.len()),
            Err(error) => return Err(End::io(Side::Client, &error)),
        }
    }
}

/// The length of the CONNECT that `received` begins with, as soon as it is known.
fn connect_len(received: &[u8], limits: &Limits) -> Result<Option<usize>, End> {
    let Some(&first) = received.first() else {
        return Ok(None);
    };
    // judged by its first byte, before any length: nothing else may come first
    if first & 0xf0 != 0x10 {
        return Err(untold(End::violation(
            Direction::ToServer,
            Violation::NotConnect,
        )));
    }
    let malformed = |error| untold(End::malformed(Direction::ToServer, error));
    let Some(head) = Head::parse(received).map_err(malformed)? else {
        return Ok(None);
    };
    // only MQTT 3.1, which is known by its name, has no use for flags and does not forbid them
    let name = received.get(head.len()..).unwrap_or_default();
    if first != 0x10 && !(V31_NAME.starts_with(name) || name.starts_with(V31_NAME)) {
        return Err(malformed(DecodeError::ReservedFlags));
    }
    if head.total_len() > limits.max_connect_size.min(limits.max_packet_size) {
        return Err(malformed(DecodeError::PacketTooLarge));
    }
    Ok(Some(head.total_len()))
}

const fn untold(mut end: End) -> End {
    end.tell_client = false;
    end
}

pub(super) fn parse_connect(
    frame: Bytes,
    version: Option<Version>,
    controls: ControlCharacters,
) -> Result<ConnectPacket, End> {
    let packet = ConnectPacket::parse(frame).and_then(|packet| {
        controls.check(packet.has_control())?;
        Ok(packet)
    });
    packet.map_err(|error| {
        let mut end = End::malformed(Direction::ToServer, error);
        // MQTT 3.x has words for these two only; everything else just closes
        end.tell_client = version.is_some_and(Version::is_v5)
            || matches!(
                error,
                DecodeError::ProtocolLevel | DecodeError::EmptyClientId
            );
        end
    })
}
