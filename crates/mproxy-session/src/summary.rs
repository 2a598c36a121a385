//! The report about a connection that has ended.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use mproxy_codec::{ConnectGlimpse, Foreign, Kind, ReasonCode, Version};

use crate::cause::{Cause, Source};
use crate::context::{Peer, SessionInfo};
use crate::error::names;
use crate::handle::SessionId;

names! {
    /// Who ended a connection.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[allow(clippy::exhaustive_enums)] // complete: a proxy stands between two sides
    pub enum Side {
        /// The client.
        Client = "client",
        /// The broker.
        Upstream = "upstream",
        /// The proxy itself.
        Proxy = "proxy",
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

names! {
    /// Why a connection ended, in a vocabulary that is bounded so that metrics can count it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[non_exhaustive]
    pub enum CloseReason {
        /// The client sent DISCONNECT.
        Disconnect = "disconnect",
        /// The client sent DISCONNECT with Will Message.
        DisconnectWithWill = "disconnect_with_will",
        /// The client closed its connection without DISCONNECT.
        Eof = "eof",
        /// The client's connection broke.
        Reset = "reset",
        /// Nothing came for 1.5 times the keep alive.
        KeepaliveTimeout = "keepalive_timeout",
        /// No complete CONNECT came in time.
        ConnectTimeout = "connect_timeout",
        /// A packet was begun and not finished in time.
        PacketTimeout = "packet_timeout",
        /// A side did not take what was written to it in time.
        WriteTimeout = "write_timeout",
        /// A packet was not allowed where it came.
        ProtocolError = "protocol_error",
        /// A packet could not be parsed.
        Malformed = "malformed",
        /// A packet was larger than allowed.
        PacketTooLarge = "packet_too_large",
        /// The protocol version is unknown or not allowed here.
        UnsupportedVersion = "unsupported_version",
        /// A hook refused the CONNECT.
        AuthDenied = "auth_denied",
        /// A hook closed the session.
        AclDenied = "acl_denied",
        /// Somebody asked for the session to be closed.
        Kicked = "kicked",
        /// The client has misbehaved again and again.
        Misbehaved = "misbehaved",
        /// The client is banned.
        Banned = "banned",
        /// The time up to which the client was admitted has passed: that of its token, for one.
        TokenExpired = "token_expired",
        /// The rules have changed so that a session that runs cannot follow: its client has to connect
        /// again.
        RulesChanged = "rules_changed",
        /// The certificate of the client is no longer trusted: it was revoked, or its CA is gone.
        CertificateRejected = "certificate_rejected",
        /// Another connection took the session over.
        SessionTakenOver = "session_taken_over",
        /// Too many packets of the client were refused in too short a time.
        RateLimited = "rate_limited",
        /// The client accepted less than what waited for it, for too long.
        SlowConsumer = "slow_consumer",
        /// There was no memory left for what the connection held.
        Overload = "overload",
        /// The connection made room for another one before its CONNECT was whole.
        Evicted = "evicted",
        /// The proxy shuts down.
        Drain = "drain",
        /// The broker answered CONNECT with a refusal.
        UpstreamRefused = "upstream_refused",
        /// The broker sent DISCONNECT.
        UpstreamDisconnect = "upstream_disconnect",
        /// The broker closed its connection.
        UpstreamEof = "upstream_eof",
        /// The broker could not be reached.
        UpstreamUnreachable = "upstream_unreachable",
        /// The client's turn at the broker did not come.
        UpstreamBusy = "upstream_busy",
        /// The broker sent something that it must not send.
        UpstreamProtocolError = "upstream_protocol_error",
        /// A hook failed, panicked or took too long.
        HookFailed = "hook_failed",
        /// A defect of the proxy.
        Internal = "internal",
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Packets and bytes of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// Whole packets read.
    pub packets: u64,
    /// Their bytes; before the first packet, the bytes of an incomplete CONNECT.
    pub bytes: u64,
    /// PUBLISH packets among them.
    pub publishes: u64,
    /// Packets that hooks refused, in whole or in part, or discarded. A CONNECT whose will was
    /// removed is refused in part.
    pub denied: u64,
}

/// What could be read of a CONNECT that was refused because it was not valid, not of a version
/// that is served, or never complete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Glimpse {
    /// The protocol level byte, if the protocol name is one of MQTT's.
    pub level: Option<u8>,
    /// The client identifier, if its place could be found.
    pub client_id: Option<String>,
    /// The user name.
    pub user_name: Option<String>,
    /// The field with the error, as the standard names it: for a CONNECT that is refused for a control
    /// character, the one with the first.
    pub field: Option<&'static str>,
}

impl Glimpse {
    /// The glimpse of a CONNECT that was refused with `end`.
    pub(crate) fn of(bytes: &[u8], end: &Cause) -> Box<Self> {
        let glimpse = ConnectGlimpse::of(bytes);
        let control_field = glimpse.control_field.filter(|_| end.is_control_character());
        Box::new(Self {
            level: glimpse.level,
            client_id: glimpse.client_id.map(str::to_owned),
            user_name: glimpse.user_name.map(str::to_owned),
            field: glimpse.field.or(control_field),
        })
    }
}

/// The report about a connection that has ended. Reported exactly once.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Summary {
    /// The number of the session, as its handle has it.
    pub id: SessionId,
    /// Where the client came from.
    pub peer: Peer,
    /// The session according to CONNECT and the hooks; `None` if no CONNECT was read.
    pub session: Option<SessionInfo>,
    /// The version in CONNECT, whether admitted or not.
    pub version: Option<Version>,
    /// Who ended the connection.
    pub side: Side,
    /// Why.
    pub reason: CloseReason,
    /// The reason code of the CONNACK or DISCONNECT that ended it, sent or received; `None` if there
    /// was none.
    pub reason_code: Option<ReasonCode>,
    /// The code of the client's CONNACK; `None` if it got none.
    pub connack: Option<ReasonCode>,
    /// Details for the log: the error or the statement that was broken.
    pub detail: Option<String>,
    /// The name of the field of [`Limits`](crate::Limits) that ended it: with another value it
    /// would have gone on.
    pub limit: Option<&'static str>,
    /// The protocol that a side used instead of MQTT.
    pub foreign: Option<Foreign>,
    /// What could be read of a CONNECT that did not become a [`session`](Self::session).
    pub glimpse: Option<Box<Glimpse>>,
    /// Whether the broker was connected and got CONNECT.
    pub dialled: bool,
    /// Time from waiting for the first byte to the end.
    pub duration: Duration,
    /// What the client sent, CONNECT included.
    pub to_server: Traffic,
    /// What the broker sent.
    pub to_client: Traffic,
    /// QoS 0 messages that were dropped because the client was
    /// [slow](crate::SlowConsumer::DropQos0).
    pub shed: u64,
    /// Whether a hook or the session itself panicked.
    pub panicked: bool,
    /// The type of the packet that ended it: one that was not allowed, or a DISCONNECT.
    pub packet: Option<Kind>,
    pub(crate) source: Option<Source>,
}

impl Summary {
    /// True when the broker accepted the CONNECT.
    #[must_use]
    pub fn established(&self) -> bool {
        self.connack == Some(ReasonCode::SUCCESS)
    }

    /// The error that caused the end: of a hook, of a connection, or of an invalid packet.
    #[must_use]
    pub fn source(&self) -> Option<&(dyn Error + Send + Sync + 'static)> {
        self.source.as_deref()
    }

    /// The field of the packet with the error, if known, as the standard names it.
    #[must_use]
    pub fn field(&self) -> Option<&'static str> {
        self.glimpse.as_ref()?.field
    }
}
