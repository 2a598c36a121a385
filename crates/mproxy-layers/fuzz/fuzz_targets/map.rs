//! Whatever the rules are, a map that is built can be undone: what is mapped is found again, nothing
//! else is, no two topics or filters become one, and a filter matches at the broker what it matched
//! before.
//!
//! The input is lines: the dialect of the broker, `amqp`, `nats` or its forms, user names and client ids of two clients, two topics or
//! filters, then rules as `from>to`, or `from!to` where all clients meet.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mproxy_codec::topic::{
    Dialect, FilterForm, FilterParts, TopicName, VendorForms, validate_name,
};
use mproxy_layers::Names;
use mproxy_layers::topic_map::{MapRule, SessionMap, TopicMap};

/// More rules than that only take time.
const MAX_RULES: usize = 8;

/// A name as it is, without form.
fn plain(text: &str) -> Option<TopicName<'_>> {
    TopicName::new(text).ok().filter(|name| !name.is_dollar())
}

fn parts(filter: &str, dialect: Dialect) -> Option<FilterParts<'_>> {
    FilterParts::parse(filter, dialect).ok()
}

/// The way there and back.
fn check_name(map: &SessionMap, name: &str, dialect: Dialect) {
    if TopicName::new(name).is_err() {
        return;
    }
    match map.map_name(name) {
        Ok(mapped) => {
            assert!(validate_name(mapped.as_bytes()).is_ok(), "{mapped:?}");
            assert!(mapped.len() <= name.len() + map.growth(), "{mapped:?}");
            if plain(name).is_some() {
                assert!(!mapped.starts_with('$'), "{mapped:?}");
                assert_eq!(map.unmap_name(&mapped).as_deref(), Some(name));
            } else {
                assert!(!dialect.forms().is_empty() && name.starts_with("$delayed/"));
            }
        }
        Err(error) => drop(error.to_string()),
    }
    if let Some(inner) = map.unmap_name(name)
        && plain(name).is_some()
    {
        assert!(plain(&inner).is_some(), "{inner:?}");
        assert_eq!(map.map_name(&inner).as_deref(), Ok(name));
    }
}

/// A mapped filter matches a topic at the broker exactly if it matched the client's name for it.
fn check_filter(map: &SessionMap, filter: &str, topic: &str, dialect: Dialect) {
    let Ok(mapped) = map.map_filter(filter) else {
        return;
    };
    let before = parts(filter, dialect).expect("only filters are mapped");
    let after = parts(&mapped, dialect).expect("a filter");
    assert!(!after.filter().is_dollar(), "{mapped:?}");
    match (before.form, after.form) {
        (FilterForm::Shared { group }, FilterForm::Shared { group: after })
        | (FilterForm::OrderedShared { group }, FilterForm::OrderedShared { group: after }) => {
            assert!(after.ends_with(group), "{mapped:?}");
        }
        (before, after) => assert_eq!(before, after),
    }
    let Some(name) = plain(topic) else {
        return;
    };
    if let Ok(at_broker) = map.map_name(topic) {
        let at_broker = TopicName::new(&at_broker).expect("a name");
        let matches = after.filter().matches(at_broker);
        assert_eq!(
            matches,
            before.filter().matches(name),
            "{filter:?} {topic:?} {mapped:?}"
        );
    }
    if after.filter().matches(name)
        && let Some(delivered) = map.unmap_name(topic)
    {
        let delivered = TopicName::new(&delivered).expect("a name");
        assert!(
            before.filter().matches(delivered),
            "{filter:?} {topic:?} {mapped:?}"
        );
    }
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let mut lines = text.split('\n');
    let mut next = || lines.next().unwrap_or_default();
    let dialect = match next() {
        "amqp" => Dialect::Amqp,
        "nats" => Dialect::Nats,
        forms if forms.starts_with('$') => Dialect::Mqtt(VendorForms::ALL),
        _ => Dialect::MQTT,
    };
    let (user, id, other_user, other_id) = (next(), next(), next(), next());
    let (one, two) = (next(), next());
    // what the broker reads otherwise is compared with what it reads elsewhere
    let as_written = |text: &str| {
        let name = dialect.read_name(text);
        let filter = dialect.read_filter(text);
        name.is_ok_and(|read| read == text) || filter.is_ok_and(|read| read == text)
    };
    if dialect != Dialect::MQTT
        && dialect.forms().is_empty()
        && !(as_written(one) && as_written(two))
    {
        return;
    }
    let mut map = TopicMap::builder().dialect(dialect);
    let (mut apart, mut shared) = (false, false);
    for line in lines.take(MAX_RULES) {
        let Some(at) = line.find(['>', '!']) else {
            return;
        };
        let (from, to) = (&line[..at], &line[at + 1..]);
        let meets = line.as_bytes()[at] == b'!';
        apart |= to.contains("${");
        shared |= meets;
        // what may not be written has no way there, only back
        map = map.rule(MapRule::new(from, to).shared(meets).writable(meets));
    }
    let map = match map.build() {
        Ok(map) => map,
        Err(error) => return drop(error.to_string()),
    };
    let client = map.for_client(Names::new(id, Some(user)));
    let other = map.for_client(Names::new(other_id, Some(other_user)));
    let Ok(client) = client else {
        return;
    };
    for name in [one, two] {
        check_name(&client, name, dialect);
    }
    check_filter(&client, one, two, dialect);
    check_filter(&client, two, one, dialect);
    let names = [one, two].iter().all(|it| TopicName::new(it).is_ok());
    if names && let (Ok(a), Ok(b)) = (client.map_name(one), client.map_name(two)) {
        assert_eq!(a == b, one == two, "one topic: {one:?} {two:?}");
    }
    if let (Ok(a), Ok(b)) = (client.map_filter(one), client.map_filter(two)) {
        assert_eq!(a == b, one == two, "one filter: {one:?} {two:?}");
    }
    // two clients that have no name in common
    let strangers = user != other_user && id != other_id;
    let Ok(other) = other.map_err(drop).and_then(|other| {
        let kept_apart = strangers && apart && !shared;
        kept_apart.then_some(other).ok_or(())
    }) else {
        return;
    };
    if names && let (Ok(a), Ok(b)) = (client.map_name(one), other.map_name(two)) {
        assert_ne!(a, b, "{one:?} of one client, {two:?} of another");
        assert_eq!(other.unmap_name(&a), None, "{a:?}");
    }
    if let (Ok(a), Ok(b)) = (client.map_filter(one), other.map_filter(two)) {
        assert_ne!(a, b, "{one:?} of one client, {two:?} of another");
    }
    if let (Ok(filter), Some(name)) = (client.map_filter(one), plain(two))
        && let Ok(published) = other.map_name(two)
    {
        let at_broker = TopicName::new(&published).expect("a name");
        let filter = parts(&filter, dialect).expect("a filter");
        let filter = filter.filter();
        // what is below the other's prefix may match, but is not delivered
        if filter.matches(at_broker) {
            assert_eq!(client.unmap_name(&published), None, "{name:?}");
        }
    }
});
