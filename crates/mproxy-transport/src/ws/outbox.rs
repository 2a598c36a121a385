//! What waits to be sent: the rest of a frame, one pong, one Close frame.
//!
//! Empty, and without memory, unless the socket is full.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::AsyncWrite;
use tokio_tungstenite::tungstenite::protocol::{
    Role,
    frame::{
        FrameHeader,
        coding::{CloseCode, Control, OpCode},
    },
};

use super::{deframe::MAX_HEADER, mask::apply_mask};

/// Frames that the socket has not taken yet.
#[derive(Debug)]
pub(super) struct Outbox {
    role: Role,
    rest: Vec<u8>,
    sent: usize,
    pong: Option<Box<[u8]>>,
    close: Closing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    No,
    Queued(Option<CloseCode>),
    Sent,
}

impl Outbox {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            rest: Vec::new(),
            sent: 0,
            pong: None,
            close: Closing::No,
        }
    }

    /// Answers a ping, unless the connection is closing; an older pong that still waits is
    /// dropped, as RFC 6455 section 5.5.3 allows.
    pub(super) fn queue_pong(&mut self, payload: Box<[u8]>) {
        if !self.is_closing() {
            self.pong = Some(payload);
        }
    }

    /// Sends a Close frame behind everything else, once.
    pub(super) fn queue_close(&mut self, code: Option<CloseCode>) {
        if !self.is_closing() {
            self.close = Closing::Queued(code);
        }
    }

    /// Whether a Close frame is queued or sent: nothing may follow it.
    pub(super) fn is_closing(&self) -> bool {
        self.close != Closing::No
    }

    /// Keeps the part of a frame that the socket did not take.
    pub(super) fn keep(&mut self, frame: &[IoSlice<'_>], mut sent: usize) {
        for slice in frame {
            let skip = sent.min(slice.len());
            self.rest.extend_from_slice(&slice[skip..]);
            sent -= skip;
        }
    }

    /// Sends all that waits, and flushes the socket. After an error nothing waits any more.
    pub(super) fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        let result = ready!(self.poll_send(cx, io));
        if result.is_err() {
            *self = Self {
                close: Closing::Sent,
                ..Self::new(self.role)
            };
        }
        Poll::Ready(result)
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        loop {
            while let Some(rest) = self.rest.get(self.sent..).filter(|rest| !rest.is_empty()) {
                match ready!(Pin::new(&mut *io).poll_write(cx, rest))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    len => self.sent += len,
                }
            }
            // Not only emptied: an idle connection owns no buffer.
            self.rest = Vec::new();
            self.sent = 0;
            if let Some(payload) = self.pong.take() {
                self.rest = self.control_frame(Control::Pong, &payload);
            } else if let Closing::Queued(code) = self.close {
                let code = code.map(|code| u16::from(code).to_be_bytes());
                let payload = code.as_ref().map_or(&[][..], |code| &code[..]);
                self.rest = self.control_frame(Control::Close, payload);
                self.close = Closing::Sent;
            } else {
                return Pin::new(io).poll_flush(cx);
            }
        }
    }

    fn control_frame(&self, control: Control, payload: &[u8]) -> Vec<u8> {
        let key = mask_key(self.role);
        let (head, head_len) = header(OpCode::Control(control), key, payload.len());
        let mut frame = [&head[..head_len], payload].concat();
        if let Some(key) = key {
            apply_mask(&mut frame[head_len..], key);
        }
        frame
    }
}

/// A client masks each frame with a key of its own, which no peer can guess.
pub(super) fn mask_key(role: Role) -> Option<[u8; 4]> {
    match role {
        Role::Server => None,
        Role::Client => Some(rand::random()),
    }
}

/// The header of a frame that is a whole message: its bytes, and how many of them.
pub(super) fn header(
    opcode: OpCode,
    mask: Option<[u8; 4]>,
    len: usize,
) -> ([u8; MAX_HEADER], usize) {
    let header = FrameHeader {
        is_final: true,
        opcode,
        mask,
        ..FrameHeader::default()
    };
    let mut bytes = [0; MAX_HEADER];
    let mut free = &mut bytes[..];
    let formatted = header.format(len as u64, &mut free);
    debug_assert!(formatted.is_ok(), "14 bytes hold any header");
    let used = MAX_HEADER - free.len();
    (bytes, used)
}
