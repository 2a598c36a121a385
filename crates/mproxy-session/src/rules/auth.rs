//! AUTH, and the Authentication Method that it shares with CONNACK.

use mproxy_codec::{Auth, Direction, Kind, Properties, PropertyId, ReasonCode};

use super::HookTraits;
use super::phase::Phase;
use crate::cause::{Cause, Denial, End};
use crate::error::Violation;

impl Phase {
    /// Refuses AUTH with another method than CONNECT's, and re-authentication that no hook sees: for the
    /// broker, the client could become another user than for the hooks. An AUTH that does not answer one of
    /// the broker's counts as re-authentication: sent before CONNACK, it may reach the broker after it.
    /// [MQTT-4.12.0-3]
    ///
    /// # Errors
    /// The violation, or the end of the session.
    pub(crate) fn check_auth(
        &mut self,
        direction: Direction,
        auth: &Auth<'_>,
        hooks: HookTraits,
    ) -> Result<(), End> {
        // the short form means success
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

    pub(super) fn check_method(
        &self,
        direction: Direction,
        packet: Kind,
        properties: &Properties<'_>,
    ) -> Result<(), End> {
        let method = properties.str(PropertyId::AuthenticationMethod);
        if method == self.method.as_ref().map(|method| &***method) {
            return Ok(());
        }
        Err(Cause::violation(direction, packet, Violation::AuthMethod))
    }
}

#[cfg(test)]
mod tests {
    use mproxy_codec::{Version, View};

    use super::*;

    const CONTINUE: &[u8] = b"\xf0\x06\x18\x04\x15\x00\x01m";
    const AGAIN: &[u8] = b"\xf0\x06\x19\x04\x15\x00\x01m";
    const OTHER: &[u8] = b"\xf0\x06\x18\x04\x15\x00\x01n";

    fn check(phase: &mut Phase, direction: Direction, packet: &[u8], blind: bool) -> Option<Cause> {
        let view = View::parse(Version::V5, direction, packet).unwrap();
        let Some(View::Auth(auth)) = view else {
            panic!("an AUTH");
        };
        let hooks = HookTraits {
            growth: 0,
            follow_aliases: false,
            blind_to_auth: blind,
        };
        let checked = phase.check_auth(direction, &auth, hooks);
        checked.err().map(|end| *end)
    }

    /// If hooks judge identity and do not see AUTH, only answers to a challenge of the broker pass.
    #[test]
    fn blind_hooks_bear_no_other_client() {
        let (up, down) = (Direction::ToServer, Direction::ToClient);
        let mut phase = Phase {
            connack: None,
            is_challenged: false,
            method: Some(Box::new("m".into())),
        };
        assert!(check(&mut phase, up, CONTINUE, true).is_some(), "unasked");
        assert!(check(&mut phase, down, CONTINUE, true).is_none());
        assert!(check(&mut phase, up, CONTINUE, true).is_none());
        assert!(check(&mut phase, up, CONTINUE, true).is_some(), "twice");
        phase.connack = Some(ReasonCode::SUCCESS);
        let denied = check(&mut phase, up, AGAIN, true);
        assert!(matches!(denied, Some(Cause::Denied { .. })), "{denied:?}");
        assert!(check(&mut phase, up, AGAIN, false).is_none());
        let other = check(&mut phase, up, OTHER, false);
        assert!(matches!(other, Some(Cause::Fault { .. })), "{other:?}");
    }
}
