//! The programs that are compared: how each is started in front of a sink, and ended.

mod child;
mod haproxy;
mod identity;
mod mproxy;
mod nginx;
mod rig;

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

pub use child::DeathPact;
pub use mproxy::Variant;
pub use rig::{Rig, Running};

/// One side of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Peer {
    /// No proxy: the generator talks to the sink.
    Direct,
    /// HAProxy in TCP mode with two threads; it parses nothing.
    Haproxy,
    /// nginx's stream module with two workers; it parses nothing.
    Nginx,
    /// HAProxy that speaks TLS with the clients.
    HaproxyTls,
    /// nginx's stream module that speaks TLS with the clients.
    NginxTls,
    /// mproxy.
    Mproxy(Variant),
}

impl Peer {
    /// Every peer, in the order of the report.
    pub const ALL: [Self; 12] = [
        Self::Direct,
        Self::Haproxy,
        Self::Nginx,
        Self::Mproxy(Variant::Plain),
        Self::Mproxy(Variant::Acl),
        Self::Mproxy(Variant::TopicMap),
        Self::Mproxy(Variant::WebSocket),
        Self::Mproxy(Variant::Log),
        Self::Mproxy(Variant::Full),
        Self::HaproxyTls,
        Self::NginxTls,
        Self::Mproxy(Variant::Tls),
    ];

    /// The name in the report and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::HaproxyTls => "haproxy-tls",
            Self::NginxTls => "nginx-tls",
            Self::Mproxy(Variant::Plain) => "mproxy",
            Self::Mproxy(Variant::Acl) => "mproxy-acl",
            Self::Mproxy(Variant::TopicMap) => "mproxy-map",
            Self::Mproxy(Variant::WebSocket) => "mproxy-ws",
            Self::Mproxy(Variant::Log) => "mproxy-log",
            Self::Mproxy(Variant::Full) => "mproxy-full",
            Self::Mproxy(Variant::Tls) => "mproxy-tls",
        }
    }

    /// Whether clients speak TLS with it.
    pub(crate) fn speaks_tls(self) -> bool {
        matches!(
            self,
            Self::HaproxyTls | Self::NginxTls | Self::Mproxy(Variant::Tls)
        )
    }

    /// The HAProxy that it is compared with.
    pub(crate) fn haproxy(self) -> Self {
        if self.speaks_tls() {
            Self::HaproxyTls
        } else {
            Self::Haproxy
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Peer {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|peer| peer.name() == name)
            .ok_or_else(|| Error::Unknown {
                kind: "peer",
                name: name.to_owned(),
                known: Self::ALL.map(Self::name).join(", "),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_understood() {
        for peer in Peer::ALL {
            assert_eq!(peer.name().parse::<Peer>().unwrap(), peer);
        }
        assert!(matches!(
            "envoy".parse::<Peer>(),
            Err(Error::Unknown { .. })
        ));
    }
}
