//! Refusals after which a session cannot go on, one per row.

use mproxy_codec::{Kind, ReasonCode};

use super::account::Account;
use crate::summary::{CloseReason, Side};

macro_rules! denials {
    ($($(#[$doc:meta])* $name:ident, $packet:expr, $reason:ident, $text:literal;)*) => {
        /// What was refused.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Denial { $($(#[$doc])* $name,)* }

        impl Denial {
            pub(super) const fn packet(self) -> Option<Kind> {
                match self { $(Self::$name => $packet,)* }
            }

            pub(super) fn account(self, code: ReasonCode) -> Account {
                let (reason, text) = match self {
                    $(Self::$name => (CloseReason::$reason, $text),)*
                };
                Account::told(Side::Proxy, reason, code).detail(text)
            }
        }
    };
}

denials! {
    /// The whole session.
    Session, None, AclDenied, "a hook closed the session";
    /// A PUBLISH, if [`RefusedPublish::Disconnect`](crate::RefusedPublish) is set.
    Publish, Some(Kind::Publish), AclDenied, "PUBLISH refused and the policy is to disconnect";
    Connack, Some(Kind::Connack), AuthDenied, "a hook refused the broker's CONNACK";
    Auth, Some(Kind::Auth), AuthDenied, "a hook refused an AUTH";
    /// A hook changed credentials that come with an authentication method.
    Credentials, Some(Kind::Connect), AuthDenied, "a hook replaced the credentials of a client with an authentication method";
    /// A re-authentication that no hook sees.
    Reauthentication, Some(Kind::Auth), AuthDenied, "re-authentication is refused: rules go by who the client was at CONNECT";
}
