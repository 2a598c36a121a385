//! The rules of MQTT for a session: the state that both directions share, and what packets of either
//! side do to it.
//!
//! No IO, no hooks, no clock: a rule is a function of this state and a packet, and returns what to do with
//! the packet ([`Fate`]). The flow applies it.

mod ack;
mod aliases;
mod auth;
mod connack;
mod depth;
mod disconnect;
mod exchanges;
mod flights;
mod negotiated;
mod phase;
mod publish;
mod suback;

use std::sync::Arc;

use bytes::Bytes;
use mproxy_codec::{ConnectPacket, Direction, PropertyId, Version};

use self::aliases::AliasTable;
use self::exchanges::Exchanges;
pub(crate) use self::exchanges::Shared;
use self::negotiated::Negotiated;
pub(crate) use self::negotiated::{lower_aliases, lower_keep_alive};
use self::phase::Phase;
pub(crate) use self::publish::{Outcome, Refused};
use crate::context::SessionInfo;
use crate::limits::{Conformance, Limits};
use crate::reply::Replies;

/// The state that belongs to the session rather than to one of its directions.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) limits: Arc<Limits>,
    pub(crate) replies: Replies,
    pub(crate) session: SessionInfo,
    pub(crate) phase: Phase,
    pub(crate) negotiated: Negotiated,
    pub(crate) exchanges: Exchanges,
    to_server_aliases: Option<Box<AliasTable>>,
    to_client_aliases: Option<Box<AliasTable>>,
}

/// What a rule decides on a packet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is forwarded unchanged.
    Pass,
    /// These bytes replace it, and are judged like it.
    Replace(Bytes),
    /// A packet of the proxy replaces it.
    Own(Bytes),
    /// It is not forwarded; its sender gets this answer, or none.
    Answer(Option<Bytes>),
}

/// How the hooks of a session affect what is announced to its client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HookTraits {
    /// Maximum bytes by which they lengthen a PUBLISH of the client.
    pub(crate) growth: u16,
    /// They look at the PUBLISH packets of the client, so the topics of its aliases are remembered.
    pub(crate) follow_aliases: bool,
    /// Some of them judge who the client is, and none of them sees AUTH.
    pub(crate) blind_to_auth: bool,
}

impl Rules {
    /// The state of a session whose CONNECT was admitted.
    pub(crate) fn new(packet: &ConnectPacket, session: SessionInfo, limits: Arc<Limits>) -> Self {
        let maximum = packet
            .properties()
            .number(PropertyId::TopicAliasMaximum)
            .unwrap_or(0);
        Self {
            replies: Replies::for_client(packet),
            phase: Phase::new(packet),
            negotiated: Negotiated::new(packet, session.keep_alive(), &limits),
            exchanges: Exchanges::default(),
            to_server_aliases: None,
            to_client_aliases: table(packet.version(), Direction::ToClient, maximum),
            session,
            limits,
        }
    }

    #[inline]
    pub(crate) const fn version(&self) -> Version {
        self.replies.version
    }

    #[inline]
    pub(crate) fn is_strict(&self) -> bool {
        self.limits.conformance == Conformance::Strict
    }

    pub(crate) fn aliases(&mut self, direction: Direction) -> Option<&mut AliasTable> {
        match direction {
            Direction::ToServer => self.to_server_aliases.as_deref_mut(),
            Direction::ToClient => self.to_client_aliases.as_deref_mut(),
        }
    }

    /// Bytes that it holds because of what peers sent.
    pub(crate) fn size(&self) -> usize {
        let aliases = [&self.to_server_aliases, &self.to_client_aliases];
        let aliases = aliases.into_iter().flatten();
        self.exchanges.size() + aliases.map(|table| table.size()).sum::<usize>()
    }
}

fn table(version: Version, direction: Direction, maximum: u32) -> Option<Box<AliasTable>> {
    // an alias above a maximum of 0 is an error, too, so every MQTT 5.0 session has a table;
    // it owns no entries until an alias is used
    let maximum = u16::try_from(maximum).unwrap_or(u16::MAX);
    version
        .is_v5()
        .then(|| Box::new(AliasTable::new(direction, maximum)))
}

#[cfg(test)]
pub(crate) mod tests;
