//! Chunks of any size give the packets that the whole gives, and the same error.
#![no_main]

#[allow(dead_code, unreachable_pub)] // each target uses a part of it
mod support;

use libfuzzer_sys::fuzz_target;
use mproxy_codec::{DecodeError, Direction, Frame, Framer, Version};
use support::model::Packet;
use support::{field, read, select};

/// Takes packets from the front until one is incomplete or refused.
fn drain(
    version: Version,
    direction: Direction,
    buffer: &mut Vec<u8>,
    packets: &mut Vec<Packet>,
) -> Result<(), DecodeError> {
    while let Some((packet, len)) = read(version, direction, buffer)? {
        packets.push(packet);
        buffer.drain(..len);
    }
    Ok(())
}

/// Pushes `stream` in pieces of these sizes and takes frames until one is refused.
fn frames(
    mut framer: Framer,
    sizes: &[u8],
    stream: &[u8],
) -> (Vec<Frame>, Option<DecodeError>, Option<Version>) {
    let mut frames = Vec::new();
    let mut left = stream;
    let mut sizes = sizes.iter().cycle();
    while !left.is_empty() {
        let size = sizes.next().map_or(1, |size| usize::from(*size).max(1));
        let (piece, rest) = left.split_at(size.min(left.len()));
        left = rest;
        framer.push(piece);
        loop {
            match framer.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error), framer.version()),
            }
        }
    }
    (frames, None, framer.version())
}

/// A framer gives the same frames, the same error and the same version however the stream arrives.
fn check_framer(make: impl Fn() -> Framer, sizes: &[u8], stream: &[u8]) {
    let whole = frames(make(), &[u8::MAX], stream);
    assert_eq!(frames(make(), sizes, stream), whole);
    for frame in &whole.0 {
        let _ = frame.view();
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((version, direction, rest)) = select(data) else {
        return;
    };
    let Some((sizes, stream)) = field(rest) else {
        return;
    };
    for max in [64, usize::MAX] {
        check_framer(|| Framer::before_connect(max), sizes, stream);
        check_framer(|| Framer::new(version, direction, max), sizes, stream);
    }
    let mut whole = (stream.to_vec(), Vec::new());
    let outcome = drain(version, direction, &mut whole.0, &mut whole.1);

    let mut parts = (Vec::new(), Vec::new());
    let mut in_parts = Ok(());
    let mut left = stream;
    let mut sizes = sizes.iter().cycle();
    while !left.is_empty() && in_parts.is_ok() {
        let size = sizes.next().map_or(1, |size| usize::from(*size).max(1));
        let (chunk, rest) = left.split_at(size.min(left.len()));
        parts.0.extend(chunk);
        left = rest;
        in_parts = drain(version, direction, &mut parts.0, &mut parts.1);
    }
    assert_eq!(in_parts, outcome);
    assert_eq!(parts.1, whole.1);
    if outcome.is_ok() {
        assert_eq!(parts.0, whole.0);
    }
});
