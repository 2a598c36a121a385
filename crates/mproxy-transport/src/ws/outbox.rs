//! The bytes waiting to be sent: the rest of a frame, one pong, one Close frame.
//!
//! Empty, and without memory, unless the socket is full. While it is, a timer runs: the caller's
//! own time-out sees only the bytes that it writes itself, never a pong.

use std::{
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use mproxy_patience::Looks;
use tokio::{
    io::AsyncWrite,
    time::{Instant, Sleep, sleep_until},
};
use tokio_tungstenite::tungstenite::protocol::{
    Role,
    frame::{
        FrameHeader,
        coding::{CloseCode, Control, OpCode},
    },
};

use super::{WsWriteTimeout, deframe::MAX_HEADER, mask::apply_mask};

/// Frames that the socket has not accepted yet.
#[derive(Debug)]
pub(super) struct Outbox {
    role: Role,
    rest: Vec<u8>,
    sent: usize,
    pong: Option<Vec<u8>>,
    close: Closing,
    write_timeout: Duration,
    stuck: Stuck,
}

/// Whether the peer accepts the waiting bytes.
#[derive(Debug)]
enum Stuck {
    No,
    /// Until the timer has expired, or a byte was accepted.
    Since(Pin<Box<Sleep>>, Looks),
    /// The time is over. Nothing more is sent.
    TooLong,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Closing {
    No,
    Queued(Option<CloseCode>),
    Sent,
}

impl Outbox {
    pub(super) fn new(role: Role, write_timeout: Duration) -> Self {
        Self {
            role,
            rest: Vec::new(),
            sent: 0,
            pong: None,
            close: Closing::No,
            write_timeout,
            stuck: Stuck::No,
        }
    }

    /// Answers a ping, unless the connection is closing; an older pong that still waits is
    /// dropped, as RFC 6455 section 5.5.3 allows.
    pub(super) fn queue_pong(&mut self, payload: Vec<u8>) {
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

    /// Keeps the part of a frame that the socket did not accept.
    pub(super) fn keep(&mut self, frame: &[IoSlice<'_>], mut sent: usize) {
        for slice in frame {
            let skip = sent.min(slice.len());
            self.rest.extend_from_slice(&slice[skip..]);
            sent -= skip;
        }
    }

    /// Sends all that waits, and flushes the socket. After an error nothing waits any more.
    ///
    /// If the peer accepts no byte for the write timeout, this call and all later ones fail.
    pub(super) fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        if matches!(self.stuck, Stuck::TooLong) {
            return Poll::Ready(Err(WsWriteTimeout::new(self.write_timeout).into()));
        }
        let mut moved = false;
        let result = match self.poll_send(cx, io, &mut moved) {
            Poll::Ready(result) => result,
            Poll::Pending => {
                ready!(self.poll_stuck(cx, moved));
                Err(WsWriteTimeout::new(self.write_timeout).into())
            }
        };
        self.stuck = match &result {
            Err(error) if WsWriteTimeout::find(error).is_some() => Stuck::TooLong,
            _ => Stuck::No,
        };
        if result.is_err() {
            self.rest = Vec::new();
            self.sent = 0;
            self.pong = None;
            self.close = Closing::Sent;
        }
        Poll::Ready(result)
    }

    /// Waits for the end of the peer's time, which starts again when it has accepted a byte.
    fn poll_stuck(&mut self, cx: &mut Context<'_>, moved: bool) -> Poll<()> {
        // A time too long for any clock is no limit.
        let deadline = || Instant::now().checked_add(self.write_timeout);
        match &mut self.stuck {
            Stuck::Since(timer, looks) => {
                if moved && let Some(deadline) = deadline() {
                    timer.as_mut().reset(deadline);
                    *looks = Looks::default();
                }
                ready!(timer.as_mut().poll(cx));
                looks.poll_last(cx)
            }
            Stuck::No | Stuck::TooLong => match deadline() {
                Some(deadline) => {
                    let mut timer = Box::pin(sleep_until(deadline));
                    let polled = timer.as_mut().poll(cx);
                    self.stuck = Stuck::Since(timer, Looks::default());
                    polled
                }
                None => Poll::Pending,
            },
        }
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        io: &mut (impl AsyncWrite + Unpin),
        moved: &mut bool,
    ) -> Poll<io::Result<()>> {
        loop {
            while let Some(rest) = self.rest.get(self.sent..).filter(|rest| !rest.is_empty()) {
                match ready!(Pin::new(&mut *io).poll_write(cx, rest))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    len => {
                        self.sent += len;
                        *moved = true;
                    }
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

/// A client masks each frame with a new key that no peer can guess.
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
