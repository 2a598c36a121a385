//! CONNACK: lowers what the broker offers to what the proxy supports.

use std::num::NonZeroU16;

use mproxy_codec::{Connack, Direction, Kind, Properties, PropertyId, PropertyWriter, Value};

use super::negotiated::own_max_packet;
use super::{Fate, HookTraits, Rules, table};
use crate::cause::{Cause, End};
use crate::error::Violation;
use crate::limits::{Conformance, LARGEST_PACKET, ReceiveMaximum};

impl Rules {
    /// Records the broker's CONNACK and lowers what it offers to what the proxy supports.
    ///
    /// # Errors
    /// The broker has a session although a clean one was asked for, or another authentication
    /// method.
    pub(crate) fn receive_connack(
        &mut self,
        connack: &Connack<'_>,
        hooks: HookTraits,
    ) -> Result<Fate, End> {
        if connack.session_present && self.session.clean_start() {
            return Err(Cause::violation(
                Direction::ToClient,
                Kind::Connack,
                Violation::UnexpectedSession,
            ));
        }
        self.negotiated.is_resumed = connack.session_present;
        if !self.version().is_v5() {
            return Ok(Fate::Pass);
        }
        let properties = connack.properties;
        let mut replaced = Vec::new();
        if self.strips_reference(&properties) {
            replaced.push(PropertyId::ServerReference);
        }
        let stripped = replaced.len();
        let mut own = PropertyWriter::new();
        if connack.is_success() {
            let names_method = properties.get(PropertyId::AuthenticationMethod).is_some();
            if names_method || self.is_strict() {
                self.phase
                    .check_method(Direction::ToClient, Kind::Connack, &properties)?;
            }
            self.receive_offer(&properties, hooks, &mut replaced, &mut own);
        }
        if replaced.is_empty() {
            return Ok(Fate::Pass);
        }
        let (version, maximum) = (self.version(), self.replies.max_packet_size as usize);
        let write = |left_out: &[PropertyId], own: &PropertyWriter| {
            let mut properties = properties.without(left_out);
            properties.append(own);
            let packet = connack.with_properties(version, properties.as_bytes());
            packet.ok().filter(|packet| packet.len() <= maximum)
        };
        let written = write(&replaced, &own).or_else(|| {
            // [MQTT-3.2.2-19]: leave out texts rather than exceed the limit
            replaced.extend([PropertyId::ReasonString, PropertyId::UserProperty]);
            write(&replaced, &own)
        });
        if let Some(written) = written {
            return Ok(Fate::Replace(written));
        }
        // A client that accepts only tiny packets is better off with the broker's own CONNACK than
        // with none, and its values then apply.
        let offered = properties.number(PropertyId::TopicAliasMaximum);
        self.to_server_aliases = table(self.version(), Direction::ToServer, offered.unwrap_or(0));
        self.negotiated.client_max_packet = own_max_packet(&self.limits);
        let bare = write(&replaced[..stripped], &PropertyWriter::new());
        Ok(bare.map_or(Fate::Pass, Fate::Replace))
    }

    /// Records what the broker's CONNACK offers. What is announced must be what is enforced
    /// [MQTT-3.2.2-15], so the client gets the lower values: `own` replaces those of `replaced`.
    /// If nothing is lowered, nothing is written, and the client gets the broker's own bytes.
    fn receive_offer(
        &mut self,
        properties: &Properties<'_>,
        hooks: HookTraits,
        replaced: &mut Vec<PropertyId>,
        own: &mut PropertyWriter,
    ) {
        if let Some(client_id) = properties.str(PropertyId::AssignedClientIdentifier) {
            self.session.assign_client_id(client_id);
        }
        let number = |id| properties.number(id);
        let short = |number: u32| u16::try_from(number).unwrap_or(u16::MAX);
        let mut replace = |id, value| {
            // numbers of the right type are always valid
            if own.push(id, value).is_ok() {
                replaced.push(id);
            }
        };

        let theirs = number(PropertyId::ServerKeepAlive).map(short);
        let told = self.negotiated.told_keep_alive.map(NonZeroU16::get);
        let seconds = [theirs, told].into_iter().flatten().min();
        if let Some(seconds) = seconds {
            self.negotiated.keep_alive = seconds;
            if theirs != Some(seconds) {
                replace(PropertyId::ServerKeepAlive, Value::U16(seconds));
            }
        }

        let maximum = number(PropertyId::ReceiveMaximum).map_or(u16::MAX, short);
        // there are only this many identifiers
        if maximum < u16::MAX && self.limits.receive_maximum == ReceiveMaximum::Enforce {
            self.exchanges.limit_flights(maximum);
        }

        let theirs = number(PropertyId::MaximumPacketSize).unwrap_or(u32::MAX);
        self.negotiated.broker_max_packet = theirs;
        // without this property, the broker accepts any size that MQTT can express
        let theirs = theirs.min(LARGEST_PACKET);
        let room = theirs.saturating_sub(hooks.growth.into()).max(1);
        let size = room.min(own_max_packet(&self.limits));
        if size < theirs {
            replace(PropertyId::MaximumPacketSize, Value::U32(size));
        }
        // the broker itself enforces what it announced
        if size < theirs || self.limits.conformance == Conformance::Strict {
            self.negotiated.client_max_packet = size;
        }

        let theirs = short(number(PropertyId::TopicAliasMaximum).unwrap_or(0));
        let aliases = if hooks.follow_aliases {
            theirs.min(self.limits.max_topic_aliases)
        } else {
            theirs
        };
        self.to_server_aliases = table(self.version(), Direction::ToServer, aliases.into());
        if theirs != aliases {
            replace(PropertyId::TopicAliasMaximum, Value::U16(aliases));
        }
    }
}
