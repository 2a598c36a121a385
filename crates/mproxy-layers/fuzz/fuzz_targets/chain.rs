//! No way around a chain: whatever layers stand in it, in whatever order, and whatever a client sends,
//! nothing reaches the broker that the rules forbid where they stand, a will included.
//!
//! The input is lines: the layers from the outermost inward (`a` acl, `m` topic-map, `i` client-id,
//! `p` property-edit), rules of the acl and rules of the map, separated by tabs, user name, client id,
//! will topic, and then what the client sends: see [`send`].
#![no_main]

mod pipe;

use std::cell::RefCell;
use std::sync::{Arc, Mutex, PoisonError};

use libfuzzer_sys::fuzz_target;
use mproxy_codec::topic::{Dialect, TopicFilter, TopicName};
use mproxy_codec::{
    ConnectBuilder, Framer, PropertyId, PropertyWriter, QoS, SubscriptionOptions, Value, Version,
    View, Will, encode_publish, encode_subscribe, encode_unsubscribe,
};
use mproxy_layers::acl::{Acl, AclLayer, Actions, Rule};
use mproxy_layers::client_id::{ClientIdLayer, ClientIds};
use mproxy_layers::property_edit::{Edits, PropertyEditLayer};
use mproxy_layers::topic_map::{MapRule, TopicMap, TopicMapLayer};
use mproxy_layers::{DeniedWill, Names};
use mproxy_session::{
    Admission, BoxError, BoxPacketService, Connect, Hooks, OnConnectLayer, Peer, Session, new_hooks,
};
use tokio::runtime::Runtime;
use tower::util::BoxService;
use tower::{Layer, ServiceExt};

/// More layers, rules and packets than that only take time.
const MAX: usize = 8;

type Stage = BoxService<Connect, Admission<BoxPacketService, BoxPacketService>, BoxError>;

/// What a layer is, and who the client is where it stands.
struct Place {
    layer: u8,
    names: Seen,
}

/// Client identifier and user name, once somebody asked.
type Seen = Arc<Mutex<Option<(String, Option<String>)>>>;

struct Rules {
    /// How the broker reads topics.
    dialect: Dialect,
    acl: Acl,
    map: TopicMap,
    ids: ClientIds,
    edits: Edits,
    strips: bool,
}

fn boxed<U, D>(
    stage: impl tower::Service<
        Connect,
        Response = Admission<U, D>,
        Error = BoxError,
        Future: Send + 'static,
    > + Send
    + 'static,
) -> Stage
where
    U: mproxy_session::PacketService,
    D: mproxy_session::PacketService,
{
    BoxService::new(stage.map_response(|admission| {
        admission.map_hooks(|_, hooks| {
            hooks.map(
                |tap| tap.convert(BoxPacketService::new),
                |tap| tap.convert(BoxPacketService::new),
            )
        })
    }))
}

/// The chain, and its places from the outermost inward.
fn stack(layers: &str, rules: &Rules) -> (Stage, Vec<Place>) {
    let mut stage = boxed(new_hooks(|_| Hooks::none()));
    let mut places = Vec::new();
    for layer in layers
        .bytes()
        .take(MAX)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
    {
        let will = if rules.strips {
            DeniedWill::Strip
        } else {
            DeniedWill::Refuse
        };
        stage = match layer {
            b'a' => boxed(
                AclLayer::new(rules.acl.clone())
                    .denied_will(will)
                    .log_denials(false)
                    .layer(stage),
            ),
            b'm' => boxed(
                TopicMapLayer::new(rules.map.clone())
                    .denied_will(will)
                    .log_denials(false)
                    .layer(stage),
            ),
            b'i' => boxed(ClientIdLayer::new(rules.ids.clone()).layer(stage)),
            b'p' => {
                boxed(PropertyEditLayer::new(rules.edits.clone(), rules.edits.clone()).layer(stage))
            }
            _ => continue,
        };
        let names = Seen::default();
        let seen = Arc::clone(&names);
        let look = OnConnectLayer::new(move |connect: &mut Connect| {
            let packet = connect.packet();
            let name = packet.user_name().map(str::to_owned);
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            *seen = Some((packet.client_id().to_owned(), name));
            Ok(())
        });
        stage = boxed(look.layer(stage));
        places.insert(0, Place { layer, names });
    }
    (stage, places)
}

/// Follows a topic of the broker's outward, through all layers, and says whether each of them lets the
/// client do that with it; `None` when one of them has no name for it.
fn may(places: &[Place], rules: &Rules, topic: &str, reads: bool) -> Option<bool> {
    let judged = places
        .iter()
        .any(|place| matches!(place.layer, b'a' | b'm'));
    let mut topic = match rules.dialect.read_name(topic) {
        Ok(read) => read.into_owned(),
        // what the broker makes of it nobody can say
        Err(_) => return Some(!judged),
    };
    for place in places.iter().rev() {
        let names = place.names.lock().unwrap_or_else(PoisonError::into_inner);
        let (client_id, username) = names.as_ref().expect("it was asked");
        let names = Names::new(client_id, username.as_deref());
        match place.layer {
            b'a' => {
                let mut acl = rules.acl.for_names(names);
                let decision = if reads {
                    acl.decide_subscribe(&topic)
                } else {
                    acl.decide_publish(&topic)
                };
                if !decision.allowed() {
                    return Some(false);
                }
            }
            b'm' => {
                let map = rules.map.for_client(names).expect("it was let in");
                topic = map.unmap_name(&topic)?.into_owned();
                if !reads && map.map_name(&topic).is_err() {
                    return Some(false);
                }
            }
            _ => {}
        }
    }
    Some(true)
}

/// One packet of the client: `p0topic` and `p1topic` are PUBLISH, `A3topic` binds an alias and `a3` uses
/// it, `sfilter filter` and `ufilter` are requests, and `xHEX` is what it is.
fn send(line: &str, version: Version, out: &mut Vec<u8>) {
    let Some((letter, rest)) = line.split_at_checked(1) else {
        return;
    };
    let alias = |number: &str| {
        let mut properties = PropertyWriter::new();
        let number = number.parse().unwrap_or(1);
        let _ = properties.push(PropertyId::TopicAlias, Value::U16(number));
        properties
    };
    let packet = match letter {
        "p" => {
            let (qos, topic) = rest.split_at_checked(1).unwrap_or_default();
            let qos = match qos {
                "1" => QoS::AtLeastOnce,
                "2" => QoS::ExactlyOnce,
                _ => QoS::AtMostOnce,
            };
            encode_publish(version, topic, qos, 7, &[], b"x").ok()
        }
        "A" if version.is_v5() => {
            let (number, topic) = rest.split_at_checked(1).unwrap_or_default();
            let properties = alias(number);
            encode_publish(
                version,
                topic,
                QoS::AtMostOnce,
                0,
                properties.as_bytes(),
                b"x",
            )
            .ok()
        }
        // an empty topic name, which the encoder does not write
        "a" if version.is_v5() => {
            let number: u16 = rest.parse().unwrap_or(1);
            let [high, low] = number.to_be_bytes();
            out.extend_from_slice(&[0x30, 7, 0, 0, 3, 0x23, high, low, b'x']);
            None
        }
        "s" => {
            let options = SubscriptionOptions::new(QoS::AtMostOnce);
            let filters = rest.split(' ').map(|filter| (filter, options));
            encode_subscribe(version, 8, &[], filters).ok()
        }
        "u" => encode_unsubscribe(version, 9, &[], rest.split(' ')).ok(),
        "x" => {
            for pair in rest.as_bytes().chunks_exact(2) {
                let pair = str::from_utf8(pair).unwrap_or_default();
                out.extend(u8::from_str_radix(pair, 16));
            }
            None
        }
        _ => None,
    };
    out.extend_from_slice(packet.as_deref().unwrap_or_default());
}

thread_local! {
    static RUNTIME: RefCell<Runtime> = RefCell::new(
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime"),
    );
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    if text.len() > 1000 {
        return;
    }
    let mut lines = text.split('\n');
    let mut next = || lines.next().unwrap_or_default();
    let (layers, acl_rules, map_rules) = (next(), next(), next());
    let (username, client_id, will) = (next(), next(), next());

    let dialect = match (layers.contains('q'), layers.contains('n')) {
        (true, _) => Dialect::Amqp,
        (_, true) => Dialect::Nats,
        _ => Dialect::MQTT,
    };
    let mut acl = Acl::builder();
    acl.dialect(dialect);
    for line in acl_rules.split('\t').take(MAX) {
        let (letter, pattern) = line.split_at_checked(1).unwrap_or_default();
        let rule = match letter {
            "p" => Rule::allow(Actions::PUBLISH),
            "s" => Rule::allow(Actions::SUBSCRIBE),
            "b" => Rule::allow(Actions::PUBLISH | Actions::SUBSCRIBE),
            "P" => Rule::deny(Actions::PUBLISH),
            _ => Rule::deny(Actions::PUBLISH | Actions::SUBSCRIBE),
        };
        let _ = acl.rule(rule.topic(pattern));
    }
    let mut map = TopicMap::builder().dialect(dialect);
    for line in map_rules.split('\t').take(MAX) {
        if let Some((from, to)) = line.split_once('>') {
            // where a tenant has no place of its own, all meet, and read
            let shared = !to.contains("${");
            map = map.rule(MapRule::new(from, to).shared(shared));
        }
    }
    let Ok(map) = map.build() else {
        return;
    };
    let edits = Edits::builder().strip("k").add("via", "${client_id}");
    let (Ok(edits), Ok(ids)) = (edits, ClientIds::builder().prefix("${username}:").build()) else {
        return;
    };
    let rules = Rules {
        dialect,
        acl: acl.build(),
        map,
        ids,
        edits: edits.build(),
        strips: layers.contains('!'),
    };
    let (stage, places) = stack(layers, &rules);

    let version = match (layers.contains('5'), layers.contains('3')) {
        (true, _) => Version::V5,
        (_, true) => Version::V31,
        _ => Version::V311,
    };
    let mut connect = ConnectBuilder::new(version)
        .client_id(client_id)
        .clean_start(true);
    if !username.is_empty() {
        connect = connect.user_name(username);
    }
    if !will.is_empty() {
        connect = connect.will(Will::new(will, b"gone").qos(QoS::AtLeastOnce));
    }
    let Ok(connect) = connect.build() else {
        return;
    };
    let mut sent = connect.as_bytes().to_vec();
    for line in lines.take(MAX) {
        send(line, version, &mut sent);
    }

    let (client, broker, received) = pipe::ends(sent, version);
    let session = Session::new(Peer::new("fuzz"))
        .run(client, stage, |_| async { Ok::<_, std::io::Error>(broker) });
    RUNTIME.with_borrow(|runtime| runtime.block_on(session));

    let received = received.lock().unwrap_or_else(PoisonError::into_inner);
    witness(&received, &places, &rules);
});

/// Reads what the broker has got as it does, and holds it against the rules.
fn witness(received: &[u8], places: &[Place], rules: &Rules) {
    let mut framer = Framer::before_connect(1 << 20);
    framer.push(received);
    let mut aliases: Vec<(u16, String)> = Vec::new();
    while let Ok(Some(frame)) = framer.next_frame() {
        let Ok(view) = frame.view() else {
            panic!(
                "the broker gets what is not valid: {:02x?}",
                frame.as_bytes()
            );
        };
        match view {
            View::Connect(connect) => {
                if let Some(will) = connect.will() {
                    let allowed = may(places, rules, will.topic, false);
                    assert_eq!(allowed, Some(true), "will on {:?}", will.topic);
                }
            }
            View::Publish(publish) => {
                let alias = publish.properties().number(PropertyId::TopicAlias);
                let alias = alias.map(|alias| u16::try_from(alias).unwrap_or(u16::MAX));
                let mut topic = publish.topic().to_string();
                if let Some(alias) = alias {
                    if topic.is_empty() {
                        let known = aliases.iter().rev().find(|(other, _)| *other == alias);
                        topic = known.expect("an alias that it was told").1.clone();
                    } else {
                        aliases.push((alias, topic.clone()));
                    }
                }
                let allowed = may(places, rules, &topic, false);
                assert_eq!(allowed, Some(true), "publish to {topic:?}");
            }
            View::Subscribe(subscribe) => {
                for entry in subscribe.subscriptions() {
                    reads(&entry.filter, places, rules);
                }
            }
            _ => {}
        }
    }
}

/// What a granted filter matches may be read, or has no name for the client.
fn reads(filter: &str, places: &[Place], rules: &Rules) {
    let inner = TopicFilter::new(filter).expect("a filter");
    let inner = match inner.shared() {
        Ok(Some(shared)) => shared.filter(),
        _ => inner,
    };
    let Ok(read) = rules.dialect.read_filter(inner.as_str()) else {
        let judged = places
            .iter()
            .any(|place| matches!(place.layer, b'a' | b'm'));
        assert!(!judged, "{filter:?} is granted unread");
        return;
    };
    let inner = TopicFilter::new(&read).expect("a filter");
    // names that it matches: each wildcard becomes a level or two
    for (one, more) in [("a", "a"), ("b", "b/secret"), ("secret", ""), ("", "a/b")] {
        let topic = inner.as_str().replace('+', one).replace('#', more);
        let Ok(name) = TopicName::new(&topic) else {
            continue;
        };
        if inner.matches(name) {
            let allowed = may(places, rules, &topic, true);
            assert_ne!(allowed, Some(false), "{filter:?} reads {topic:?}");
        }
    }
}
