//! The closed vocabularies of label values.
//!
//! Every label whose values are not names from the configuration is an enum here, so that nothing
//! that came from the network can become a label: the size of a scrape is bounded by the types.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

/// Declares an enum with one label text a variant.
macro_rules! label {
    (
        $(#[$meta:meta])*
        $name:ident { $($(#[$variant_meta:meta])* $variant:ident $(= $code:literal)? => $text:literal,)+ }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$variant_meta])* #[doc = concat!("`", $text, "`")] $variant $(= $code)?,)+
        }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The label value.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
                EncodeLabelValue::encode(&self.as_str(), encoder)
            }
        }
    };
}

label! {
    /// Label `direction`: which way a packet travels.
    Direction {
        ClientToBroker => "client_to_broker",
        BrokerToClient => "broker_to_client",
    }
}

label! {
    /// Label `side`: who ended a connection.
    Side {
        Client => "client",
        Upstream => "upstream",
        Proxy => "proxy",
    }
}

label! {
    /// Label `version`: the MQTT version of a connection.
    Version {
        V3_1 => "3.1",
        V3_1_1 => "3.1.1",
        V5 => "5",
    }
}

label! {
    /// Label `type`: the MQTT control packets; the discriminant is the code on the wire.
    PacketType {
        Connect = 1 => "connect",
        Connack = 2 => "connack",
        Publish = 3 => "publish",
        Puback = 4 => "puback",
        Pubrec = 5 => "pubrec",
        Pubrel = 6 => "pubrel",
        Pubcomp = 7 => "pubcomp",
        Subscribe = 8 => "subscribe",
        Suback = 9 => "suback",
        Unsubscribe = 10 => "unsubscribe",
        Unsuback = 11 => "unsuback",
        Pingreq = 12 => "pingreq",
        Pingresp = 13 => "pingresp",
        Disconnect = 14 => "disconnect",
        Auth = 15 => "auth",
    }
}

impl PacketType {
    /// The packet type of a code on the wire, which is 1 to 15.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| *kind as u8 == code)
    }
}

label! {
    /// Label `reason` wherever it says why a connection or a packet ended.
    #[non_exhaustive]
    Reason {
        Disconnect => "disconnect",
        DisconnectWithWill => "disconnect_with_will",
        Eof => "eof",
        Reset => "reset",
        KeepaliveTimeout => "keepalive_timeout",
        ConnectTimeout => "connect_timeout",
        ProtocolError => "protocol_error",
        Malformed => "malformed",
        PacketTooLarge => "packet_too_large",
        MessageExpired => "message_expired",
        UnsupportedVersion => "unsupported_version",
        AuthDenied => "auth_denied",
        AclDenied => "acl_denied",
        Overload => "overload",
        SlowConsumer => "slow_consumer",
        RateLimited => "rate_limited",
        Kicked => "kicked",
        Misbehaved => "misbehaved",
        Banned => "banned",
        TokenExpired => "token_expired",
        RulesChanged => "rules_changed",
        CertificateRejected => "certificate_rejected",
        SessionTakenOver => "session_taken_over",
        Evicted => "evicted",
        Drain => "drain",
        Idle => "idle",
        UpstreamRefused => "upstream_refused",
        UpstreamEof => "upstream_eof",
        UpstreamUnreachable => "upstream_unreachable",
        UpstreamBusy => "upstream_busy",
        ProxyHeader => "proxy_header",
        TlsError => "tls_error",
        Internal => "internal",
    }
}

label! {
    /// Label `reason` of `mproxy_connections_refused_total`: why no session began.
    ///
    /// A connection that was let in and sent no CONNECT counts as closed, as `connect_timeout`.
    #[non_exhaustive]
    RefuseReason {
        ConnectionLimit => "connection_limit",
        RateLimited => "rate_limited",
        Overload => "overload",
        AddressDenied => "address_denied",
        Banned => "banned",
        Drain => "drain",
        ProxyHeader => "proxy_header",
        TlsError => "tls_error",
        CertificateRejected => "certificate_rejected",
        WebsocketHandshake => "websocket_handshake",
        Internal => "internal",
    }
}

label! {
    /// Label `reason` of `mproxy_upstream_admission_refused_total`: the key below `admission` that refused.
    QueueRefusal {
        Queue => "queue",
        QueueTimeout => "queue_timeout",
    }
}

label! {
    /// Label `stage` of `mproxy_memory_shed_total`: how far a connection was that was closed.
    #[non_exhaustive]
    ShedStage {
        Pending => "pending",
        Session => "session",
    }
}

label! {
    /// Label `limit` of `mproxy_connections_refused_total`, and `source` of `mproxy_overload_level`: the key of the
    /// configuration that refuses.
    ///
    /// Keys of a listener stand alone, because the label `listener` says whose they are.
    #[non_exhaustive]
    ConnectionLimit {
        MaxConnectionsPerIp => "max_connections_per_ip",
        ConnectionRatePerIp => "connection_rate_per_ip",
        MaxPendingPerIp => "max_pending_per_ip",
        MaxPending => "max_pending",
        MaxConnections => "max_connections",
        ServerMaxConnections => "server.max_connections",
        ConnectionRate => "connection_rate",
        HandshakeRatePerIp => "handshake_rate_per_ip",
        MaxHandshakesPerIp => "max_handshakes_per_ip",
        HandshakeRate => "handshake_rate",
        MaxHandshakes => "max_handshakes",
        ServerMemory => "server.memory",
        OverloadLag => "server.overload_lag",
        OverloadCpuPressure => "server.overload_cpu_pressure",
        OverloadMemoryPressure => "server.overload_memory_pressure",
    }
}

impl ConnectionLimit {
    /// What a connection that is refused because of it counts as.
    #[must_use]
    pub const fn reason(self) -> RefuseReason {
        match self {
            Self::ConnectionRatePerIp
            | Self::ConnectionRate
            | Self::HandshakeRatePerIp
            | Self::HandshakeRate => RefuseReason::RateLimited,
            Self::MaxConnectionsPerIp
            | Self::MaxPendingPerIp
            | Self::MaxPending
            | Self::MaxConnections
            | Self::MaxHandshakesPerIp
            | Self::MaxHandshakes
            | Self::ServerMaxConnections => RefuseReason::ConnectionLimit,
            Self::ServerMemory
            | Self::OverloadLag
            | Self::OverloadCpuPressure
            | Self::OverloadMemoryPressure => RefuseReason::Overload,
        }
    }
}

label! {
    /// Label `subject` of the metrics of bans: what is banned.
    #[non_exhaustive]
    BanSubject {
        Address => "address",
        Username => "username",
        ClientId => "client_id",
    }
}

label! {
    /// Label `by` of `mproxy_bans_made_total`: who has banned.
    #[non_exhaustive]
    BanSource {
        Points => "points",
        Admin => "admin",
    }
}

label! {
    /// Label `offence` of `mproxy_offences_total`: what costs points, by its key in `[bans.points]`.
    #[non_exhaustive]
    Offence {
        ProtocolError => "protocol_error",
        AuthFailed => "auth_failed",
        BrokerRefusal => "broker_refusal",
        Denials => "denials",
        Reconnect => "reconnect",
        Pings => "pings",
    }
}

label! {
    /// Label `result` of `mproxy_upstream_connects_total`.
    #[non_exhaustive]
    DialResult {
        Success => "success",
        Refused => "refused",
        Timeout => "timeout",
        Unreachable => "unreachable",
        TlsError => "tls_error",
        WebsocketHandshake => "websocket_handshake",
        Error => "error",
    }
}

label! {
    /// Label `result` of `mproxy_tls_ocsp_requests_total`: the status of the certificate, or that there is no
    /// valid answer.
    #[non_exhaustive]
    OcspResult {
        Good => "good",
        Revoked => "revoked",
        Unknown => "unknown",
        Failed => "failed",
    }
}

label! {
    /// Label `action`: what was authorized.
    #[non_exhaustive]
    Action {
        Connect => "connect",
        Publish => "publish",
        Subscribe => "subscribe",
        Unsubscribe => "unsubscribe",
        Deliver => "deliver",
        Will => "will",
        Auth => "auth",
    }
}

label! {
    /// Label `decision`: how an authorization ended.
    #[non_exhaustive]
    Decision {
        Allow => "allow",
        Deny => "deny",
        Ignore => "ignore",
        Error => "error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_type_codes_are_those_of_the_wire() {
        assert_eq!(PacketType::ALL.len(), 15);
        for code in 1..=15 {
            let kind = PacketType::from_code(code).expect("every code has a name");
            assert_eq!(kind as u8, code);
        }
        assert_eq!(PacketType::from_code(0), None);
        assert_eq!(PacketType::from_code(16), None);
        assert_eq!(PacketType::Pingreq.to_string(), "pingreq");
    }

    /// Counters are arrays indexed by the discriminant.
    #[test]
    fn discriminants_are_dense() {
        assert!(
            Reason::ALL
                .iter()
                .enumerate()
                .all(|(i, r)| *r as usize == i)
        );
        assert!(
            Action::ALL
                .iter()
                .enumerate()
                .all(|(i, a)| *a as usize == i)
        );
        assert!(
            Decision::ALL
                .iter()
                .enumerate()
                .all(|(i, d)| *d as usize == i)
        );
        assert!(
            Version::ALL
                .iter()
                .enumerate()
                .all(|(i, v)| *v as usize == i)
        );
        assert!(
            Direction::ALL
                .iter()
                .enumerate()
                .all(|(i, d)| *d as usize == i)
        );
        assert!(
            RefuseReason::ALL
                .iter()
                .enumerate()
                .all(|(i, r)| *r as usize == i)
        );
        assert!(
            ConnectionLimit::ALL
                .iter()
                .enumerate()
                .all(|(i, l)| *l as usize == i)
        );
        assert!(
            DialResult::ALL
                .iter()
                .enumerate()
                .all(|(i, r)| *r as usize == i)
        );
    }
}
