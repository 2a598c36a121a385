//! Extracts payload from frames: no IO, no buffer, no message assembly.
//!
//! ```text
//! before  | header | payload | header | ping | header | payload (part) |
//! after   | payload | payload (part) | scrap                          |
//!                                    ^ returned length
//! ```
//!
//! The payload of data frames moves to the front of the bytes it came in, unmasked, and is the
//! reader's at once: neither the length of a frame nor that of a message decides how much memory
//! is used. Between calls there is at most a part of a header, or of a control frame's payload.
//!
//! tungstenite parses the headers. Its `WebSocket` is not used for the rest, because it gathers
//! whole messages: it reserves what a header announces, and keeps it for the connection's life.

use std::io::Cursor;

use tokio_tungstenite::tungstenite::protocol::{
    Role,
    frame::{
        FrameHeader,
        coding::{CloseCode, Control, Data, OpCode},
    },
};

use super::{
    WsViolation,
    mask::{advance_key, apply_mask},
};

/// The state between two reads.
#[derive(Debug)]
pub(super) struct Deframer {
    role: Role,
    max_message_size: u64,
    /// The part of a header that has come.
    head: [u8; MAX_HEADER],
    head_len: u8,
    frame: Option<Frame>,
    /// The payload of the control frame at hand.
    control: Vec<u8>,
    /// The payload announced by the fragments of the message at hand; `None` between messages.
    message: Option<u64>,
    ping: Option<Vec<u8>>,
    /// Frames without payload since somebody looked.
    idle: u32,
    /// The last frame had payload: the next without is part of how some clients frame theirs.
    paid: bool,
}

/// The frame whose payload comes next.
#[derive(Debug)]
struct Frame {
    opcode: OpCode,
    left: u64,
    key: [u8; 4],
}

/// Why nothing more is to be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The peer's Close frame, and the code to answer with.
    Close(Option<CloseCode>),
    Violation(WsViolation),
}

impl Deframer {
    pub(super) fn new(role: Role, max_message_size: usize) -> Self {
        Self {
            role,
            max_message_size: max_message_size as u64,
            head: [0; MAX_HEADER],
            head_len: 0,
            frame: None,
            control: Vec::new(),
            message: None,
            ping: None,
            idle: 0,
            paid: false,
        }
    }

    /// Turns bytes from the socket into payload, as many as the returned number, at their front.
    /// What stands behind an [`End`] is not looked at.
    pub(super) fn deframe(&mut self, bytes: &mut [u8]) -> (usize, Option<End>) {
        let unframed = self.unframe(bytes);
        if self.control.is_empty() {
            // Not only emptied: an idle connection owns no buffer.
            self.control = Vec::new();
        }
        unframed
    }

    fn unframe(&mut self, bytes: &mut [u8]) -> (usize, Option<End>) {
        let (mut at, mut payload) = (0, 0);
        loop {
            let Some(frame) = &mut self.frame else {
                if at == bytes.len() {
                    return (payload, None);
                }
                match self.take_header(&bytes[at..]) {
                    Ok(used) => at += used,
                    Err(violation) => return (payload, Some(End::Violation(violation))),
                }
                continue;
            };
            let here = bytes.len() - at;
            let take = usize::try_from(frame.left).map_or(here, |left| left.min(here));
            let piece = at..at + take;
            if frame.key != [0; 4] {
                apply_mask(&mut bytes[piece.clone()], frame.key);
                frame.key = advance_key(frame.key, take);
            }
            match frame.opcode {
                OpCode::Data(_) => {
                    bytes.copy_within(piece, payload);
                    payload += take;
                    if take > 0 {
                        self.paid = true;
                    }
                }
                OpCode::Control(_) => self.control.extend_from_slice(&bytes[piece]),
            }
            at += take;
            frame.left -= take as u64;
            if frame.left > 0 {
                return (payload, None);
            }
            let opcode = frame.opcode;
            self.frame = None;
            if let OpCode::Control(control) = opcode
                && let Some(end) = self.finish_control(control)
            {
                return (payload, Some(end));
            }
        }
    }

    /// The payload of the latest ping, for the pong.
    pub(super) fn take_ping(&mut self) -> Option<Vec<u8>> {
        self.ping.take()
    }

    /// How many frames without payload came since the last call, but for one behind each with payload.
    pub(super) fn take_idle(&mut self) -> u32 {
        std::mem::take(&mut self.idle)
    }

    /// Takes bytes of a header, and begins the frame if it is complete.
    fn take_header(&mut self, bytes: &[u8]) -> Result<usize, WsViolation> {
        let mut used = 0;
        loop {
            let have = usize::from(self.head_len);
            let missing = header_len(&self.head[..have]) - have;
            if missing == 0 {
                break;
            }
            let take = missing.min(bytes.len() - used);
            if take == 0 {
                return Ok(used);
            }
            self.head[have..have + take].copy_from_slice(&bytes[used..used + take]);
            self.head_len += take as u8; // <= MAX_HEADER
            used += take;
        }
        let mut head = Cursor::new(&self.head[..usize::from(self.head_len)]);
        self.head_len = 0;
        match FrameHeader::parse(&mut head) {
            Ok(Some((header, len))) => self.begin(header, len)?,
            Ok(None) => return Err(protocol("incomplete frame header")),
            Err(error) => return Err(violation(CloseCode::Protocol, error.to_string())),
        }
        Ok(used)
    }

    /// Checks a header against everything RFC 6455 section 5 says about it.
    fn begin(&mut self, header: FrameHeader, len: u64) -> Result<(), WsViolation> {
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(protocol("reserved bits without an extension"));
        }
        let key = match (self.role, header.mask) {
            (Role::Server, Some(key)) => key,
            (Role::Client, None) => [0; 4],
            (Role::Server, None) => return Err(protocol("unmasked frame from a client")),
            (Role::Client, Some(_)) => return Err(protocol("masked frame from a server")),
        };
        match (header.opcode, self.message) {
            (OpCode::Control(_), _) if !header.is_final => {
                return Err(protocol("fragmented control frame"));
            }
            (OpCode::Control(_), _) if len > MAX_CONTROL as u64 => {
                return Err(protocol("control frame of more than 125 bytes"));
            }
            (OpCode::Control(_), _) => {}
            (OpCode::Data(Data::Text), _) => {
                // [MQTT-6.0.0-1]
                return Err(violation(
                    CloseCode::Unsupported,
                    "text instead of binary data",
                ));
            }
            (OpCode::Data(Data::Continue), None) => {
                return Err(protocol("continuation without a message"));
            }
            (OpCode::Data(Data::Binary | Data::Reserved(_)), Some(_)) => {
                return Err(protocol("message inside a message"));
            }
            (OpCode::Data(_), before) => {
                let sum = before.unwrap_or(0).saturating_add(len);
                if sum > self.max_message_size {
                    let detail = format!("message of more than {} bytes", self.max_message_size);
                    return Err(violation(CloseCode::Size, detail));
                }
                self.message = (!header.is_final).then_some(sum);
            }
        }
        if len == 0 || matches!(header.opcode, OpCode::Control(_)) {
            let paid = std::mem::take(&mut self.paid);
            self.idle = self.idle.saturating_add(u32::from(!paid));
        }
        self.frame = Some(Frame {
            opcode: header.opcode,
            left: len,
            key,
        });
        Ok(())
    }

    fn finish_control(&mut self, control: Control) -> Option<End> {
        match control {
            Control::Ping => {
                // The buffers of the two change places: a flood of pings allocates nothing.
                let older = self.ping.take().unwrap_or_default();
                self.ping = Some(std::mem::replace(&mut self.control, older));
                self.control.clear();
                return None;
            }
            // Nobody here sent a ping.
            Control::Pong | Control::Reserved(_) => {
                self.control.clear();
                return None;
            }
            Control::Close => {}
        }
        let payload = std::mem::take(&mut self.control);
        Some(match payload.split_first_chunk::<2>() {
            None if payload.is_empty() => End::Close(None),
            None => End::Violation(protocol("close frame of one byte")),
            Some((_, reason)) if str::from_utf8(reason).is_err() => End::Violation(violation(
                CloseCode::Invalid,
                "close reason that is not UTF-8",
            )),
            Some((code, _)) => match CloseCode::from(u16::from_be_bytes(*code)) {
                code if code.is_allowed() => End::Close(Some(code)),
                _ => End::Close(Some(CloseCode::Protocol)),
            },
        })
    }
}

/// The length of a header as far as its first bytes tell.
fn header_len(head: &[u8]) -> usize {
    let Some(second) = head.get(1) else {
        return 2;
    };
    let length = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    2 + length + mask
}

fn protocol(detail: &'static str) -> WsViolation {
    violation(CloseCode::Protocol, detail)
}

fn violation(code: CloseCode, detail: impl Into<std::borrow::Cow<'static, str>>) -> WsViolation {
    WsViolation::new(code.into(), detail)
}

/// Two bytes, eight of length, four of mask.
pub(super) const MAX_HEADER: usize = 14;

/// RFC 6455 section 5.5.
pub(super) const MAX_CONTROL: usize = 125;

#[cfg(test)]
mod tests {
    use super::*;

    const FRAMES: &[u8] = &[
        0x82,
        0x83,
        1,
        2,
        3,
        4,
        b'a' ^ 1,
        b'b' ^ 2,
        b'c' ^ 3, // "abc"
        0x02,
        0x81,
        0,
        0,
        0,
        0,
        b'd', // a message of three fragments begins
        0x89,
        0x82,
        9,
        9,
        9,
        9,
        b'h' ^ 9,
        b'i' ^ 9, // a ping inside of it
        0x00,
        0x80,
        7,
        7,
        7,
        7, // an empty fragment
        0x80,
        0xfe,
        0,
        6,
        0,
        0,
        0,
        1,
        b'e',
        b'f',
        b'g',
        b'h' ^ 1,
        b'i',
        b'j', // the last
    ];

    #[test]
    fn any_split_gives_the_same_payload() {
        for first in 0..=FRAMES.len() {
            for second in first..=FRAMES.len() {
                let mut deframer = Deframer::new(Role::Server, 100);
                let mut payload: Vec<u8> = Vec::new();
                let mut ping = None;
                for piece in [&FRAMES[..first], &FRAMES[first..second], &FRAMES[second..]] {
                    let mut piece = piece.to_vec();
                    let (len, end) = deframer.deframe(&mut piece);
                    assert_eq!(end, None);
                    payload.extend(&piece[..len]);
                    ping = deframer.take_ping().or(ping);
                }
                assert_eq!(payload, b"abcdefghij");
                assert_eq!(ping.as_deref(), Some(&b"hi"[..]));
            }
        }
    }

    #[test]
    fn payload_before_an_end_is_kept_and_the_rest_untouched() {
        let mut bytes = [FRAMES, &[0x88, 0x80, 0, 0, 0, 0], FRAMES].concat();
        let (len, end) = Deframer::new(Role::Server, 100).deframe(&mut bytes);
        assert_eq!(&bytes[..len], b"abcdefghij");
        assert_eq!(end, Some(End::Close(None)));
        assert!(bytes.ends_with(FRAMES));
    }

    #[test]
    fn masks_are_for_clients_only() {
        let masked = &[0x82, 0x80, 0, 0, 0, 0][..];
        let plain = &[0x82, 0x01, b'x'][..];
        for (role, good, bad) in [(Role::Server, masked, plain), (Role::Client, plain, masked)] {
            let (_, end) = Deframer::new(role, 100).deframe(&mut good.to_vec());
            assert_eq!(end, None);
            let (_, end) = Deframer::new(role, 100).deframe(&mut bad.to_vec());
            assert!(matches!(end, Some(End::Violation(v)) if v.code() == 1002));
        }
    }
}
