//! The map as a layer of the CONNECT stage.

use std::sync::Arc;

use mproxy_codec::{KindSet, ReasonCode, Version};
use mproxy_session::{Connect, ConnectRefusal, Filter, Heads, Hooks, JudgeConnect, Tap, WrapHooks};

use super::{
    SessionMap, TopicMap, TopicMapToClient, TopicMapToServer, shared::Shared,
    to_server::TopicMapper,
};
use crate::{
    DeniedWill, Names, Observer,
    denials::Denials,
    observed::{Observed, wrap},
};

/// Maps the topics of a client, and maps them back: a layer for the CONNECT stage.
///
/// Layers outside of it see the topics of the client, layers inside of it those of the broker, in
/// both directions. See the [module documentation](super) for what does not pass, and the [crate
/// documentation](crate) for an example.
///
/// A session that [is judged again](mproxy_session::SessionHandle::renew) is mapped by the new map from
/// then on. Its subscriptions stay where the old map has put them: what they bring, and has no place in
/// the new map, is dropped. Where the place of a client has changed, end its session instead, so that it
/// subscribes anew.
pub type TopicMapLayer<O = ()> = Observed<Mapped, O>;

/// The map of a [`TopicMapLayer`], and what it does about what has no place in it.
#[derive(Debug, Clone)]
#[allow(unnameable_types)] // a parameter of types that callers need not name
pub struct Mapped {
    map: TopicMap,
    will: DeniedWill,
    log_denials: bool,
    reauthentication: bool,
}

impl TopicMapLayer {
    /// Maps topics like this.
    pub const fn new(map: TopicMap) -> Self {
        Self::by_nobody(Mapped {
            map,
            will: DeniedWill::Refuse,
            log_denials: true,
            reauthentication: false,
        })
    }
}

impl<O> TopicMapLayer<O> {
    /// Says what happens to a client whose will has no place in the map. It is turned away, until this
    /// is said: the will of a mosquitto bridge that notifies the broker, for one, begins with `$SYS`.
    #[must_use]
    pub const fn denied_will(mut self, will: DeniedWill) -> Self {
        self.settings.will = will;
        self
    }

    /// Says whether topics that have no place in the map are logged. They are, until it is
    /// turned off: the first of a session and of each reason at once, then one in ten seconds with
    /// the number of the others.
    #[must_use]
    pub const fn log_denials(mut self, log: bool) -> Self {
        self.settings.log_denials = log;
        self
    }

    /// Sets whether an MQTT 5.0 client may authenticate again while it is connected (AUTH 0x19),
    /// although its place goes by its names. It may not, until it is turned on, and is closed with
    /// 0x8C: the broker may take it for somebody else then, in the place of who it was. A map that is
    /// the same for all clients lets it pass. `[MQTT-4.12.1-1]`
    #[must_use]
    pub const fn pass_reauthentication(mut self, pass: bool) -> Self {
        self.settings.reauthentication = pass;
        self
    }
}

impl<O: Observer> TopicMapLayer<O> {
    /// Returns the client's map, `None` if it sees the broker as it is.
    fn map_connect(&self, connect: &Connect) -> Result<Option<SessionMap>, ConnectRefusal> {
        let names = Names::of(connect);
        if self.settings.map.is_super(names) {
            return Ok(None);
        }
        let map = self.settings.map.for_client(names);
        map.map(Some).map_err(|error| {
            self.observer.connect(false);
            ConnectRefusal::new(ReasonCode::NOT_AUTHORIZED).with_text(error.to_string())
        })
    }
}

/// What a session is given: its map, `None` if it sees the broker as it is.
#[derive(Debug)]
#[allow(unnameable_types)] // a parameter of types that callers need not name
pub struct Session<O> {
    map: Option<SessionMap>,
    layer: TopicMapLayer<O>,
}

impl<O: Observer> JudgeConnect for TopicMapLayer<O> {
    type Wrap = Session<O>;

    fn judge(&mut self, connect: &mut Connect) -> Result<Session<O>, ConnectRefusal> {
        Ok(Session {
            map: self.map_connect(connect)?,
            layer: self.clone(),
        })
    }
}

impl<U, D, O> WrapHooks<U, D> for Session<O> {
    type ToServer = Heads<TopicMapToServer<Tap<U>, O>>;
    type ToClient = Heads<TopicMapToClient<Tap<D>, O>>;

    fn wrap(self, connect: &Connect, hooks: Hooks<U, D>) -> Hooks<Self::ToServer, Self::ToClient> {
        let Self { map, layer } = self;
        let (to_server, to_client) = match (&map, connect.packet().version()) {
            (None, _) => (KindSet::NONE, KindSet::NONE),
            // Response Information is there
            (Some(_), Version::V5) => (TO_SERVER, KindSet::PUBLISH | KindSet::CONNACK),
            (Some(_), _) => (TO_SERVER, KindSet::PUBLISH),
        };
        // the topic name and the Response Topic, and the lengths before them
        let growth = map.as_ref().map_or(0, |map| match map.growth() {
            0 => 0,
            growth => 2 * growth + LENGTHS,
        });
        let held = map.as_ref().map_or(0, SessionMap::size);
        let Observed { settings, observer } = layer;
        let judges = settings.map.goes_by_names() && !settings.reauthentication;
        let shared = map.map(|map| {
            Arc::new(Shared {
                map,
                info: connect.info().clone(),
                will: settings.will,
                observer,
                denials: settings.log_denials.then(Denials::default),
            })
        });
        let delivering = shared.clone();
        hooks.holds(held).map(
            |tap| {
                wrap(tap, to_server, judges, |inner| {
                    Filter::new(inner, TopicMapper(shared))
                })
                .grows(growth)
            },
            |tap| {
                wrap(tap, to_client, judges, |inner| {
                    TopicMapToClient::new(inner, delivering)
                })
            },
        )
    }
}

/// How many bytes the Remaining Length and the length of the properties may grow by: from one to four,
/// each.
const LENGTHS: usize = 6;

/// What a client sends with a topic in it.
const TO_SERVER: KindSet = KindSet::PUBLISH
    .union(KindSet::SUBSCRIBE)
    .union(KindSet::UNSUBSCRIBE);
