//! DISCONNECT, and the Server Reference that it shares with CONNACK.

use mproxy_codec::{Direction, Disconnect, Kind, Properties, PropertyId, encode_disconnect};

use super::{Fate, Rules};
use crate::cause::{Cause, End};
use crate::error::Violation;
use crate::limits::ServerReference;

impl Rules {
    /// Refuses a DISCONNECT of the client that makes a session outlive its connection although CONNECT
    /// said that it ends: the hooks judged it as one that ends. Removes the Server Reference
    /// from a DISCONNECT of the broker.
    ///
    /// # Errors
    /// The violation.
    pub(crate) fn disconnect(
        &self,
        direction: Direction,
        disconnect: &Disconnect<'_>,
    ) -> Result<Fate, End> {
        let properties = &disconnect.properties;
        if direction == Direction::ToServer {
            let expiry = properties.number(PropertyId::SessionExpiryInterval);
            if self.negotiated.session_ends && expiry.is_some_and(|seconds| seconds > 0) {
                let violation = Violation::SessionExpiryRaised;
                return Err(Cause::violation(direction, Kind::Disconnect, violation));
            }
        } else if self.strips_reference(properties) {
            let properties = properties.without(&[PropertyId::ServerReference]);
            let (version, reason) = (self.version(), disconnect.reason);
            let stripped = encode_disconnect(version, reason, properties.as_bytes());
            return stripped.map(Fate::Replace).map_err(Cause::encode);
        }
        Ok(Fate::Pass)
    }

    /// True if there is a Server Reference that the client must not get.
    pub(crate) fn strips_reference(&self, properties: &Properties<'_>) -> bool {
        self.limits.server_reference == ServerReference::Strip
            && properties.get(PropertyId::ServerReference).is_some()
    }
}
