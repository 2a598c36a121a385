//! The bar: what mproxy must reach.

use serde::Serialize;

use crate::load::Load;
use crate::peer::{Peer, Variant};

/// An upper bound.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Bar {
    /// So many times what HAProxy takes in the same round, both with TLS or both without.
    TimesHaproxy(f64),
    /// So many times what mproxy without hooks takes in the same round.
    TimesMproxy(f64),
    /// So much in the load's own unit.
    AtMost(f64),
}

impl Bar {
    /// What a peer must reach under a load; most pairs have no bar.
    pub fn of(load: Load, peer: Peer) -> Option<Self> {
        let Peer::Mproxy(variant) = peer else {
            return None;
        };
        if variant == Variant::Tls {
            return Self::of_tls(load);
        }
        let (plain, acl) = match load {
            Load::Batched | Load::ToClient => (1.3, 2.5),
            Load::Single => (1.0, 1.1),
            Load::Closed => (1.1, 1.15),
            Load::Paced => (1.0, 1.05),
            Load::Connect => (1.1, 1.2),
            Load::Idle => return Self::of_idle(variant),
            Load::Base => return (variant == Variant::Full).then_some(Self::AtMost(6.0)),
            Load::Steady
            | Load::Large
            | Load::V5Batched
            | Load::V5Closed
            | Load::Mix
            | Load::Handshakes
            | Load::Storm => return None,
        };
        match variant {
            Variant::Plain => Some(Self::TimesHaproxy(plain)),
            Variant::Acl => Some(Self::TimesHaproxy(acl)),
            Variant::Log => (load == Load::Connect).then_some(Self::TimesMproxy(1.15)),
            Variant::WebSocket => (load == Load::Batched).then_some(Self::TimesMproxy(1.3)),
            Variant::TopicMap | Variant::Full | Variant::Tls => None,
        }
    }

    fn of_tls(load: Load) -> Option<Self> {
        let most = match load {
            Load::Idle => 0.4,
            Load::Connect => 0.6,
            Load::Closed | Load::Paced => 0.8,
            Load::Batched | Load::ToClient | Load::Large => 0.9,
            Load::Storm => 1.0,
            Load::Single => 1.4,
            Load::Handshakes => 2.0,
            Load::Steady | Load::Base | Load::V5Batched | Load::V5Closed | Load::Mix => {
                return None;
            }
        };
        Some(Self::TimesHaproxy(most))
    }

    /// In KiB a connection.
    fn of_idle(variant: Variant) -> Option<Self> {
        match variant {
            Variant::Plain | Variant::Acl => Some(Self::AtMost(2.0)),
            Variant::WebSocket => Some(Self::AtMost(4.0)),
            Variant::TopicMap | Variant::Log | Variant::Full | Variant::Tls => None,
        }
    }

    /// Whether a median, and the median ratios to HAProxy and to mproxy without hooks, are within the
    /// bar; `None` if what it speaks of was not measured.
    pub fn is_met(
        self,
        value: Option<f64>,
        times_haproxy: Option<f64>,
        times_mproxy: Option<f64>,
    ) -> Option<bool> {
        match self {
            Self::TimesHaproxy(most) => times_haproxy.map(|ratio| ratio <= most),
            Self::TimesMproxy(most) => times_mproxy.map(|ratio| ratio <= most),
            Self::AtMost(most) => value.map(|value| value <= most),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_columns_of_the_table_are_there() {
        let plain = |load| Bar::of(load, Peer::Mproxy(Variant::Plain));
        let acl = |load| Bar::of(load, Peer::Mproxy(Variant::Acl));
        assert_eq!(plain(Load::Batched), Some(Bar::TimesHaproxy(1.3)));
        assert_eq!(acl(Load::Batched), Some(Bar::TimesHaproxy(2.5)));
        assert_eq!(plain(Load::Idle), Some(Bar::AtMost(2.0)));
        assert_eq!(acl(Load::Idle), Some(Bar::AtMost(2.0)));
        assert_eq!(plain(Load::Base), None);
        assert_eq!(Bar::of(Load::Closed, Peer::Haproxy), None);
        let log = |load| Bar::of(load, Peer::Mproxy(Variant::Log));
        assert_eq!(log(Load::Connect), Some(Bar::TimesMproxy(1.15)));
        assert_eq!(log(Load::Closed), None);
        let tls = |load| Bar::of(load, Peer::Mproxy(Variant::Tls));
        assert_eq!(tls(Load::Connect), Some(Bar::TimesHaproxy(0.6)));
        assert_eq!(tls(Load::Base), None);
    }

    #[test]
    fn a_bar_is_met_up_to_and_including_its_figure() {
        assert_eq!(
            Bar::TimesHaproxy(1.1).is_met(Some(9.0), Some(1.1), Some(9.0)),
            Some(true)
        );
        assert_eq!(
            Bar::TimesHaproxy(1.1).is_met(Some(9.0), Some(1.11), None),
            Some(false)
        );
        let bar = Bar::TimesHaproxy(1.1);
        assert_eq!(bar.is_met(Some(9.0), None, Some(1.0)), None);
        let bar = Bar::TimesMproxy(1.15);
        assert_eq!(bar.is_met(Some(9.0), Some(9.0), Some(1.15)), Some(true));
        assert_eq!(bar.is_met(Some(1.0), Some(1.0), Some(1.16)), Some(false));
        assert_eq!(bar.is_met(Some(1.0), Some(1.0), None), None);
        assert_eq!(Bar::AtMost(2.0).is_met(Some(1.5), None, None), Some(true));
        assert_eq!(Bar::AtMost(2.0).is_met(None, Some(0.1), Some(0.1)), None);
    }
}
