//! What both directions of a session share: version, negotiated limits, and pending business.

use std::sync::Arc;

use bytes::Bytes;
use mproxy_codec::{
    Connack, ConnectPacket, Direction, Disconnect, Kind, PropertyId, ReasonCode, Value, Version,
};

use crate::alias::AliasTable;
use crate::context::SessionInfo;
use crate::error::{End, Violation};
use crate::ledger::Ledger;
use crate::limits::Limits;
use crate::reply::Replies;

/// The state that belongs to the session rather than to one of its directions.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) version: Version,
    pub(crate) limits: Arc<Limits>,
    pub(crate) replies: Replies,
    pub(crate) session: SessionInfo,
    pub(crate) ledger: Ledger,
    /// The client's CONNACK, once it was forwarded.
    pub(crate) connack: Option<ReasonCode>,
    /// Enhanced authentication is in use: AUTH may travel, also before CONNACK.
    pub(crate) authenticates: bool,
    /// Seconds of keep alive in force; 0 is off.
    pub(crate) keep_alive: u16,
    clean_start: bool,
    /// CONNECT asked for a session that ends with the connection.
    session_ends: bool,
    /// The broker's Maximum Packet Size.
    server_max_packet: u32,
    to_server_aliases: Option<Box<AliasTable>>,
    to_client_aliases: Option<Box<AliasTable>>,
}

impl Core {
    /// The state of a session whose CONNECT was admitted.
    pub(crate) fn new(packet: &ConnectPacket, session: SessionInfo, limits: Arc<Limits>) -> Self {
        let version = packet.version();
        let properties = packet.properties();
        let mut replies = Replies::new(version);
        if let Some(size) = properties.number(PropertyId::MaximumPacketSize) {
            replies.max_packet_size = size;
        }
        replies.problem_information =
            properties.number(PropertyId::RequestProblemInformation) != Some(0);
        let maximum = properties
            .number(PropertyId::TopicAliasMaximum)
            .unwrap_or(0);
        Self {
            version,
            replies,
            ledger: Ledger::default(),
            connack: None,
            authenticates: properties.get(PropertyId::AuthenticationMethod).is_some(),
            keep_alive: packet.keep_alive(),
            clean_start: packet.clean_start(),
            session_ends: properties
                .number(PropertyId::SessionExpiryInterval)
                .unwrap_or(0)
                == 0,
            server_max_packet: u32::MAX,
            to_server_aliases: None,
            to_client_aliases: table(version, Direction::ToClient, maximum),
            session,
            limits,
        }
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
            (_, _, Kind::Auth) if !self.authenticates => Violation::AuthWithoutMethod,
            (Direction::ToServer, false, Kind::Auth | Kind::Disconnect)
            | (Direction::ToClient, false, Kind::Auth | Kind::Connack) => return Ok(()),
            (Direction::ToServer, false, _) => Violation::BeforeConnack,
            (Direction::ToClient, false, _) => Violation::NotConnack,
            (_, true, _) => return Ok(()),
        };
        Err(End::violation(direction, violation))
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
            return Err(End::violation(
                Direction::ToServer,
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

    /// The largest packet that the receiver in this direction takes.
    pub(crate) const fn receiver_max_packet(&self, direction: Direction) -> usize {
        match direction {
            Direction::ToServer => self.server_max_packet as usize,
            Direction::ToClient => self.replies.max_packet_size as usize,
        }
    }

    /// Takes note of the broker's CONNACK and lowers what it offers to what the proxy keeps.
    ///
    /// `tapped` says that hooks see publications of the client, whose aliases are then remembered.
    /// Returns the CONNACK to send instead, if one must be.
    ///
    /// # Errors
    /// The broker has a session although a clean one was asked for.
    pub(crate) fn receive_connack(
        &mut self,
        connack: &Connack<'_>,
        tapped: bool,
    ) -> Result<Option<Bytes>, End> {
        if connack.session_present && self.clean_start {
            return Err(End::violation(
                Direction::ToClient,
                Violation::UnexpectedSession,
            ));
        }
        if !self.version.is_v5() || !connack.is_success() {
            return Ok(None);
        }
        let properties = connack.properties;
        if let Some(client_id) = properties.str(PropertyId::AssignedClientIdentifier) {
            self.session.assign_client_id(client_id);
        }
        if let Some(seconds) = properties.number(PropertyId::ServerKeepAlive) {
            self.keep_alive = u16::try_from(seconds).unwrap_or(u16::MAX);
        }
        if let Some(size) = properties.number(PropertyId::MaximumPacketSize) {
            self.server_max_packet = size;
        }
        let offered = properties
            .number(PropertyId::TopicAliasMaximum)
            .unwrap_or(0);
        let aliases = if tapped {
            offered.min(self.limits.max_topic_aliases.into())
        } else {
            offered
        };
        self.to_server_aliases = table(self.version, Direction::ToServer, aliases);
        let limit = u32::try_from(self.limits.max_packet_size).unwrap_or(u32::MAX);
        let size = self.server_max_packet.min(limit);

        // [MQTT-3.2.2-15]: what is announced is what is enforced, so the lower limit is told
        if aliases == offered && size == self.server_max_packet {
            return Ok(None);
        }
        let mut writer =
            properties.without(&[PropertyId::TopicAliasMaximum, PropertyId::MaximumPacketSize]);
        let written = writer
            .push(PropertyId::MaximumPacketSize, Value::U32(size))
            .and_then(|writer| match u16::try_from(aliases) {
                Ok(0) | Err(_) => Ok(writer),
                Ok(aliases) => writer.push(PropertyId::TopicAliasMaximum, Value::U16(aliases)),
            })
            .and_then(|writer| connack.with_properties(self.version, writer.as_bytes()));
        let written = written
            .ok()
            .filter(|packet| packet.len() <= self.replies.max_packet_size as usize);
        if written.is_none() {
            // A client that takes only tiny packets is better off with the broker's own CONNACK
            // than with none, and is held to what that one says.
            self.to_server_aliases = table(self.version, Direction::ToServer, offered);
        }
        Ok(written)
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
