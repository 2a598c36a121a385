//! Enumerations that are written as one word in the configuration.

use crate::section::FlagSet;
use mproxy_codec::Version;
use mproxy_codec::topic::{Dialect, VendorForms};
use mproxy_layers::DeniedWill;
use mproxy_layers::acl::{Actions, Effect, OnDeny, SubscribePolicy};
use mproxy_layers::template::Placeholder;
use mproxy_session::{
    Bridges, Conformance, ControlCharacters, ReceiveMaximum, ServerReference, Versions,
    WhenUnreachable,
};

/// A value that is one of a few words.
///
/// The list is the single source for parsing, for the suggestion after a typing mistake,
/// for the JSON schema and for `config show`.
pub trait Choice: Copy + PartialEq + 'static {
    /// Every word with its meaning, in the order in which they are shown.
    const ALL: &'static [(&'static str, Self)];

    /// Words that this version does not support.
    const LATER: &'static [&'static str] = &[];

    /// Words for what is said by another key, and how.
    const ELSEWHERE: &'static [(&'static str, &'static str)] = &[];

    /// The word for this value.
    fn word(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, value)| *value == self)
            .map_or("?", |(word, _)| word)
    }

    /// The value for a word.
    fn from_word(word: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(name, _)| *name == word)
            .map(|(_, value)| *value)
    }
}

/// The words for types of other crates.
macro_rules! words {
    ($($type:ty {
        $($word:literal: $value:ident,)*
        $(later $($later:literal),*)?
        $(elsewhere $($other:literal: $how:literal),*)?
    })*) => {
        $(impl $crate::choice::Choice for $type {
            const ALL: &'static [(&'static str, Self)] = &[$(($word, Self::$value)),*];
            $(const LATER: &'static [&'static str] = &[$($later),*];)?
            $(const ELSEWHERE: &'static [(&'static str, &'static str)] = &[$(($other, $how)),*];)?
        })*
    };
}

pub(crate) use words;

words! {
    Version { "3.1": V31, "3.1.1": V311, "5": V5, }
    Conformance { "tolerant": Tolerant, "strict": Strict, }
    Bridges { "pass": Pass, "refuse": Refuse, }
    ReceiveMaximum { "pass": Pass, "enforce": Enforce, }
    ServerReference { "strip": Strip, "pass": Pass, }
    ControlCharacters { "refuse": Refuse, "pass": Pass, }
    WhenUnreachable { "close": Close, "connack": Connack, }
    Dialect { "mqtt": MQTT, "amqp": Amqp, "nats": Nats, }
    VendorForms { "queue": QUEUE, "exclusive": EXCLUSIVE, "delayed": DELAYED, "oshare": OSHARE, }
    Effect { "deny": Deny, "allow": Allow, }
    Actions { "publish": PUBLISH, "subscribe": SUBSCRIBE, }
    SubscribePolicy { "strict": Strict, "mosquitto": FilterDeliveries, }
    OnDeny { "reject": Reject, "drop": Drop, "disconnect": Disconnect, }
    Placeholder { "client_id": ClientId, "username": Username, "cn": CommonName, }
    DeniedWill { "refuse": Refuse, "strip": Strip, }
}

impl FlagSet for Versions {
    type Word = Version;
    const NONE: Self = Self::NONE;

    fn with(self, version: Version) -> Self {
        self.with(version)
    }

    fn has(self, version: Version) -> bool {
        self.contains(version)
    }
}

/// Sets whose members are sets with one element.
macro_rules! sets {
    ($($set:ty),*) => {
        $(impl FlagSet for $set {
            type Word = Self;
            const NONE: Self = Self::NONE;

            fn with(self, member: Self) -> Self {
                self | member
            }

            fn has(self, member: Self) -> bool {
                self.contains(member)
            }
        })*
    };
}

sets!(VendorForms, Actions);
