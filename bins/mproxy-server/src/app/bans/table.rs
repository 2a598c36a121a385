//! Who is banned, and until when.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use mproxy_admin::{BanSource, BanSubject, Offence};
use mproxy_layers::acl::Network;
use mproxy_session::SessionInfo;

use crate::app::networks::{self, NetworkMap};

/// Bans at once: an attacker with more addresses is not kept out by address.
const MOST_BANS: usize = 65_536;

/// How often those that are over are looked for while there is no room.
const CLEANED: Duration = Duration::from_secs(1);

/// Maximum bytes of a name that is remembered.
const MOST_NAME: usize = 256;

/// The digits of the hash of a longer one. Its keys are secret, so that nobody can make two with the same.
const HASH_DIGITS: usize = 16;

static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// Bans by points at once: the rest of the room is the operator's.
const MOST_BY_POINTS: usize = 61_440;

/// What is banned, or has points.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    Address(Network),
    Username(Box<str>),
    ClientId(Box<str>),
}

/// A ban.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ban {
    pub(crate) source: BanSource,
    /// `None` = until it is lifted.
    until: Option<Instant>,
    since: Instant,
    why: Why,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Why {
    /// The offence that was one too many.
    Offence(Offence),
    /// What an operator wrote.
    Said(Option<Box<str>>),
}

/// There is no room for another ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// All bans. Those that are over count as absent, and are dropped when another one needs their room.
#[derive(Debug, Default)]
pub(super) struct Table {
    addresses: NetworkMap<Ban>,
    usernames: HashMap<Box<str>, Ban>,
    client_ids: HashMap<Box<str>, Ban>,
    /// When those that are over were dropped.
    cleaned: Option<Instant>,
}

// ===== impl Subject =====

impl Subject {
    pub(crate) fn username(name: &str) -> Self {
        Self::Username(cut(name).into())
    }

    pub(crate) fn client_id(name: &str) -> Self {
        Self::ClientId(cut(name).into())
    }

    pub(crate) const fn kind(&self) -> BanSubject {
        match self {
            Self::Address(_) => BanSubject::Address,
            Self::Username(_) => BanSubject::Username,
            Self::ClientId(_) => BanSubject::ClientId,
        }
    }

    /// The network or the name, as an operator writes it.
    pub(crate) fn value(&self) -> String {
        match self {
            Self::Address(network) => networks::short(*network),
            Self::Username(name) | Self::ClientId(name) => name.to_string(),
        }
    }

    /// Whether a session belongs to it.
    pub(crate) fn is_of(&self, session: &SessionInfo) -> bool {
        match self {
            Self::Address(network) => {
                let address = session.peer().address;
                address.is_some_and(|it| network.contains(it.ip()))
            }
            Self::Username(name) => session.user_name().is_some_and(|it| cut(it) == **name),
            Self::ClientId(name) => cut(session.client_id()) == **name,
        }
    }

    /// As an argument of `mproxy-server bans`, for a shell.
    pub(crate) fn as_argument(&self) -> String {
        let option = match self {
            Self::Address(_) => "--address",
            Self::Username(_) => "--username",
            Self::ClientId(_) => "--client",
        };
        format!("{option} '{}'", self.value().replace('\'', "'\\''"))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(_) => f.write_str(&self.value()),
            Self::Username(_) | Self::ClientId(_) => write!(f, "`{}`", self.value()),
        }
    }
}

/// A name as it is remembered: a long one by its beginning and a hash of all of it, which is again such a name.
fn cut(name: &str) -> Cow<'_, str> {
    if name.len() <= MOST_NAME {
        return name.into();
    }
    let end = name.floor_char_boundary(MOST_NAME - HASH_DIGITS - 4);
    let hash = KEYS.hash_one(name);
    format!("{}...#{hash:016x}", &name[..end]).into()
}

// ===== impl Ban =====

impl Ban {
    pub(super) fn by_points(offence: Offence, term: Duration, now: Instant) -> Self {
        Self {
            source: BanSource::Points,
            until: now.checked_add(term),
            since: now,
            why: Why::Offence(offence),
        }
    }

    pub(super) fn by_operator(reason: Option<&str>, term: Option<Duration>, now: Instant) -> Self {
        Self {
            source: BanSource::Admin,
            until: term.and_then(|term| now.checked_add(term)),
            since: now,
            why: Why::Said(reason.map(|it| cut(it).into())),
        }
    }

    /// How much longer it lasts; `None` = until it is lifted.
    pub(super) fn remaining(&self, now: Instant) -> Option<Duration> {
        Some(self.until?.saturating_duration_since(now))
    }

    /// How long ago it began.
    pub(crate) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Why, for the operator.
    pub(crate) fn why(&self) -> &str {
        match &self.why {
            Why::Offence(offence) => offence.as_str(),
            Why::Said(Some(reason)) => reason,
            Why::Said(None) => "by an operator",
        }
    }

    fn outlasts(&self, other: &Self) -> bool {
        match (self.until, other.until) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(other)) => own >= other,
        }
    }

    fn is_over(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

// ===== impl Table =====

impl Table {
    /// The ban of this address, with the smallest network that has one.
    pub(super) fn address(&self, address: IpAddr, now: Instant) -> Option<(Subject, Ban)> {
        let is_valid = |ban: &Ban| !ban.is_over(now);
        let (network, ban) = self.addresses.find_where(address, is_valid)?;
        Some((Subject::Address(network), ban.clone()))
    }

    /// The ban of one of these names.
    pub(super) fn names(
        &self,
        username: Option<&str>,
        client_id: &str,
        now: Instant,
    ) -> Option<(Subject, Ban)> {
        let find = |bans: &HashMap<Box<str>, Ban>, name: &str| {
            let ban = bans.get(&*cut(name))?;
            (!ban.is_over(now)).then(|| ban.clone())
        };
        let of_user = || {
            let name = username?;
            Some((Subject::username(name), find(&self.usernames, name)?))
        };
        of_user().or_else(|| {
            let ban = find(&self.client_ids, client_id)?;
            Some((Subject::client_id(client_id), ban))
        })
    }

    /// Adds a ban, or replaces the one of the same subject, unless points would shorten it.
    pub(super) fn insert(&mut self, subject: Subject, ban: Ban, now: Instant) -> Result<(), Full> {
        let is_by_points = ban.source == BanSource::Points;
        if let Some(old) = self.get(&subject) {
            if is_by_points && !old.is_over(now) && old.outlasts(&ban) {
                return Ok(());
            }
        } else {
            let most = if is_by_points {
                MOST_BY_POINTS
            } else {
                MOST_BANS
            };
            if self.len() >= most && self.is_cleaned_before(now) {
                self.drop_over(now);
            }
            if self.len() >= most {
                return Err(Full);
            }
        }
        match subject {
            Subject::Address(network) => self.addresses.insert(network, ban),
            Subject::Username(name) => drop(self.usernames.insert(name, ban)),
            Subject::ClientId(name) => drop(self.client_ids.insert(name, ban)),
        }
        Ok(())
    }

    fn get(&self, subject: &Subject) -> Option<&Ban> {
        match subject {
            Subject::Address(network) => self.addresses.get(network),
            Subject::Username(name) => self.usernames.get(name),
            Subject::ClientId(name) => self.client_ids.get(name),
        }
    }

    /// Removes a ban. False if there is none that counts.
    pub(super) fn remove(&mut self, subject: &Subject, now: Instant) -> bool {
        let ban = match subject {
            Subject::Address(network) => self.addresses.remove(network),
            Subject::Username(name) => self.usernames.remove(name),
            Subject::ClientId(name) => self.client_ids.remove(name),
        };
        self.drop_over(now);
        ban.is_some_and(|ban| !ban.is_over(now))
    }

    /// All bans that count.
    pub(super) fn iter(&self, now: Instant) -> impl Iterator<Item = (Subject, Ban)> {
        let addresses = self.addresses.iter();
        let addresses = addresses.map(|(network, ban)| (Subject::Address(*network), ban));
        let usernames = self.usernames.iter();
        let usernames = usernames.map(|(name, ban)| (Subject::Username(name.clone()), ban));
        let client_ids = self.client_ids.iter();
        let client_ids = client_ids.map(|(name, ban)| (Subject::ClientId(name.clone()), ban));
        let all = addresses.chain(usernames).chain(client_ids);
        let all = all.filter(move |(_, ban)| !ban.is_over(now));
        all.map(|(subject, ban)| (subject, ban.clone()))
    }

    /// How many there are, with those that are over and still kept.
    pub(super) fn len(&self) -> usize {
        self.addresses.len() + self.usernames.len() + self.client_ids.len()
    }

    /// How many of a kind count.
    pub(super) fn current(&self, kind: BanSubject, now: Instant) -> usize {
        let counts = |ban: &&Ban| !ban.is_over(now);
        match kind {
            BanSubject::Address => self.addresses.iter().filter(|(_, ban)| counts(ban)).count(),
            BanSubject::Username => self.usernames.values().filter(counts).count(),
            BanSubject::ClientId => self.client_ids.values().filter(counts).count(),
            _ => 0,
        }
    }

    /// Whether it is worth looking for bans that are over: with an attacker who fills the table, each new
    /// ban would look at all of them.
    fn is_cleaned_before(&self, now: Instant) -> bool {
        let pause = |then| now.saturating_duration_since(then) >= CLEANED;
        self.cleaned.is_none_or(pause)
    }

    /// Drops the bans that are over.
    fn drop_over(&mut self, now: Instant) {
        self.cleaned = Some(now);
        self.addresses.retain(|ban| !ban.is_over(now));
        self.usernames.retain(|_, ban| !ban.is_over(now));
        self.client_ids.retain(|_, ban| !ban.is_over(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_ban_counts_until_it_is_over_or_lifted() {
        let now = Instant::now();
        let mut table = Table::default();
        let ban = |term| Ban::by_operator(Some("stolen"), term, now);
        let network = Subject::Address("192.0.2.0/24".parse().unwrap());
        for (subject, term) in [
            (network.clone(), Some(MINUTE)),
            (Subject::username("ann"), Some(MINUTE)),
            (Subject::client_id("c"), None),
        ] {
            table.insert(subject, ban(term), now).unwrap();
        }
        let address = "::ffff:192.0.2.7".parse().unwrap();
        let later = now + MINUTE;
        assert_eq!(table.address(address, now).unwrap().0, network);
        assert_eq!(table.address(address, later), None);
        let kind = |username, client_id, at| {
            let found = table.names(username, client_id, at);
            found.map(|(subject, _)| subject.kind())
        };
        assert_eq!(kind(Some("ann"), "x", now), Some(BanSubject::Username));
        assert_eq!(kind(Some("ann"), "x", later), None);
        assert_eq!(kind(Some("ann"), "c", later), Some(BanSubject::ClientId));
        assert_eq!(kind(Some("c"), "ann", now), None, "names of another kind");
        assert_eq!((table.iter(now).count(), table.iter(later).count()), (3, 1));
        assert!(
            !table.remove(&Subject::username("ann"), later),
            "it was over"
        );
        assert!(table.remove(&Subject::client_id("c"), later));
        assert_eq!(table.len(), 0);
    }

    /// A client id may have 65,535 bytes: thousands of them must not fill the memory.
    #[test]
    fn a_long_name_is_remembered_by_its_beginning() {
        let long = "x".repeat(65_535);
        let subject = Subject::client_id(&long);
        assert!(subject.value().len() <= MOST_NAME);
        // what is shown, and written back to lift the ban
        assert_eq!(Subject::client_id(&subject.value()), subject);
        let now = Instant::now();
        let mut table = Table::default();
        table
            .insert(subject, Ban::by_operator(None, None, now), now)
            .unwrap();
        assert!(table.names(None, &long, now).is_some());
        let mut other = long;
        other.replace_range(65_534.., "y");
        assert!(
            table.names(None, &other, now).is_none(),
            "of the same length"
        );
    }

    /// A ban of an operator, until it is lifted, became one of ten minutes when its client went on.
    #[test]
    fn points_do_not_shorten_a_ban() {
        let now = Instant::now();
        let mut table = Table::default();
        let subject = Subject::username("ann");
        let remaining = |table: &Table| table.get(&subject).unwrap().remaining(now);
        let by_points = |term| Ban::by_points(Offence::Pings, term, now);
        table
            .insert(subject.clone(), by_points(MINUTE), now)
            .unwrap();
        table
            .insert(subject.clone(), by_points(2 * MINUTE), now)
            .unwrap();
        assert_eq!(remaining(&table), Some(2 * MINUTE));
        let forever = Ban::by_operator(None, None, now);
        table.insert(subject.clone(), forever, now).unwrap();
        table
            .insert(subject.clone(), by_points(MINUTE), now)
            .unwrap();
        assert_eq!(remaining(&table), None);
        // an operator may
        let shorter = Ban::by_operator(None, Some(MINUTE), now);
        table.insert(subject.clone(), shorter, now).unwrap();
        assert_eq!(remaining(&table), Some(MINUTE));
    }

    /// With 65,536 addresses of an attacker, an operator could ban nobody.
    #[test]
    fn points_leave_room_for_the_operator() {
        let now = Instant::now();
        let mut table = Table::default();
        let name = |number: usize| Subject::username(&format!("u{number}"));
        let by_points = Ban::by_points(Offence::Pings, MINUTE, now);
        for number in 0..MOST_BY_POINTS {
            table.insert(name(number), by_points.clone(), now).unwrap();
        }
        let one_more = table.insert(name(MOST_BY_POINTS), by_points.clone(), now);
        assert_eq!(one_more, Err(Full));
        let own = Ban::by_operator(None, None, now);
        table.insert(name(MOST_BY_POINTS), own, now).unwrap();
        // those that are over make room
        let later = now + MINUTE;
        table.insert(name(MOST_BANS), by_points, later).unwrap();
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn a_subject_is_written_for_a_shell() {
        let address = |text: &str| Subject::Address(text.parse().unwrap()).as_argument();
        assert_eq!(address("192.0.2.7"), "--address '192.0.2.7'");
        assert_eq!(address("2001:db8::/64"), "--address '2001:db8::/64'");
        assert_eq!(
            Subject::username("o'neill; reboot").as_argument(),
            "--username 'o'\\''neill; reboot'"
        );
    }
}
