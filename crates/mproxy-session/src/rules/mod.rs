//! What both directions of a session share: version, negotiated limits, and pending business.

mod aliases;
mod exchanges;
mod flights;

use std::num::NonZeroU16;
use std::sync::Arc;

use bytes::Bytes;
use mproxy_codec::{
    Auth, Connack, ConnectPacket, Direction, Disconnect, Foreign, Kind, Properties, PropertyId,
    PropertyWriter, PublishLayout, ReasonCode, Value, Version,
};

use self::aliases::AliasTable;
pub(crate) use self::exchanges::{Answer, Exchanges};
use self::flights::Flights;
use crate::cause::{Cause, Denial, End, Fault};
use crate::context::SessionInfo;
use crate::error::{Limit, Violation};
use crate::latency::Latency;
use crate::limits::{Conformance, LARGEST_PACKET, Limits, ReceiveMaximum, ServerReference};
use crate::reply::Replies;

/// The state that belongs to the session rather than to one of its directions.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) limits: Arc<Limits>,
    pub(crate) replies: Replies,
    pub(crate) session: SessionInfo,
    pub(crate) exchanges: Exchanges,
    pub(crate) latency: Latency,
    /// The client's CONNACK, once it was forwarded.
    pub(crate) connack: Option<ReasonCode>,
    /// The Authentication Method of CONNECT: AUTH may travel, also before CONNACK.
    method: Option<Box<Method>>,
    /// The broker has sent an AUTH that the client has not answered.
    is_challenged: bool,
    /// Seconds of keep alive in force; 0 is off.
    pub(crate) keep_alive: u16,
    /// What the client must be told, because it asked for a longer one.
    told_keep_alive: Option<NonZeroU16>,
    /// The broker has a session from an earlier connection.
    pub(crate) is_resumed: bool,
    /// Publications of the client that wait for an answer, where their number is limited.
    flights: Option<Box<Flights>>,
    /// CONNECT asked for a session that ends with the connection.
    session_ends: bool,
    /// The broker's Maximum Packet Size.
    broker_max_packet: u32,
    /// The largest packet that is taken from the client: the proxy's own limit, or what the client
    /// was told where that is less than the broker said.
    client_max_packet: u32,
    to_server_aliases: Option<Box<AliasTable>>,
    to_client_aliases: Option<Box<AliasTable>>,
}

/// An Authentication Method.
#[derive(Debug)]
struct Method(Box<str>);

/// What the hooks of a session mean for what is announced to its client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HookTraits {
    /// By how many bytes they lengthen a PUBLISH of the client at most.
    pub(crate) growth: u16,
    /// They look at the PUBLISH packets of the client: the topics behind its aliases are remembered.
    pub(crate) follow_aliases: bool,
    /// Some of them judge who the client is, and none of them looks at AUTH.
    pub(crate) blind_to_auth: bool,
}

impl Rules {
    /// The state of a session whose CONNECT was admitted.
    pub(crate) fn new(packet: &ConnectPacket, session: SessionInfo, limits: Arc<Limits>) -> Self {
        let version = packet.version();
        let properties = packet.properties();
        let maximum = properties
            .number(PropertyId::TopicAliasMaximum)
            .unwrap_or(0);
        Self {
            replies: Replies::for_client(packet),
            exchanges: Exchanges::default(),
            latency: Latency::default(),
            connack: None,
            is_challenged: false,
            method: properties
                .str(PropertyId::AuthenticationMethod)
                .map(|method| Box::new(Method(method.into()))),
            keep_alive: limited_keep_alive(packet.keep_alive(), &limits),
            told_keep_alive: NonZeroU16::new(packet.keep_alive())
                .filter(|told| told.get() != session.keep_alive()),
            is_resumed: false,
            flights: None,
            session_ends: properties
                .number(PropertyId::SessionExpiryInterval)
                .unwrap_or(0)
                == 0,
            broker_max_packet: u32::MAX,
            client_max_packet: own_max_packet(&limits),
            to_server_aliases: None,
            to_client_aliases: table(version, Direction::ToClient, maximum),
            session,
            limits,
        }
    }

    #[inline]
    pub(crate) const fn version(&self) -> Version {
        self.replies.version
    }

    /// True once the broker's CONNACK said success.
    #[inline]
    pub(crate) fn is_established(&self) -> bool {
        self.connack == Some(ReasonCode::SUCCESS)
    }

    /// Refuses a packet type that may not come now.
    ///
    /// # Errors
    /// The violation, on the side that sent it.
    #[inline]
    pub(crate) fn check_phase(&self, direction: Direction, kind: Kind) -> Result<(), End> {
        let violation = match (direction, self.is_established(), kind) {
            (Direction::ToServer, _, Kind::Connect) => Violation::SecondConnect,
            (Direction::ToClient, true, Kind::Connack) => Violation::SecondConnack,
            (_, _, Kind::Auth) if self.method.is_none() => Violation::AuthWithoutMethod,
            (Direction::ToServer, false, Kind::Auth | Kind::Disconnect)
            | (Direction::ToClient, false, Kind::Auth | Kind::Connack) => return Ok(()),
            (Direction::ToServer, false, _) => Violation::BeforeConnack,
            (Direction::ToClient, false, _) => Violation::NotConnack,
            (_, true, _) => return Ok(()),
        };
        Err(Cause::violation(direction, kind, violation))
    }

    /// The same end, or a better account of it: what a broker says first may be another protocol.
    #[cold]
    pub(crate) fn not_connack(&self, direction: Direction, bytes: &[u8], end: End) -> End {
        match Foreign::recognise(bytes) {
            Some(foreign) if direction == Direction::ToClient && self.connack.is_none() => {
                Cause::fault(direction, None, Fault::Foreign(foreign))
            }
            _ => end,
        }
    }

    /// True when enhanced authentication is in use.
    pub(crate) const fn authenticates(&self) -> bool {
        self.method.is_some()
    }

    /// Refuses AUTH with another method than CONNECT's, and re-authentication that no hook sees: who
    /// the hooks take the client for would not be who the broker does. An AUTH that answers none of the
    /// broker's is one, too: sent before CONNACK, it may reach the broker after it. [MQTT-4.12.0-3]
    ///
    /// # Errors
    /// The violation, or the end of the session.
    pub(crate) fn check_auth(
        &mut self,
        direction: Direction,
        auth: &Auth<'_>,
        hooks: HookTraits,
    ) -> Result<(), End> {
        // the short form says success and nothing else
        let is_short = auth.reason == ReasonCode::SUCCESS && auth.properties.is_empty();
        if !is_short {
            self.check_method(direction, Kind::Auth, &auth.properties)?;
        }
        let goes_on = auth.reason == ReasonCode::CONTINUE_AUTHENTICATION;
        if direction == Direction::ToClient {
            self.is_challenged = goes_on;
            return Ok(());
        }
        let answers = std::mem::take(&mut self.is_challenged) && goes_on;
        if hooks.blind_to_auth && (self.connack.is_some() || !answers) {
            let code = ReasonCode::BAD_AUTHENTICATION_METHOD;
            return Err(Cause::denied(Denial::Reauthentication, code));
        }
        Ok(())
    }

    fn check_method(
        &self,
        direction: Direction,
        packet: Kind,
        properties: &Properties<'_>,
    ) -> Result<(), End> {
        let method = properties.str(PropertyId::AuthenticationMethod);
        if method == self.method.as_ref().map(|method| &*method.0) {
            return Ok(());
        }
        Err(Cause::violation(direction, packet, Violation::AuthMethod))
    }

    #[inline]
    pub(crate) fn is_strict(&self) -> bool {
        self.limits.conformance == Conformance::Strict
    }

    /// True when publications of the client are counted: then each one has to be looked at.
    #[inline]
    pub(crate) const fn counts_flights(&self) -> bool {
        self.flights.is_some()
    }

    /// Counts a publication above QoS 0 of the client, if they are counted.
    ///
    /// # Errors
    /// It is one more than the broker has said that it takes.
    #[inline]
    pub(crate) fn begin_flight(
        &mut self,
        direction: Direction,
        layout: &PublishLayout,
    ) -> Result<(), End> {
        if direction == Direction::ToClient {
            return Ok(());
        }
        self.latency.begin(layout);
        match &mut self.flights {
            Some(flights) => flights.begin(layout),
            None => Ok(()),
        }
    }

    /// The client is answered as to one of them.
    #[inline]
    pub(crate) fn end_flight(&mut self, packet_id: u16) {
        if let Some(flights) = &mut self.flights {
            flights.end(packet_id);
        }
    }

    /// Refuses a DISCONNECT of the client that makes a session outlive its connection after CONNECT
    /// said that it does not: the broker would keep what nobody accounted for.
    ///
    /// # Errors
    /// The violation.
    pub(crate) fn check_disconnect(&self, disconnect: &Disconnect<'_>) -> Result<(), End> {
        let expiry = disconnect
            .properties
            .number(PropertyId::SessionExpiryInterval);
        if self.session_ends && expiry.is_some_and(|seconds| seconds > 0) {
            return Err(Cause::violation(
                Direction::ToServer,
                Kind::Disconnect,
                Violation::SessionExpiryRaised,
            ));
        }
        Ok(())
    }

    pub(crate) fn aliases(&mut self, direction: Direction) -> Option<&mut AliasTable> {
        match direction {
            Direction::ToServer => self.to_server_aliases.as_deref_mut(),
            Direction::ToClient => self.to_client_aliases.as_deref_mut(),
        }
    }

    /// Bytes that it holds because of what the peers sent.
    pub(crate) fn size(&self) -> usize {
        let aliases = [&self.to_server_aliases, &self.to_client_aliases];
        let aliases = aliases.into_iter().flatten();
        let flights = self.flights.as_ref().map_or(0, |flights| flights.size());
        self.exchanges.size() + flights + aliases.map(|table| table.size()).sum::<usize>()
    }

    /// The largest packet that the receiver in this direction takes.
    pub(crate) const fn receiver_max_packet(&self, direction: Direction) -> usize {
        match direction {
            Direction::ToServer => self.broker_max_packet as usize,
            Direction::ToClient => self.replies.max_packet_size as usize,
        }
    }

    /// The largest PUBLISH of the sender's own making that goes to the receiver. Both sides know each
    /// other's limits, and judge them as they would without a proxy. To the letter it is the
    /// receiver's maximum; mosquitto 2.0 counts without the first byte, and what it so takes to fit
    /// is for its client to judge.
    #[inline]
    pub(crate) fn untouched_max_packet(&self, direction: Direction) -> usize {
        match direction {
            _ if !self.is_strict() => usize::MAX,
            Direction::ToServer => self.receiver_max_packet(direction),
            Direction::ToClient => self.receiver_max_packet(direction).saturating_add(1),
        }
    }

    /// The largest PUBLISH that the sender in this direction may send. Those of the broker are not
    /// gathered, and have no limit.
    #[inline]
    pub(crate) const fn sender_max_packet(&self, direction: Direction) -> usize {
        match direction {
            Direction::ToServer => self.client_max_packet as usize,
            Direction::ToClient => usize::MAX,
        }
    }

    /// Refuses a packet that is larger than its sender may send: a client is held to the proxy's own
    /// limit, and to what CONNACK told it [MQTT-3.2.2-15]; what must be in memory whole has one more.
    ///
    /// # Errors
    /// It is larger.
    #[inline]
    pub(crate) fn check_size(
        &self,
        direction: Direction,
        kind: Kind,
        size: usize,
    ) -> Result<(), End> {
        let is_held = kind != Kind::Publish && size > self.limits.max_held_packet;
        if size <= self.sender_max_packet(direction) && !is_held {
            return Ok(());
        }
        let limit = if is_held {
            (Limit::MaxHeldPacket, self.limits.max_held_packet)
        } else if size > self.limits.max_packet_size {
            (Limit::MaxPacketSize, self.limits.max_packet_size)
        } else {
            (Limit::Announced, self.client_max_packet as usize)
        };
        let what = kind.as_str();
        Err(Cause::fault(
            direction,
            kind,
            Fault::TooLarge { what, size, limit },
        ))
    }

    /// Takes note of the broker's CONNACK and lowers what it offers to what the proxy keeps.
    ///
    /// Returns the CONNACK to send instead, if one must be.
    ///
    /// # Errors
    /// The broker has a session although a clean one was asked for, or another authentication
    /// method.
    pub(crate) fn receive_connack(
        &mut self,
        connack: &Connack<'_>,
        hooks: HookTraits,
    ) -> Result<Option<Bytes>, End> {
        if connack.session_present && self.session.clean_start() {
            return Err(Cause::violation(
                Direction::ToClient,
                Kind::Connack,
                Violation::UnexpectedSession,
            ));
        }
        self.is_resumed = connack.session_present;
        if !self.version().is_v5() {
            return Ok(None);
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
                self.check_method(Direction::ToClient, Kind::Connack, &properties)?;
            }
            self.receive_offer(&properties, hooks, &mut replaced, &mut own);
        }
        if replaced.is_empty() {
            return Ok(None);
        }
        let (version, maximum) = (self.version(), self.replies.max_packet_size as usize);
        let write = |left_out: &[PropertyId], own: &PropertyWriter| {
            let mut properties = properties.without(left_out);
            properties.append(own);
            let packet = connack.with_properties(version, properties.as_bytes());
            packet.ok().filter(|packet| packet.len() <= maximum)
        };
        let written = write(&replaced, &own).or_else(|| {
            // [MQTT-3.2.2-19]: texts are left out before the limit is broken
            replaced.extend([PropertyId::ReasonString, PropertyId::UserProperty]);
            write(&replaced, &own)
        });
        if written.is_some() {
            return Ok(written);
        }
        // A client that takes only tiny packets is better off with the broker's own CONNACK than
        // with none, and is held to what that one says.
        let offered = properties.number(PropertyId::TopicAliasMaximum);
        self.to_server_aliases = table(self.version(), Direction::ToServer, offered.unwrap_or(0));
        self.client_max_packet = own_max_packet(&self.limits);
        Ok(write(&replaced[..stripped], &PropertyWriter::new()))
    }

    /// Takes note of what the broker's CONNACK offers. What is announced must be what is enforced
    /// [MQTT-3.2.2-15], so the lower values are told: `own` in the place of those of `replaced`.
    /// Where nothing is lowered nothing is written, and the client gets the broker's own bytes.
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
            // numbers of the right type: nothing that could be refused
            if own.push(id, value).is_ok() {
                replaced.push(id);
            }
        };

        let theirs = number(PropertyId::ServerKeepAlive).map(short);
        let told = self.told_keep_alive.map(NonZeroU16::get);
        let seconds = [theirs, told].into_iter().flatten().min();
        if let Some(seconds) = seconds {
            self.keep_alive = seconds;
            if theirs != Some(seconds) {
                replace(PropertyId::ServerKeepAlive, Value::U16(seconds));
            }
        }

        let maximum = number(PropertyId::ReceiveMaximum).map_or(u16::MAX, short);
        // there are no more identifiers than that
        if maximum < u16::MAX && self.limits.receive_maximum == ReceiveMaximum::Enforce {
            self.flights = Some(Box::new(Flights::new(maximum)));
        }

        let theirs = number(PropertyId::MaximumPacketSize).unwrap_or(u32::MAX);
        self.broker_max_packet = theirs;
        // a broker that says nothing takes whatever MQTT can express
        let theirs = theirs.min(LARGEST_PACKET);
        let room = theirs.saturating_sub(hooks.growth.into()).max(1);
        let size = room.min(own_max_packet(&self.limits));
        if size < theirs {
            replace(PropertyId::MaximumPacketSize, Value::U32(size));
        }
        // what the broker itself announced, it judges itself
        if size < theirs || self.limits.conformance == Conformance::Strict {
            self.client_max_packet = size;
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

    /// True when there is a Server Reference that the client is not to have.
    pub(crate) fn strips_reference(&self, properties: &Properties<'_>) -> bool {
        self.limits.server_reference == ServerReference::Strip
            && properties.get(PropertyId::ServerReference).is_some()
    }
}

fn table(version: Version, direction: Direction, maximum: u32) -> Option<Box<AliasTable>> {
    // an alias above a maximum of 0 is an error too, so every session of MQTT 5.0 has a table;
    // it owns no entries until an alias is used
    let maximum = u16::try_from(maximum).unwrap_or(u16::MAX);
    version
        .is_v5()
        .then(|| Box::new(AliasTable::new(direction, maximum)))
}

/// The largest packet that the proxy takes from a client.
fn own_max_packet(limits: &Limits) -> u32 {
    u32::try_from(limits.max_packet_size).map_or(LARGEST_PACKET, |size| size.min(LARGEST_PACKET))
}

/// The keep alive that is enforced for a client that asked for this one.
const fn limited_keep_alive(asked: u16, limits: &Limits) -> u16 {
    match (asked, limits.max_keep_alive) {
        (asked, 0) => asked,
        (0, maximum) => maximum,
        (asked, maximum) if asked > maximum => maximum,
        (asked, _) => asked,
    }
}

/// Lowers the keep alive that a CONNECT of MQTT 5.0 asks for to what is allowed: the client will be
/// told. Earlier versions have no word for it, and the broker is left to what the client thinks.
pub(crate) fn lower_keep_alive(packet: &mut ConnectPacket, limits: &Limits) {
    let seconds = limited_keep_alive(packet.keep_alive(), limits);
    if packet.version().is_v5() && seconds != packet.keep_alive() {
        // two bytes more or less make no packet invalid
        let _ = packet.set_keep_alive(seconds);
    }
}

/// Lowers the Topic Alias Maximum that a CONNECT announces to what a tapped direction remembers.
pub(crate) fn lower_aliases(packet: &mut ConnectPacket, limits: &Limits) {
    let announced = packet
        .properties()
        .number(PropertyId::TopicAliasMaximum)
        .unwrap_or(0);
    if announced <= u32::from(limits.max_topic_aliases) {
        return;
    }
    let mut writer = packet
        .properties()
        .without(&[PropertyId::TopicAliasMaximum]);
    let lowered = match limits.max_topic_aliases {
        0 => Ok(&mut writer),
        maximum => writer.push(PropertyId::TopicAliasMaximum, Value::U16(maximum)),
    };
    if let Ok(writer) = lowered {
        // a block of valid properties is valid
        let _ = packet.set_properties(writer.as_bytes());
    }
}
