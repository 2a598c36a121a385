//! `[bans]`: clients that misbehave again and again, and those that an operator has banned.

use crate::choice::words;
use crate::context::Context;
use crate::diagnostics::Diagnostic;
use crate::scalar::Count;
use crate::section::{FlagSet, Flags, Listing, Setting, Sub, section};
use crate::validate::bounds;
use mproxy_layers::acl::Network;
use std::num::NonZeroUsize;
use std::time::Duration;

section! {
    /// Bans of clients that misbehave again and again.
    ///
    /// Bans that an operator makes with `mproxy-server bans` count in every mode.
    Bans, BansKeys in "[bans]" short "mode", reload "at once" {
        /// What happens to clients that misbehave again and again: "off", "observe" or "enforce".
        ///
        /// Each offence of [bans.points] costs points, which are forgotten with time. observe: the log and the
        /// metrics say who would be banned. enforce: at three quarters of the threshold mproxy closes
        /// the session that offended, and at the threshold it bans the client for a while. Scores and
        /// bans live in the memory of this process.
        mode: BanMode = "off";
        /// Points at which a client is banned.
        threshold: NonZeroUsize = 100;
        /// Time in which as many points as the threshold are forgotten. Fewer points take less.
        forgive: Duration = "10m", check bounds::lasting;
        /// How long a ban lasts.
        duration: Duration = "10m", check bounds::lasting;
        /// What is banned: "address", "username", "client_id".
        ///
        /// An address, or the ipv6_prefix of one, gets the points of everything that comes from it. A user
        /// name and a client identifier get only those of what a client does after the broker has let it in
        /// with them: otherwise anybody could have a name banned. Add "client_id" only where a client cannot use the
        /// identifier of another: where a client-id layer or the broker ties identifiers to users.
        subjects: Subjects as Flags<Subjects> = ["address", "username"];
        /// Networks that points never ban: gateways and NATs of your own, monitoring.
        ///
        /// Behind one address of a NAT, the ban of one client keeps out all of them. Load balancers that a listener
        /// trusts are exempt by themselves.
        exempt: Vec<Network> as Listing<Network> = [];
        /// What each offence costs.
        points: BanPoints as Sub<BanPoints>, given points;
    }
}

section! {
    /// What each offence costs, in points. 0 = nothing.
    BanPoints, BanPointsKeys in "[bans.points]" {
        /// A packet that breaks the protocol, or bytes that are no handshake of TLS or WebSocket.
        protocol_error: Option<NonZeroUsize> as Setting<Count> = 20;
        /// A name, password or certificate that a layer, mproxy or the broker refuses.
        auth_failed: Option<NonZeroUsize> as Setting<Count> = 10;
        /// Another refusal by the broker that is about the client, such as of its client identifier.
        ///
        /// A broker that is busy or unavailable, or does not speak a version of MQTT, costs nothing.
        broker_refusal: Option<NonZeroUsize> as Setting<Count> = 10;
        /// More refused packets than limits.max_denials lets pass.
        denials: Option<NonZeroUsize> as Setting<Count> = 20;
        /// A session that ends within five seconds without DISCONNECT, as in a loop of reconnects.
        reconnect: Option<NonZeroUsize> as Setting<Count> = 5;
        /// Sixty PINGREQs within fifteen seconds.
        pings: Option<NonZeroUsize> as Setting<Count> = 20;
    }
}

/// What happens to clients that misbehave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BanMode {
    /// Nothing is counted.
    #[default]
    Off,
    /// They are counted, and the log says who would be banned.
    Observe,
    /// They are banned.
    Enforce,
}

/// What can be banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums)]
pub enum Subject {
    /// An address, or a network.
    Address,
    /// A user name.
    Username,
    /// A client identifier.
    ClientId,
}

/// Several of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Subjects(u8);

words! {
    BanMode { "off": Off, "observe": Observe, "enforce": Enforce, }
    Subject { "address": Address, "username": Username, "client_id": ClientId, }
}

impl Subjects {
    const fn bit(subject: Subject) -> u8 {
        1 << subject as u8
    }

    /// Whether this one is among them.
    #[must_use]
    pub const fn contains(self, subject: Subject) -> bool {
        self.0 & Self::bit(subject) != 0
    }
}

impl FlagSet for Subjects {
    type Word = Subject;
    const NONE: Self = Self(0);

    fn with(self, subject: Subject) -> Self {
        Self(self.0 | Self::bit(subject))
    }

    fn has(self, subject: Subject) -> bool {
        self.contains(subject)
    }
}

/// Checks `[bans]`.
pub(crate) fn bans(cx: &mut Context, keys: &BansKeys) -> Bans {
    let points = BanPoints::read(cx, &keys.points);
    let bans = Bans::read(cx, keys, points);
    if let (true, Some(span)) = (bans.subjects == Subjects::NONE, keys.subjects.span()) {
        let message = "bans without subjects ban nobody";
        let label = "at least one of \"address\", \"username\", \"client_id\"";
        cx.push(Diagnostic::error(message).at(span).label(label));
    }
    warn_of_single_offences(cx, keys, &bans);
    bans
}

/// Devices have bugs: one offence should not ban them.
fn warn_of_single_offences(cx: &mut Context, keys: &BansKeys, bans: &Bans) {
    let (points, written) = (&bans.points, &keys.points);
    let costs = [
        (
            "protocol_error",
            points.protocol_error,
            written.protocol_error.span(),
        ),
        (
            "auth_failed",
            points.auth_failed,
            written.auth_failed.span(),
        ),
        (
            "broker_refusal",
            points.broker_refusal,
            written.broker_refusal.span(),
        ),
        ("denials", points.denials, written.denials.span()),
        ("reconnect", points.reconnect, written.reconnect.span()),
        ("pings", points.pings, written.pings.span()),
    ];
    let threshold = bans.threshold;
    for (key, cost, span) in costs {
        let Some(cost) = cost.filter(|cost| *cost >= threshold) else {
            continue;
        };
        if let Some(span) = span.or_else(|| keys.threshold.span()) {
            let message = format!("a single offence bans: `{key}` costs {cost} points");
            let label = format!(
                "the threshold is {threshold}; devices have bugs, so leave room for a second one"
            );
            cx.push(Diagnostic::warning(message).at(span).label(label));
        }
    }
}
