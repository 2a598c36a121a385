//! When two lines count as repetitions.

use std::fmt::{self, Debug, Write};
use std::hash::{BuildHasher, Hasher, RandomState};

use tracing::field::{Field, Visit};
use tracing::{Event, Metadata};

use super::sources::{PeerText, Source};

/// The fields whose values distinguish kinds from one place in the code. They hold words of the program
/// and names of the configuration, never text from a client. So a flood on one listener, or for one
/// reason, hides no lines of another.
const TELLING: [&str; 6] = ["listener", "action", "reason", "limit", "upstream", "event"];

/// The field with the number of lines that the code of an event left out itself.
pub(super) const SUPPRESSED: &str = "suppressed";

/// Maximum length of a kind's name in a report.
const LONGEST_NAME: usize = 128;

/// The kind of an event, computed without allocating.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    /// Identifies it. A hash with secret keys: two kinds with the same hash would be limited
    /// together, which nobody can cause on purpose.
    pub(super) key: u64,
    pub(super) metadata: &'static Metadata<'static>,
    /// The number of earlier lines that the event itself reports as missing.
    pub(super) suppressed: u64,
}

impl Kind {
    pub(super) fn of(event: &Event<'_>, keys: &RandomState) -> Self {
        let metadata = event.metadata();
        let mut hasher = keys.build_hasher();
        // one for each place in the code
        hasher.write_usize(std::ptr::from_ref(metadata).addr());
        let mut visitor = Telling {
            hasher,
            suppressed: 0,
        };
        event.record(&mut visitor);
        Self {
            key: visitor.hasher.finish(),
            metadata,
            suppressed: visitor.suppressed,
        }
    }
}

struct Telling<H> {
    hasher: H,
    suppressed: u64,
}

impl<H: Hasher> Visit for Telling<H> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if TELLING.contains(&field.name()) {
            self.hasher.write(field.name().as_bytes());
            // this writer never fails
            let _ = write!(Hashing(&mut self.hasher), "{value:?}");
            self.hasher.write_u8(0xff);
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if TELLING.contains(&field.name()) {
            self.hasher.write(field.name().as_bytes());
            self.hasher.write(value.as_bytes());
            self.hasher.write_u8(0xff);
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == SUPPRESSED {
            self.suppressed = value;
        }
    }
}

/// Text that goes into a hash.
struct Hashing<'a, H>(&'a mut H);

impl<H: Hasher> Write for Hashing<'_, H> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

/// Who caused an event, by its field `peer`.
pub(super) fn source(event: &Event<'_>) -> Option<Source> {
    struct Peer(PeerText);
    impl Visit for Peer {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            if field.name() == "peer" {
                // too long for an address
                let _ = write!(self.0, "{value:?}");
            }
        }

        fn record_str(&mut self, field: &Field, value: &str) {
            if field.name() == "peer" {
                let _ = self.0.write_str(value);
            }
        }
    }
    let mut peer = Peer(PeerText::new());
    event.record(&mut peer);
    peer.0.source()
}

/// The name of a kind in a report about its missing lines.
#[derive(Debug, Default)]
pub(super) struct Names(Vec<(&'static str, String)>);

impl Names {
    pub(super) fn of(event: &Event<'_>) -> Self {
        let mut names = Self::default();
        event.record(&mut names);
        names
    }

    /// The value of a field, if the event had it.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(it, _)| *it == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl Visit for Names {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if TELLING.contains(&field.name()) {
            let value = super::escape::Cut::format(format_args!("{value:?}"), LONGEST_NAME);
            self.0.push((field.name(), value));
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}
