use mproxy_codec::{
    ConnectBuilder, Kind, PropertyWriter, PublishLayout, QoS, ReasonCode, SubscriptionOptions,
    Value, View, encode_ack, encode_connack, encode_disconnect, encode_publish, encode_suback,
};

use super::*;
use crate::cause::{Cause, Denial, Fault};
use crate::context::Peer;
use crate::error::Violation;
use crate::hook::{Entry, Refusal};
use crate::limits::{ReceiveMaximum, RefusedPublish};

const UP: Direction = Direction::ToServer;
const DOWN: Direction = Direction::ToClient;

/// The rules of a session whose CONNECT was admitted.
pub(crate) fn rules(version: Version, limits: Limits) -> Rules {
    let packet = ConnectBuilder::new(version).client_id("c").build();
    let packet = packet.expect("a valid CONNECT");
    let session = SessionInfo::new(&packet, &Peer::new("test"), None);
    Rules::new(&packet, session, Arc::new(limits))
}

/// The fate of an acknowledgement of the sender in this direction.
fn acked(rules: &mut Rules, direction: Direction, kind: Kind, id: u16, reason: ReasonCode) -> Fate {
    let packet = encode_ack(rules.version(), kind, id, reason, &[]).expect("valid");
    let view = View::parse(rules.version(), direction, &packet).expect("valid");
    let Some(View::Ack(ack)) = view else {
        panic!("an acknowledgement");
    };
    rules.acknowledge(direction, &ack)
}

fn layout(rules: &Rules, direction: Direction, qos: QoS, id: u16, dup: bool) -> PublishLayout {
    let frame = encode_publish(rules.version(), "t", qos, id, &[], b"x").expect("valid");
    let mut frame = frame.to_vec();
    frame[0] |= u8::from(dup) << 3;
    rules.layout(direction, &frame).expect("a layout")
}

fn pubrec(rules: &Rules, id: u16, reason: ReasonCode) -> Bytes {
    encode_ack(rules.version(), Kind::Pubrec, id, reason, &[]).expect("valid")
}

fn violation(end: Option<&Cause>) -> Option<Violation> {
    match end {
        Some(Cause::Fault {
            fault: Fault::Order(violation),
            ..
        }) => Some(*violation),
        _ => None,
    }
}

/// QoS 2 of MQTT 3.1.1 has no word for no: the proxy plays the broker up to PUBCOMP.
#[test]
fn a_refused_qos_2_hand_shake_is_finished_without_the_broker() {
    let mut rules = rules(Version::V311, Limits::default());
    let publish = layout(&rules, UP, QoS::ExactlyOnce, 7, false);
    assert_eq!(rules.repeated(UP, &publish), None);
    let refusal = Refusal::new(ReasonCode::NOT_AUTHORIZED);
    let answer = Some(pubrec(&rules, 7, ReasonCode::SUCCESS));
    let refused = rules.refuse_publish(UP, &publish, Outcome::Refused(&refusal));
    assert_eq!(refused.unwrap(), Refused::Answered(answer.clone()));
    assert_eq!(rules.repeated(UP, &publish), Some(answer));
    let mut release = || acked(&mut rules, UP, Kind::Pubrel, 7, ReasonCode::SUCCESS);
    let pubcomp = Bytes::from_static(b"\x70\x02\x00\x07");
    assert_eq!(release(), Fate::Answer(Some(pubcomp)));
    assert_eq!(release(), Fate::Pass, "only once");
    assert_eq!(rules.repeated(UP, &publish), None);
}

#[test]
fn a_dropped_delivery_is_acknowledged_and_its_release_answered() {
    let mut rules = rules(Version::V5, Limits::default());
    let publish = layout(&rules, DOWN, QoS::ExactlyOnce, 3, false);
    let answer = pubrec(&rules, 3, ReasonCode::SUCCESS);
    let refused = rules.refuse_publish(DOWN, &publish, Outcome::TooLarge);
    assert_eq!(refused.unwrap(), Refused::Answered(Some(answer)));
    let mut release =
        |direction| acked(&mut rules, direction, Kind::Pubrel, 3, ReasonCode::SUCCESS);
    assert_eq!(release(UP), Fate::Pass, "the client's");
    let fate = release(DOWN);
    assert!(matches!(fate, Fate::Answer(Some(_))), "{fate:?}");
}

/// [MQTT-4.3.3-2]
#[test]
fn a_repetition_of_an_earlier_connection_is_ended_at_the_broker_first() {
    let mut rules = rules(Version::V5, Limits::default());
    rules.negotiated.is_resumed = true;
    let publish = layout(&rules, UP, QoS::ExactlyOnce, 9, true);
    let refusal = Refusal::new(ReasonCode::NOT_AUTHORIZED);
    let refused = rules.refuse_publish(UP, &publish, Outcome::Refused(&refusal));
    let Ok(Refused::Recalled(release)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(&release[..4], b"\x62\x02\x00\x09");
    assert_eq!(rules.repeated(UP, &publish), Some(None), "under way");
    let fate = acked(&mut rules, DOWN, Kind::Pubcomp, 9, ReasonCode::SUCCESS);
    let answer = pubrec(&rules, 9, ReasonCode::NOT_AUTHORIZED);
    assert_eq!(fate, Fate::Own(answer));
}

#[test]
fn a_refusal_that_nobody_can_be_told_ends_the_session_where_the_policy_says_so() {
    let limits = Limits::default().refused_publish(RefusedPublish::Disconnect);
    let mut rules = rules(Version::V311, limits);
    let refusal = Refusal::new(ReasonCode::NOT_AUTHORIZED);
    let publish = layout(&rules, UP, QoS::AtLeastOnce, 1, false);
    let end = rules.refuse_publish(UP, &publish, Outcome::Refused(&refusal));
    let what = match end.map_err(|end| *end) {
        Err(Cause::Denied { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    assert_eq!(what, Denial::Publish);
    let silent = rules.refuse_publish(UP, &publish, Outcome::Discarded);
    assert!(matches!(silent, Ok(Refused::Answered(Some(_)))));
    let at_most_once = layout(&rules, UP, QoS::AtMostOnce, 0, false);
    let untold = rules.refuse_publish(UP, &at_most_once, Outcome::Refused(&refusal));
    assert_eq!(untold.unwrap(), Refused::Answered(None));
}

#[test]
fn a_publish_that_a_hook_lowered_is_answered_by_the_proxy() {
    let mut rules = rules(Version::V311, Limits::default());
    for (qos, wanted) in [(QoS::AtLeastOnce, 0x40), (QoS::ExactlyOnce, 0x50)] {
        for direction in [UP, DOWN] {
            let asked = layout(&rules, direction, qos, 5, false);
            let answer = rules.answer_lowered(direction, &asked).unwrap();
            assert_eq!(&answer[..], [wanted, 2, 0, 5]);
        }
    }
}

#[test]
fn answers_are_merged_with_what_hooks_refused_and_wait_for_their_turn() {
    let mut rules = rules(Version::V5, Limits::default());
    let entry = |is_refused: bool| Entry {
        filter: "f".into(),
        options: SubscriptionOptions::new(QoS::AtMostOnce),
        refused: is_refused.then_some(ReasonCode::NOT_AUTHORIZED),
        added: false,
    };
    let entries = [entry(true), entry(false)];
    rules
        .exchanges
        .request(Kind::Subscribe, 4, (1, 20), Some(&entries), Box::default());
    let own = rules.answer_request(Kind::Subscribe, 4, &[0x87], None);
    assert_eq!(own, None, "an earlier one is at the broker");
    assert!(
        rules
            .answer_request(Kind::Unsubscribe, 4, &[0x87], None)
            .is_some()
    );
    let answer = encode_suback(Version::V5, 4, &[], &[1]).expect("valid");
    let view = View::parse(Version::V5, DOWN, &answer).expect("valid");
    let Some(View::Suback(answer)) = view else {
        panic!("a SUBACK");
    };
    let Ok(Fate::Replace(merged)) = rules.answer(Kind::Subscribe, &answer) else {
        panic!("a merged SUBACK");
    };
    assert_eq!(&merged[..], b"\x90\x05\x00\x04\x00\x87\x01");
    assert!(rules.exchanges.take_due().is_some());
    rules
        .exchanges
        .request(Kind::Subscribe, 4, (2, 20), Some(&entries), Box::default());
    let end = rules.answer(Kind::Subscribe, &answer).err();
    assert_eq!(violation(end.as_deref()), Some(Violation::CodeCount));
}

fn disconnect(
    rules: &Rules,
    direction: Direction,
    properties: &[(PropertyId, Value<'_>)],
) -> Result<Fate, Option<Violation>> {
    let mut writer = PropertyWriter::new();
    for (id, value) in properties {
        writer.push(*id, *value).expect("a property");
    }
    let packet = encode_disconnect(Version::V5, ReasonCode::SUCCESS, writer.as_bytes())
        .expect("a DISCONNECT");
    let view = View::parse(Version::V5, direction, &packet).expect("valid");
    let Some(View::Disconnect(disconnect)) = view else {
        panic!("a DISCONNECT");
    };
    let fate = rules.disconnect(direction, &disconnect);
    fate.map_err(|end| violation(Some(&end)))
}

#[test]
fn a_session_that_ends_with_its_connection_is_not_prolonged_at_the_end() {
    let mut rules = rules(Version::V5, Limits::default());
    let expiry = |seconds| [(PropertyId::SessionExpiryInterval, Value::U32(seconds))];
    assert_eq!(disconnect(&rules, UP, &expiry(0)), Ok(Fate::Pass));
    let raised = Err(Some(Violation::SessionExpiryRaised));
    assert_eq!(disconnect(&rules, UP, &expiry(1)), raised);
    rules.negotiated.session_ends = false;
    assert_eq!(disconnect(&rules, UP, &expiry(1)), Ok(Fate::Pass));
}

fn connack(
    rules: &mut Rules,
    present: bool,
    properties: &[(PropertyId, Value<'_>)],
) -> Result<Fate, Option<Violation>> {
    let mut writer = PropertyWriter::new();
    for (id, value) in properties {
        writer.push(*id, *value).expect("a property");
    }
    let version = rules.version();
    let packet = encode_connack(version, present, ReasonCode::SUCCESS, writer.as_bytes());
    let packet = packet.expect("a CONNACK");
    let view = View::parse(version, DOWN, &packet).expect("valid");
    let Some(View::Connack(connack)) = view else {
        panic!("a CONNACK");
    };
    let hooks = HookTraits {
        growth: 10,
        follow_aliases: true,
        blind_to_auth: false,
    };
    let fate = rules.receive_connack(&connack, hooks);
    fate.map_err(|end| violation(Some(&end)))
}

/// What is announced must be what is enforced [MQTT-3.2.2-15].
#[test]
fn what_the_broker_offers_is_lowered_to_what_the_proxy_keeps() {
    let limits = Limits::default()
        .max_packet_size(5000)
        .max_topic_aliases(4)
        .receive_maximum(ReceiveMaximum::Enforce);
    let mut rules = rules(Version::V5, limits);
    assert!(!rules.counts_flights());
    let offer = [
        (PropertyId::ReceiveMaximum, Value::U16(2)),
        (PropertyId::MaximumPacketSize, Value::U32(4000)),
        (PropertyId::TopicAliasMaximum, Value::U16(10)),
    ];
    let Ok(Fate::Replace(told)) = connack(&mut rules, false, &offer) else {
        panic!("another CONNACK");
    };
    let view = View::parse(Version::V5, DOWN, &told).unwrap();
    let Some(View::Connack(told)) = view else {
        panic!("a CONNACK");
    };
    let number = |id| told.properties.number(id);
    assert_eq!(number(PropertyId::MaximumPacketSize), Some(3990));
    assert_eq!(number(PropertyId::TopicAliasMaximum), Some(4));
    assert_eq!(rules.sender_max_packet(UP), 3990);
    assert_eq!(rules.receiver_max_packet(UP), 4000);
    assert!(rules.check_size(UP, Kind::Publish, 3990).is_ok());
    assert!(rules.check_size(UP, Kind::Publish, 3991).is_err());
    assert!(rules.counts_flights());
    for id in 1..=2 {
        let publish = layout(&rules, UP, QoS::AtLeastOnce, id, false);
        assert!(rules.begin_flight(&publish).is_ok());
    }
    let third = layout(&rules, UP, QoS::AtLeastOnce, 3, false);
    let end = rules.begin_flight(&third).err();
    assert_eq!(violation(end.as_deref()), Some(Violation::ReceiveMaximum));
    acked(
        &mut rules,
        DOWN,
        Kind::Pubrec,
        1,
        ReasonCode::NOT_AUTHORIZED,
    );
    acked(&mut rules, DOWN, Kind::Puback, 3, ReasonCode::SUCCESS);
    assert!(rules.begin_flight(&third).is_ok(), "one is answered");
}

#[test]
fn a_connack_that_offers_no_more_than_is_kept_is_left_as_it_is() {
    let mut rules = rules(Version::V5, Limits::default());
    let small = [(PropertyId::MaximumPacketSize, Value::U32(100))];
    let fate = connack(&mut rules, false, &small);
    assert!(matches!(fate, Ok(Fate::Replace(_))), "hooks add ten bytes");
    let mut old = self::rules(Version::V311, Limits::default());
    assert_eq!(connack(&mut old, false, &[]), Ok(Fate::Pass));
    assert!(!old.negotiated.is_resumed);
}

#[test]
fn a_session_that_was_not_asked_for_is_a_fault_of_the_broker() {
    let packet = ConnectBuilder::new(Version::V311)
        .client_id("c")
        .clean_start(true);
    let packet = packet.build().expect("a valid CONNECT");
    let session = SessionInfo::new(&packet, &Peer::new("test"), None);
    let mut rules = Rules::new(&packet, session, Arc::default());
    let unexpected = Err(Some(Violation::UnexpectedSession));
    assert_eq!(connack(&mut rules, true, &[]), unexpected);
}
