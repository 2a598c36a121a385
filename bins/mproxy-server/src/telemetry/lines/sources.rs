//! Finds who causes the lines that are left out.

use std::fmt::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// How many sources are tracked at a time. One with more than a sixteenth of all lines is among them,
/// however many others there are.
const PLACES: usize = 16;

/// The smallest share for a source to be named: a flood from everywhere has no top source.
const SMALLEST_SHARE: u64 = 10;

/// A source: an IPv4 address, the /64 of an IPv6 address, which is the least that
/// one site has, or all clients of Unix sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    V4(Ipv4Addr),
    V6(Ipv6Addr),
    Unix,
}

impl Source {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address),
            IpAddr::V6(address) => {
                let network = address.to_bits() & !u128::from(u64::MAX);
                Self::V6(Ipv6Addr::from_bits(network))
            }
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address) => address.fmt(f),
            Self::V6(network) => write!(f, "{network}/64"),
            Self::Unix => f.write_str("unix"),
        }
    }
}

/// Reads the value of a field `peer` without allocating.
#[derive(Debug)]
pub(super) struct PeerText {
    /// `[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255%4294967295]:65535` fits.
    text: [u8; 64],
    length: usize,
}

impl PeerText {
    pub(super) const fn new() -> Self {
        Self {
            text: [0; 64],
            length: 0,
        }
    }

    /// The source; `None` if the text is not an address.
    pub(super) fn source(&self) -> Option<Source> {
        let text = self.text.get(..self.length)?;
        let text = str::from_utf8(text).ok()?;
        if text == "unix" {
            return Some(Source::Unix);
        }
        let address = text.parse().map(|it: SocketAddr| it.ip());
        address.or_else(|_| text.parse()).ok().map(Source::of)
    }
}

impl Write for PeerText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        // longer than an address
        let room = self.text.get_mut(self.length..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// Finds the source of most lines in constant memory: the space-saving sketch of Metwally, Agrawal and
/// El Abbadi.
#[derive(Debug, Default)]
pub(super) struct Sources(Vec<Counted>);

#[derive(Debug)]
struct Counted {
    source: Source,
    count: u64,
    /// The part of the count that belongs to earlier sources of this slot.
    inherited: u64,
}

impl Sources {
    pub(super) fn note(&mut self, source: Source) {
        if let Some(known) = self.0.iter_mut().find(|it| it.source == source) {
            known.count += 1;
            return;
        }
        let inherited = match self.0.len() < PLACES {
            true => 0,
            false => self.take_least(),
        };
        self.0.push(Counted {
            source,
            count: inherited + 1,
            inherited,
        });
    }

    /// Makes room: removes the source with the smallest count, and returns the count.
    fn take_least(&mut self) -> u64 {
        let least = self.0.iter().enumerate().min_by_key(|(_, it)| it.count);
        let place = least.map(|(place, _)| place);
        place.map_or(0, |place| self.0.swap_remove(place).count)
    }

    /// The source of most of `total` lines, with the minimum number of them. `None` if no
    /// source has a tenth of them.
    pub(super) fn top(&self, total: u64) -> Option<Top> {
        let sure = |it: &Counted| it.count - it.inherited;
        let top = self.0.iter().max_by_key(|it| sure(it))?;
        let count = sure(top);
        (count.saturating_mul(SMALLEST_SHARE) >= total).then_some(Top {
            source: top.source,
            count,
        })
    }
}

/// A source and its lines, shown as `192.0.2.7 (31870)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Top {
    source: Source,
    count: u64,
}

impl fmt::Display for Top {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.source, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(peer: &str) -> Option<Source> {
        let mut text = PeerText::new();
        let _ = text.write_str(peer);
        text.source()
    }

    #[test]
    fn a_source_is_an_address_or_a_network() {
        for (peer, shown) in [
            ("192.0.2.7:40076", "192.0.2.7"),
            ("192.0.2.7", "192.0.2.7"),
            ("[2001:db8:1:2:3:4:5:6]:1", "2001:db8:1:2::/64"),
            ("[::ffff:192.0.2.7]:1", "192.0.2.7"),
            ("unix", "unix"),
            (
                "[ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255%4294967295]:65535",
                "ffff:ffff:ffff:ffff::/64",
            ),
        ] {
            let source = source(peer).expect(peer);
            assert_eq!(source.to_string(), shown, "{peer}");
        }
        let long = "x".repeat(1000);
        for peer in ["", "a", "192.0.2", &long] {
            assert_eq!(source(peer), None, "{peer}");
        }
    }

    #[test]
    fn one_source_among_ten_thousand_is_found() {
        let mut sources = Sources::default();
        let address = |number: u32| Source::V4(Ipv4Addr::from_bits(number));
        let mut total = 0;
        for number in 0..10_000 {
            sources.note(address(number));
            total += 1;
            if number % 4 == 0 {
                sources.note(Source::Unix);
                total += 1;
            }
        }
        assert_eq!(sources.0.len(), PLACES);
        let top = sources.top(total).expect("a fifth of all");
        assert_eq!(top.source, Source::Unix);
        assert!((2400..=2500).contains(&top.count), "{top}");
    }

    /// Naming the last of ten thousand addresses as the cause would send an operator after a stranger.
    #[test]
    fn a_flood_from_everywhere_has_no_top() {
        let mut sources = Sources::default();
        for number in 0..10_000 {
            sources.note(Source::V4(Ipv4Addr::from_bits(number)));
        }
        assert_eq!(sources.top(10_000), None);
        assert_eq!(Sources::default().top(0), None);
    }
}
