//! Frames in any pieces give what RFC 6455 says they hold: payload, the latest ping, the end.
#![no_main]

#[allow(dead_code, unreachable_pub)] // taken in as it is: it is no part of the crate's API
mod ws;

use libfuzzer_sys::fuzz_target;

const MAX_MESSAGE: usize = 1000;

/// What there is in frames.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    payload: Vec<u8>,
    ping: Option<Vec<u8>>,
    close: Option<Option<u16>>,
    violation: Option<u16>,
}

/// Takes bytes from the front.
fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (front, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(front)
}

fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Sections 5.2 to 5.5, frame by frame. `None` when the bytes are used up.
fn read(server: bool, bytes: &mut &[u8], message: &mut Option<u64>, seen: &mut Seen) -> Option<()> {
    let front = take(bytes, 2)?;
    let (fin, rsv, opcode) = (front[0] & 0x80 != 0, front[0] & 0x70, front[0] & 0x0f);
    let (masked, short) = (front[1] & 0x80 != 0, front[1] & 0x7f);
    let len = match short {
        126 => number(take(bytes, 2)?),
        127 => number(take(bytes, 8)?),
        len => len.into(),
    };
    let key = if masked { take(bytes, 4)? } else { &[0; 4] };
    let control = opcode >= 8;
    let known = matches!(opcode, 0..=2 | 8..=10);
    let sum = message.unwrap_or(0).saturating_add(len);
    seen.violation = if !known || rsv != 0 || masked != server || control && (!fin || len > 125) {
        Some(1002)
    } else if opcode == 1 {
        Some(1003)
    } else if !control && (opcode == 0) != message.is_some() {
        Some(1002)
    } else if !control && sum > MAX_MESSAGE as u64 {
        Some(1009)
    } else {
        None
    };
    if seen.violation.is_some() {
        return None;
    }
    let here = (len as usize).min(bytes.len());
    let masked = take(bytes, here)?;
    let payload = masked
        .iter()
        .zip(key.iter().cycle())
        .map(|(byte, key)| byte ^ key);
    if !control {
        *message = (!fin).then_some(sum);
        seen.payload.extend(payload);
        return (here == len as usize).then_some(());
    }
    if here < len as usize {
        return None;
    }
    let payload: Vec<_> = payload.collect();
    match (opcode, &*payload) {
        (9, _) => seen.ping = Some(payload),
        (10, _) => {}
        (_, []) => seen.close = Some(None),
        (_, [_]) => seen.violation = Some(1002),
        (_, [_, _, reason @ ..]) if str::from_utf8(reason).is_err() => seen.violation = Some(1007),
        (_, [high, low, ..]) => {
            // section 7.4: codes that may be on the wire
            let code = u16::from_be_bytes([*high, *low]);
            let allowed = matches!(code, 1000..=1003 | 1007..=1013 | 3000..=4999);
            seen.close = Some(Some(if allowed { code } else { 1002 }));
        }
    }
    (seen.close.is_none() && seen.violation.is_none()).then_some(())
}

fuzz_target!(|data: &[u8]| {
    let Some((&[select, a, b, c], stream)) = data.split_first_chunk() else {
        return;
    };
    let server = select & 1 == 0;
    let mut wanted = Seen::default();
    let (mut rest, mut message) = (stream, None);
    while read(server, &mut rest, &mut message, &mut wanted).is_some() {}

    let whole = ws::deframe(server, MAX_MESSAGE, [stream]);
    assert_eq!(whole, wanted);
    let mut left = stream;
    let mut sizes = [a, b, c]
        .into_iter()
        .map(|size| usize::from(size % 32).max(1))
        .cycle();
    let pieces = std::iter::from_fn(|| {
        let size = sizes.next()?.min(left.len());
        let (piece, rest) = left.split_at(size);
        left = rest;
        (size > 0).then_some(piece)
    });
    assert_eq!(ws::deframe(server, MAX_MESSAGE, pieces), wanted);
});
