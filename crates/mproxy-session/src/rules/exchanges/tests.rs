use mproxy_codec::{Direction, QoS, ReasonCode, Version, View};

use super::requests::REQUEST_COST;
use super::*;

fn entry(is_refused: bool) -> Entry {
    Entry {
        filter: "f".into(),
        options: SubscriptionOptions::new(QoS::AtMostOnce),
        refused: is_refused.then_some(ReasonCode::NOT_AUTHORIZED),
        added: false,
    }
}

fn answer(exchanges: &mut Exchanges, kind: Kind, id: u16, codes: &[u8]) -> Result<Answer, End> {
    exchanges.answer(kind, id, Some(codes), false)
}

#[test]
fn answers_find_their_request() {
    let mut exchanges = Exchanges::default();
    exchanges.request(Kind::Subscribe, 7, (2, 10), None, Box::default());
    exchanges.request(Kind::Unsubscribe, 8, (1, 10), None, Box::default());
    let cost = exchanges.cost();
    let other = answer(&mut exchanges, Kind::Subscribe, 8, &[0]).unwrap();
    assert_eq!(other, Answer::AsIs);
    assert_eq!(exchanges.cost(), cost, "8 is an UNSUBSCRIBE");
    let found = answer(&mut exchanges, Kind::Subscribe, 7, &[0, 1]).unwrap();
    assert_eq!((found, exchanges.cost()), (Answer::AsIs, cost / 2));
    let strict = exchanges.answer(Kind::Unsubscribe, 8, Some(&[0, 0]), true);
    assert!(strict.is_err(), "one code too many");
    assert!(exchanges.0.is_none(), "an empty exchanges owns no memory");
}

/// One identifier for everything, as some clients do it: each answer belongs to the oldest
/// request of its type, and an answer of the proxy waits for its turn.
#[test]
fn an_identifier_may_be_used_again() {
    let mut exchanges = Exchanges::default();
    exchanges.request(Kind::Subscribe, 42, (1, 10), None, Box::default());
    exchanges.request(
        Kind::Subscribe,
        42,
        (1, 10),
        Some(&[entry(true), entry(false)]),
        Box::default(),
    );
    exchanges.request(Kind::Unsubscribe, 42, (1, 10), None, Box::default());
    let refused = Bytes::from_static(b"refused");
    assert_eq!(exchanges.refuse(Kind::Subscribe, 42, refused.clone()), None);
    assert_eq!(
        exchanges.refuse(Kind::Subscribe, 43, refused.clone()),
        Some(refused.clone())
    );
    assert_eq!(
        answer(&mut exchanges, Kind::Subscribe, 42, &[1]).unwrap(),
        Answer::AsIs
    );
    assert_eq!(exchanges.take_due(), None);
    let merged = answer(&mut exchanges, Kind::Subscribe, 42, &[2]).unwrap();
    assert_eq!(merged, Answer::Codes(vec![0x87, 2]));
    assert_eq!(exchanges.take_due(), Some(vec![refused]));
    answer(&mut exchanges, Kind::Unsubscribe, 42, &[0]).unwrap();
    assert!(exchanges.0.is_none());
}

/// A broker that answers a repeated request once only must not shift all later answers.
#[test]
fn a_request_without_an_answer_is_not_in_the_way() {
    let mut exchanges = Exchanges::default();
    exchanges.request(Kind::Subscribe, 1, (3, 10), None, Box::default());
    exchanges.request(
        Kind::Subscribe,
        1,
        (0, 10),
        Some(&[entry(true)]),
        Box::default(),
    );
    exchanges.request(Kind::Subscribe, 1, (1, 10), None, Box::default());
    assert_eq!(
        answer(&mut exchanges, Kind::Subscribe, 1, &[0]).unwrap(),
        Answer::AsIs
    );
    assert!(exchanges.0.is_none());
}

#[test]
fn requests_are_bounded_and_answers_make_room() {
    let mut exchanges = Exchanges::default();
    let mut count = 0;
    while !exchanges.is_full() {
        exchanges.request(Kind::Subscribe, 1, (1, 64), None, Box::default());
        count += 1;
    }
    assert_eq!(count, MAX_COST / (64 + REQUEST_COST));
    answer(&mut exchanges, Kind::Subscribe, 1, &[0]).unwrap();
    assert!(!exchanges.is_full() && !exchanges.has_room());
    while !exchanges.has_room() {
        answer(&mut exchanges, Kind::Subscribe, 1, &[0]).unwrap();
    }
    assert!(exchanges.cost() > 0);
}

#[test]
fn released_identifiers_are_forgotten() {
    let mut exchanges = Exchanges::default();
    exchanges.answer_locally(5);
    assert!(exchanges.is_answered_locally(5));
    assert!(exchanges.release(5));
    assert!(!exchanges.release(5));
    assert!(exchanges.0.is_none(), "an empty exchanges owns no memory");
}

/// What waits for its answer may be granted yet, by the rules under which it was let through.
#[test]
fn shared_subscriptions_count_from_when_they_are_asked_for() {
    let packet = b"\x82\x0f\x00\x07\x00\x0a$share/g/a\x00";
    let view = View::parse(Version::V311, Direction::ToServer, packet);
    let view = view.unwrap().unwrap();
    let filters = |exchanges: &Exchanges| exchanges.shared().map(|all| all.len());
    for (code, wanted) in [(0, Some(1)), (0x80, Some(0))] {
        let mut exchanges = Exchanges::default();
        exchanges.request(Kind::Subscribe, 7, (1, 17), None, Shared::of(&view));
        assert_eq!(filters(&exchanges), Some(1));
        answer(&mut exchanges, Kind::Subscribe, 7, &[code]).unwrap();
        assert_eq!(filters(&exchanges), wanted);
        assert_eq!(exchanges.size() > 0, code == 0);
        assert_eq!(exchanges.0.is_none(), code != 0);
    }
}
