//! What the ends are told to say.

use proptest::prelude::*;

/// What becomes of a publication or a topic filter: its first level says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Allowed,
    Denied,
    Dropped,
    Renamed,
    /// Allowed after a gate was opened.
    Held,
    /// Denied after a gate was opened.
    HeldDenied,
    /// Denied when the publication's number is odd: hooks change their minds, and an alias that was
    /// bound by a refused publication is then used by one that is not.
    Fickle,
    /// Renamed when the publication's number is odd.
    Moody,
}

impl What {
    pub(crate) const ALL: [Self; 8] = [
        Self::Allowed,
        Self::Denied,
        Self::Dropped,
        Self::Renamed,
        Self::Held,
        Self::HeldDenied,
        Self::Fickle,
        Self::Moody,
    ];

    pub(crate) const fn level(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::Dropped => "dropped",
            Self::Renamed => "from",
            Self::Held => "held",
            Self::HeldDenied => "held-denied",
            Self::Fickle => "fickle",
            Self::Moody => "moody",
        }
    }

    pub(crate) fn of(topic: &str) -> Self {
        let level = topic.split('/').next();
        Self::ALL
            .into_iter()
            .find(|what| Some(what.level()) == level)
            .unwrap_or(Self::Allowed)
    }

    /// What becomes of the publication with this payload, which begins with its number.
    pub(crate) fn of_publication(topic: &str, payload: &[u8]) -> Self {
        let odd = payload.get(3).is_some_and(|byte| byte % 2 == 1);
        match (Self::of(topic), odd) {
            (Self::Fickle, true) => Self::Denied,
            (Self::Moody, true) => Self::Renamed,
            (Self::Fickle | Self::Moody, false) => Self::Allowed,
            (what, _) => what,
        }
    }

    pub(crate) fn renamed(self, topic: &str) -> Option<String> {
        (self == Self::Renamed).then(|| format!("to/{topic}"))
    }

    pub(crate) const fn is_forwarded(self) -> bool {
        matches!(self, Self::Allowed | Self::Renamed | Self::Held)
    }

    pub(crate) const fn is_refused(self) -> bool {
        matches!(self, Self::Denied | Self::HeldDenied)
    }
}

/// How a publication uses topic aliases.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Alias {
    None,
    Bind(u16),
    Use(u16),
}

/// A packet; where it slips, with flags that a tolerant receiver does not look at.
#[derive(Clone, Debug)]
pub(crate) enum Say {
    Publish {
        what: What,
        name: u8,
        qos: u8,
        alias: Alias,
        payload: usize,
        slips: bool,
    },
    Request {
        subscribe: bool,
        filters: Vec<What>,
        /// An identifier that is used whether or not a request with it is under way.
        id: Option<u16>,
        slips: bool,
    },
    Ping {
        slips: bool,
    },
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Client(Vec<Say>),
    Broker(Vec<Say>),
    OpenUp(usize),
    OpenDown(usize),
}

fn what() -> impl Strategy<Value = What> {
    prop_oneof![
        4 => Just(What::Allowed),
        3 => Just(What::Denied),
        2 => Just(What::Dropped),
        3 => Just(What::Renamed),
        1 => Just(What::Held),
        1 => Just(What::HeldDenied),
        3 => Just(What::Fickle),
        2 => Just(What::Moody),
    ]
}

fn publish(aliases: bool) -> impl Strategy<Value = Say> {
    let numbers = 1..=super::peer::ALIASES;
    let alias = if aliases {
        prop_oneof![
            2 => Just(Alias::None),
            2 => numbers.clone().prop_map(Alias::Bind),
            3 => numbers.prop_map(Alias::Use),
        ]
        .boxed()
    } else {
        Just(Alias::None).boxed()
    };
    let payload = prop_oneof![9 => 0_usize..40, 1 => 100_usize..400];
    (what(), 0_u8..3, 0_u8..3, alias, payload, slips()).prop_map(
        |(what, name, qos, alias, payload, slips)| Say::Publish {
            what,
            name,
            qos,
            alias,
            payload,
            slips,
        },
    )
}

/// Requests never wait for a gate: a filter is allowed, renamed or denied.
fn filters() -> impl Strategy<Value = Vec<What>> {
    let filter = prop_oneof![Just(What::Allowed), Just(What::Denied), Just(What::Renamed)];
    prop::collection::vec(filter, 1..6)
}

/// Some clients use an identifier for everything, whether it is answered or not.
fn request() -> impl Strategy<Value = Say> {
    let id = prop_oneof![1 => Just(None), 2 => (1_u16..4).prop_map(Some)];
    let subscribe = prop::bool::weighted(0.66);
    (subscribe, filters(), id, slips()).prop_map(|(subscribe, filters, id, slips)| Say::Request {
        subscribe,
        filters,
        id,
        slips,
    })
}

fn slips() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.2)
}

/// Up to sixty steps of up to four packets.
pub(crate) fn script(aliases: bool) -> impl Strategy<Value = Vec<Step>> {
    let client = prop_oneof![
        6 => publish(aliases),
        3 => request(),
        1 => slips().prop_map(|slips| Say::Ping { slips }),
    ];
    let step = prop_oneof![
        5 => prop::collection::vec(client, 1..5).prop_map(Step::Client),
        4 => prop::collection::vec(publish(aliases), 1..5).prop_map(Step::Broker),
        2 => (1_usize..4).prop_map(Step::OpenUp),
        2 => (1_usize..4).prop_map(Step::OpenDown),
    ];
    prop::collection::vec(step, 1..60)
}
