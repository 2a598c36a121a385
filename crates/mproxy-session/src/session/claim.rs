//! The identity that a client with enhanced authentication claims.

use mproxy_codec::{ConnectPacket, PropertyId};

/// The credentials that come with an Authentication Method. A hook must not replace them and keep the method:
/// hook and broker would authenticate different users (section 4.12).
pub(super) struct Claim(Option<ConnectPacket>);

impl Claim {
    pub(super) fn of(packet: &ConnectPacket) -> Self {
        Self(has_method(packet).then(|| packet.clone()))
    }

    pub(super) fn is_contradicted_by(&self, packet: &ConnectPacket) -> bool {
        self.0.as_ref().is_some_and(|claimed| {
            let same = claimed.user_name() == packet.user_name()
                && claimed.password() == packet.password();
            has_method(packet) && !same
        })
    }
}

fn has_method(packet: &ConnectPacket) -> bool {
    packet
        .properties()
        .get(PropertyId::AuthenticationMethod)
        .is_some()
}
