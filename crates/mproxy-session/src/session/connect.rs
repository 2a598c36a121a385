//! Reads and parses the first packet, within its limits.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use mproxy_codec::{
    ConnectGlimpse, ConnectPacket, DecodeError, Direction, Foreign, Head, Kind, tolerance,
};
use tokio::io::{AsyncRead, ReadBuf};

use crate::cause::{Cause, End, Fault};
use crate::error::{Limit, Violation};
use crate::handle::SessionHandle;
use crate::limits::{Bridges, Conformance, Limits};
use crate::scratch;
use crate::summary::Side;

/// The protocol name of MQTT 3.1 as encoded in a CONNECT.
const V31_NAME: &[u8] = b"\0\x06MQIsdp";

/// Reads of a connection before others of the thread get their turn.
const READS: usize = 4;

/// Maximum bytes of an unknown protocol name in a log line: a client must not fill it.
const SHOWN_NAME: usize = 32;

/// Reads up to the end of the first packet, which must be CONNECT, into `received`, where the report of
/// a connection without a complete one finds what came. `kept` bytes are held in addition. Returns the
/// packet; bytes after it stay.
pub(super) async fn read_connect<C: AsyncRead + Unpin>(
    client: &mut C,
    limits: &Limits,
    (handle, kept): (&SessionHandle, usize),
    received: &mut BytesMut,
) -> Result<Bytes, End> {
    let mut reads = 0;
    loop {
        // single bytes, each in a frame after many empty ones, cost work, too
        if reads == READS {
            reads = 0;
            tokio::task::yield_now().await;
        }
        reads += 1;
        if let Some(len) = connect_len(received, limits)?
            && received.len() >= len
        {
            if received.len() == len {
                // nothing after it: the session keeps no buffer
                return Ok(std::mem::take(received).freeze());
            }
            return Ok(received.split_to(len).freeze());
        }
        match poll_fn(|cx| read_once(client, received, cx)).await {
            Ok(0) => return Err(Box::new(Cause::Closed(Side::Client))),
            Ok(_) => hold(handle, kept + received.capacity())?,
            Err(error) => return Err(Cause::broke(Side::Client, error)),
        }
    }
}

/// Reads what is there into `received`, and returns how many bytes that was.
pub(super) fn read_once<C: AsyncRead + Unpin>(
    client: &mut C,
    received: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut room = scratch::take_read();
    let mut buffer = ReadBuf::new(&mut room);
    let polled = Pin::new(client).poll_read(cx, &mut buffer);
    received.extend_from_slice(buffer.filled());
    let read = buffer.filled().len();
    scratch::give_read(room);
    polled.map_ok(|()| read)
}

/// Counts the memory of the connection.
///
/// # Errors
/// There is no memory for it.
pub(super) fn hold(handle: &SessionHandle, bytes: usize) -> Result<(), End> {
    handle.hold(bytes).map_err(|_| Cause::overload())
}

/// The length of the CONNECT that `received` begins with, as soon as it is known.
fn connect_len(received: &[u8], limits: &Limits) -> Result<Option<usize>, End> {
    let Some(&first) = received.first() else {
        return Ok(None);
    };
    if let Some(foreign) = Foreign::recognise(received) {
        let fault = Fault::Foreign(foreign);
        return Err(Cause::fault(Direction::ToServer, None, fault));
    }
    // judge the first byte before any length: nothing else may come first
    if first & 0xf0 != 0x10 {
        let (packet, violation) = (Kind::from_first_byte(first), Violation::NotConnect);
        return Err(Cause::violation(Direction::ToServer, packet, violation));
    }
    let malformed = |error| Cause::malformed(Direction::ToServer, Kind::Connect, error);
    let Some(head) = Head::parse(received).map_err(malformed)? else {
        return Ok(None);
    };
    // only MQTT 3.1, recognized by its name, has unused flag bits without forbidding them
    let name = received.get(head.len()..).unwrap_or_default();
    if first != 0x10 && !(V31_NAME.starts_with(name) || name.starts_with(V31_NAME)) {
        return Err(malformed(DecodeError::ReservedFlags));
    }
    let limit = if limits.max_packet_size < limits.max_connect_size {
        (Limit::MaxPacketSize, limits.max_packet_size)
    } else {
        (Limit::MaxConnectSize, limits.max_connect_size)
    };
    let size = head.total_len();
    if size > limit.1 {
        let what = Kind::Connect.as_str();
        let fault = Fault::TooLarge { what, size, limit };
        return Err(Cause::fault(Direction::ToServer, Kind::Connect, fault));
    }
    Ok(Some(size))
}

pub(super) fn parse_connect(frame: &Bytes, limits: &Limits) -> Result<ConnectPacket, End> {
    let packet = ConnectPacket::parse(frame.clone()).and_then(|packet| {
        let controls = limits.control_characters;
        controls.check(packet.has_control())?;
        Ok(packet)
    });
    packet.map_err(|error| {
        let detail = protocol_detail(error, frame);
        let fault = Fault::Format { error, detail };
        Cause::fault(Direction::ToServer, Kind::Connect, fault)
    })
}

/// The error about a protocol name, including the name: no other field of a log line has it.
#[cold]
fn protocol_detail(error: DecodeError, frame: &[u8]) -> Option<String> {
    let glimpse = ConnectGlimpse::of(frame);
    let name = glimpse.protocol_name?;
    let (shown, more) = match name.get(..SHOWN_NAME) {
        Some(beginning) if beginning.len() < name.len() => (beginning, "\u{2026}"),
        _ => (name, ""),
    };
    let name = format!("protocol name \"{}{more}\"", shown.escape_ascii());
    match (error, glimpse.level) {
        (DecodeError::ProtocolName, _) => Some(format!("unknown {name}")),
        (DecodeError::ProtocolMismatch, Some(level)) => {
            Some(format!("{name} and level {level:#04x} do not go together"))
        }
        _ => None,
    }
}

impl Limits {
    /// A CONNECT with small slips repaired.
    pub(super) fn repair(&self, frame: Bytes) -> Bytes {
        match self.conformance {
            Conformance::Tolerant => tolerance::connect(frame),
            Conformance::Strict => frame,
        }
    }

    /// Checks that version and kind of client are served.
    pub(super) fn admit(&self, packet: ConnectPacket) -> Result<ConnectPacket, End> {
        let version = packet.version();
        let is_served = self.versions.contains(version);
        let (detail, limit) = if packet.is_bridge() && self.bridges == Bridges::Refuse {
            let mut detail = "a mosquitto bridge: bit 7 of its protocol level is set".to_owned();
            if !is_served {
                detail.push_str(&format!("; nor is MQTT {version} served here"));
            }
            (detail, Limit::Bridges)
        } else if !is_served {
            let detail = format!("MQTT {version} is not served here");
            (detail, Limit::Versions)
        } else {
            return Ok(packet);
        };
        Err(Box::new(Cause::NotServed { detail, limit }))
    }
}
