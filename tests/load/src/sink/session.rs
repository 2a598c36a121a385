//! What the sink answers on one connection.

use std::io::{self, ErrorKind, Write};

use super::flood::Flood;
use crate::net::Stream;
use crate::wire::{
    Frame, PINGRESP, Publish, Scanner, Version, ack, connack, first, publish, split_string, suback,
    unsuback,
};

/// The client broke the protocol or the socket failed: the connection ends.
#[derive(Debug)]
pub(super) struct End;

/// Which readiness a session waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    Read,
    /// Replies are pending: nothing is read until they are gone, so that they cannot pile up.
    Write,
    /// A flood is under way; commands are still read.
    Both,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Session {
    stream: Stream,
    scanner: Scanner,
    state: State,
    /// Replies not taken by the socket; bounded by what one read can ask for.
    out: Vec<u8>,
    watched: Wants,
}

/// What the answers depend on.
#[derive(Debug, Default)]
struct State {
    /// Set by CONNECT.
    version: Option<Version>,
    /// PUBLISH packets received.
    count: u64,
    echo: bool,
    flood: Option<Flood>,
    ended: bool,
}

impl Session {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            stream,
            scanner: Scanner::default(),
            state: State::default(),
            out: Vec::new(),
            watched: Wants::Read,
        }
    }

    pub(super) fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    pub(super) fn wants(&self) -> Wants {
        if !self.out.is_empty() {
            Wants::Write
        } else if self.state.flood.is_some() {
            Wants::Both
        } else {
            Wants::Read
        }
    }

    /// What to wait for, if it differs from the last answer.
    pub(super) fn changed_wants(&mut self) -> Option<Wants> {
        let wants = self.wants();
        (wants != self.watched).then(|| {
            self.watched = wants;
            wants
        })
    }

    /// Answers what was read; the answers are appended to `replies`.
    pub(super) fn handle(&mut self, bytes: &[u8], replies: &mut Vec<u8>) -> Result<(), End> {
        let Self { scanner, state, .. } = self;
        let mut answer = Ok(());
        scanner
            .feed(bytes, |frame| {
                if answer.is_ok() {
                    answer = state.handle(frame, replies).ok_or(End);
                }
            })
            .map_err(|_| End)?;
        answer?;
        if state.echo {
            scanner.keep_publish();
        }
        Ok(())
    }

    /// Writes what the socket takes: what is pending, then `replies`, then the flood.
    pub(super) fn send(&mut self, replies: &[u8]) -> Result<(), End> {
        // Replies come from a read, and nothing is read while some are pending.
        let (bytes, pending) = if self.out.is_empty() {
            (replies, false)
        } else {
            (self.out.as_slice(), true)
        };
        let written = write(&mut self.stream, bytes)?;
        if pending {
            self.out.drain(..written);
        } else {
            self.out.extend_from_slice(&replies[written..]);
        }
        if !self.out.is_empty() {
            return Ok(());
        }
        // An idle connection holds no buffer: thousands of them must stay small.
        self.out = Vec::new();
        if self.state.ended {
            return Err(End);
        }
        // One chunk, then the other connections have their turn.
        if let Some(flood) = &mut self.state.flood {
            flood
                .write(&mut self.stream)
                .or_else(none_if_full)
                .map_err(|_| End)?;
            if flood.is_done() {
                self.state.flood = None;
            }
        }
        Ok(())
    }
}

/// Writes until the socket is full.
fn write(stream: &mut Stream, bytes: &[u8]) -> Result<usize, End> {
    let mut written = 0;
    while written < bytes.len() {
        match stream.write(&bytes[written..]).or_else(none_if_full) {
            Ok(0) => break,
            Ok(len) => written += len,
            Err(_) => return Err(End),
        }
    }
    Ok(written)
}

fn none_if_full(error: io::Error) -> io::Result<usize> {
    if error.kind() == ErrorKind::WouldBlock {
        Ok(0)
    } else {
        Err(error)
    }
}

impl State {
    /// Answers one packet; `None` if the client must not send it.
    fn handle(&mut self, frame: Frame<'_>, out: &mut Vec<u8>) -> Option<()> {
        let Some(version) = self.version else {
            let version = connect_version(frame)?;
            self.version = Some(version);
            connack(out, version);
            return Some(());
        };
        match frame.first {
            _ if frame.is_publish() => self.publish(frame, out)?,
            first::PUBREL => ack(out, first::PUBCOMP, frame.id()?),
            // The sink sends QoS 0 only; answers to it mean nothing but do no harm.
            first::PUBACK | first::PUBREC | first::PUBCOMP => {}
            first::SUBSCRIBE => self.subscribe(frame, version, out)?,
            first::UNSUBSCRIBE => {
                let (id, filters) = id_and_rest(frame, version)?;
                unsuback(out, version, id, strings(filters, 0).count());
            }
            first::PINGREQ => out.extend_from_slice(&PINGRESP),
            first::DISCONNECT => self.ended = true,
            _ => return None,
        }
        Some(())
    }

    fn publish(&mut self, frame: Frame<'_>, out: &mut Vec<u8>) -> Option<()> {
        self.count += 1;
        match frame.qos() {
            0 => {}
            1 => ack(out, first::PUBACK, frame.publish_id()?),
            2 => ack(out, first::PUBREC, frame.publish_id()?),
            _ => return None,
        }
        if self.echo
            && let Some((topic, rest)) = frame.topic()
            && topic.ends_with(b"/echo")
        {
            // Properties and payload go back as one piece, with the length that they came with;
            // to the encoder that is a payload without properties.
            let version = Version::V3;
            let payload = rest.get(if frame.qos() > 0 { 2 } else { 0 }..)?;
            publish(
                out,
                &Publish {
                    version,
                    qos: 0,
                    id: 0,
                    topic,
                    properties: &[],
                    payload,
                },
            );
        }
        Some(())
    }

    fn subscribe(&mut self, frame: Frame<'_>, version: Version, out: &mut Vec<u8>) -> Option<()> {
        let (id, filters) = id_and_rest(frame, version)?;
        let codes: Vec<u8> = strings(filters, 1).map(|_| 0).collect();
        if codes.is_empty() {
            return None;
        }
        suback(out, version, id, &codes);
        for filter in strings(filters, 1) {
            if filter.ends_with(b"/count") {
                let count = self.count.to_string();
                let packet = Publish {
                    version,
                    qos: 0,
                    id: 0,
                    topic: filter,
                    properties: &[],
                    payload: count.as_bytes(),
                };
                publish(out, &packet);
            } else if filter.ends_with(b"/echo") {
                self.echo = true;
            } else if let Some(flood) = Flood::parse(filter, version) {
                // A second flood takes the place of the first.
                self.flood = Some(flood).filter(|flood| !flood.is_done());
            }
        }
        Some(())
    }
}

fn connect_version(frame: Frame<'_>) -> Option<Version> {
    let (_, rest) = frame.topic().filter(|_| frame.first == first::CONNECT)?;
    match rest.first()? {
        3 | 4 => Some(Version::V3),
        5 => Some(Version::V5),
        _ => None,
    }
}

/// Packet id, and what follows it and the properties.
fn id_and_rest<'a>(frame: Frame<'a>, version: Version) -> Option<(u16, &'a [u8])> {
    let id = frame.id()?;
    let rest = &frame.body[2..];
    if version == Version::V3 {
        return Some((id, rest));
    }
    let mut len = 0;
    for (at, &byte) in rest.iter().take(4).enumerate() {
        len |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((id, rest.get(at + 1 + len..)?));
        }
    }
    None
}

/// The strings of a list in which each is followed by `gap` bytes.
fn strings(mut bytes: &[u8], gap: usize) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (string, rest) = split_string(bytes)?;
        bytes = rest.get(gap..)?;
        Some(string)
    })
}
