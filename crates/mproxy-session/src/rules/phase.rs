//! The phase of a session, and which packets may come now.

use mproxy_codec::{ConnectPacket, Direction, Foreign, Kind, PropertyId, ReasonCode};

use crate::cause::{Cause, End, Fault};
use crate::error::Violation;

/// The phase of a session.
#[derive(Debug)]
pub(crate) struct Phase {
    /// The client's CONNACK, once it was forwarded.
    pub(crate) connack: Option<ReasonCode>,
    /// The broker has sent an AUTH that the client has not answered.
    pub(super) is_challenged: bool,
    /// The Authentication Method of CONNECT: AUTH is allowed, also before CONNACK. Boxed twice, to be one
    /// word: few clients have one.
    pub(super) method: Option<Box<Box<str>>>,
}

impl Phase {
    pub(super) fn new(packet: &ConnectPacket) -> Self {
        let properties = packet.properties();
        let method = properties.str(PropertyId::AuthenticationMethod);
        Self {
            connack: None,
            is_challenged: false,
            method: method.map(|method| Box::new(method.into())),
        }
    }

    /// True once the broker's CONNACK said success.
    #[inline]
    pub(crate) fn is_established(&self) -> bool {
        self.connack == Some(ReasonCode::SUCCESS)
    }

    /// True if enhanced authentication is in use.
    pub(crate) const fn authenticates(&self) -> bool {
        self.method.is_some()
    }

    /// Refuses a packet type that may not come now.
    ///
    /// # Errors
    /// The violation, on the side that sent it.
    #[inline]
    pub(crate) fn check(&self, direction: Direction, kind: Kind) -> Result<(), End> {
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

    /// The same end, or a better explanation: the broker's first bytes may be another protocol.
    #[cold]
    pub(crate) fn not_connack(&self, direction: Direction, bytes: &[u8], end: End) -> End {
        match Foreign::recognise(bytes) {
            Some(foreign) if direction == Direction::ToClient && self.connack.is_none() => {
                Cause::fault(direction, None, Fault::Foreign(foreign))
            }
            _ => end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UP: Direction = Direction::ToServer;
    const DOWN: Direction = Direction::ToClient;

    fn violation(phase: &Phase, direction: Direction, kind: Kind) -> Option<Violation> {
        match *phase.check(direction, kind).err()? {
            Cause::Fault {
                fault: Fault::Order(violation),
                ..
            } => Some(violation),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn who_may_say_what_when() {
        let mut phase = Phase {
            connack: None,
            is_challenged: false,
            method: None,
        };
        for (direction, kind, wanted) in [
            (UP, Kind::Publish, Some(Violation::BeforeConnack)),
            (UP, Kind::Disconnect, None),
            (UP, Kind::Auth, Some(Violation::AuthWithoutMethod)),
            (DOWN, Kind::Connack, None),
            (DOWN, Kind::Publish, Some(Violation::NotConnack)),
            (UP, Kind::Connect, Some(Violation::SecondConnect)),
        ] {
            assert_eq!(violation(&phase, direction, kind), wanted, "{kind:?}");
        }
        phase.method = Some(Box::new("m".into()));
        assert_eq!(violation(&phase, UP, Kind::Auth), None);
        phase.connack = Some(ReasonCode::SUCCESS);
        assert_eq!(violation(&phase, UP, Kind::Publish), None);
        let second = Some(Violation::SecondConnack);
        assert_eq!(violation(&phase, DOWN, Kind::Connack), second);
    }

    #[test]
    fn another_protocol_in_the_place_of_connack_is_named() {
        let mut phase = Phase {
            connack: None,
            is_challenged: false,
            method: None,
        };
        let http = b"HTTP/1.1 400 Bad Request\r\n";
        let end = || Cause::violation(DOWN, Kind::Publish, Violation::NotConnack);
        assert!(phase.not_connack(DOWN, http, end()).foreign().is_some());
        assert!(phase.not_connack(UP, http, end()).foreign().is_none());
        phase.connack = Some(ReasonCode::SUCCESS);
        assert!(phase.not_connack(DOWN, http, end()).foreign().is_none());
    }
}
