//! A session between a scripted client and a scripted broker, over memory, with a paused clock.
//!
//! Nothing here waits for time: the clock of the runtime is paused, so it moves only when every
//! task waits for something, and then to the next timer. [`settle`] uses that to say "everybody has
//! done what there was to do".

#![allow(dead_code, unreachable_pub)] // each test binary uses its part

pub mod frames;
pub mod hooks;
pub mod lines;
pub mod memory;
pub mod pair;
pub mod recording;

use std::time::Duration;

use mproxy_session::{Conformance, WhenUnreachable};

#[allow(unused_imports)] // as above
pub use self::frames::{Frames, hex};
#[allow(unused_imports)] // as above
pub use self::pair::{Pair, Setup, admit, admit_all};

/// Every value of the key `conformance`.
pub const CONFORMANCES: [Conformance; 2] = [Conformance::Tolerant, Conformance::Strict];

/// Every value of the key `when_unreachable`.
pub const UNREACHABLE: [WhenUnreachable; 2] = [WhenUnreachable::Close, WhenUnreachable::Connack];

/// Returns when every other task of the runtime waits.
pub async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// Bytes as hex, for messages that a person reads: the first of them.
pub fn show(bytes: &[u8]) -> String {
    let hex: String = bytes
        .iter()
        .take(48)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{hex} ({} bytes)", bytes.len())
}

/// Compares bytes and shows them as hex, from a little before where they differ.
#[track_caller]
pub fn assert_bytes(got: &[u8], wanted: &[u8], what: &str) {
    if got == wanted {
        return;
    }
    let same = got.iter().zip(wanted).take_while(|(a, b)| a == b).count();
    let from = same.saturating_sub(8);
    panic!(
        "{what}, from byte {from}:\n   got {}\nwanted {}",
        show(&got[from..]),
        show(&wanted[from..])
    );
}
