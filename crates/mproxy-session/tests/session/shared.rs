//! Shared subscriptions of a client whose rules change.

use mproxy_codec::{KindSet, ReasonCode, Subscription, Version};
use mproxy_session::{
    BoxPacketService, CloseReason, Forward, Hooks, OnSubscribeLayer, RewriteLayer, Side, Tap,
};
use tower_layer::Layer;

use crate::renewal::{Boxed, Rules, VERSIONS, admitting, no_hooks, renew};
use crate::support::hooks::Seen;
use crate::support::{Frames, Pair, settle};

/// Hooks that refuse filters with `denied` in them.
fn judging(seen: &Seen) -> Boxed {
    let seen = seen.clone();
    let judge = OnSubscribeLayer::new(move |subscription: Subscription<'_>| {
        seen.push(subscription.filter.as_str());
        match subscription.filter.contains("denied") {
            true => Err(ReasonCode::NOT_AUTHORIZED),
            false => Ok(()),
        }
    });
    let tap = Tap::only(KindSet::SUBSCRIBE, judge.layer(Forward));
    Hooks::new(tap.convert(BoxPacketService::new), none())
}

fn none() -> Tap<BoxPacketService> {
    Tap::none().convert(BoxPacketService::new)
}

async fn asks(pair: &Pair, request: &[u8], answer: &[u8]) {
    pair.client.send(request);
    pair.broker.expect(request).await;
    pair.broker.send(answer);
    pair.client.expect(answer).await;
}

/// Judges the session by [`judging`], and says what was judged.
async fn judged(rules: &Rules, pair: &Pair) -> Vec<String> {
    let seen = Seen::default();
    let notes = seen.clone();
    rules.change(admitting(move |_| judging(&notes)));
    renew(pair);
    settle().await;
    seen.take()
}

async fn ends(pair: Pair) {
    pair.client.expect(b"").await;
    pair.broker.expect(b"\xe0\0").await;
    let summary = pair.end().await;
    assert_eq!(
        (summary.side, summary.reason, summary.to_server.denied),
        (Side::Proxy, CloseReason::RulesChanged, 1)
    );
    let detail = summary.detail.unwrap_or_default();
    assert!(detail.contains("a shared subscription"), "{detail}");
}

/// The client stayed a member of its group, and its share of the messages was lost: deliveries were
/// denied, and the broker gave them to nobody else.
#[tokio::test(start_paused = true)]
async fn a_session_ends_whose_shared_subscription_the_new_rules_refuse() {
    for version in VERSIONS {
        let f = Frames(version);
        let rules = Rules::admitting(|_| no_hooks());
        let pair = rules.connected(version).await;
        let filters = ["denied", "$share/g/a", "$share/g/denied"];
        asks(&pair, &f.subscribe(1, &filters), &f.suback(1, &[0, 0, 0])).await;
        assert_eq!(
            judged(&rules, &pair).await,
            ["$share/g/a", "$share/g/denied"],
            "other subscriptions take nothing from others"
        );
        ends(pair).await;
    }
}

/// Nobody who has no shared subscription is asked about it: not any more, never granted, or refused by
/// the rules of before.
#[tokio::test(start_paused = true)]
async fn only_what_the_client_has_is_judged_again() {
    for version in VERSIONS {
        let f = Frames(version);
        let rules = Rules::admitting(|_| judging(&Seen::default()));
        let pair = rules.connected(version).await;
        pair.client
            .send(&f.subscribe(1, &["$share/g/denied", "$share/g/a", "$share/g/b"]));
        pair.broker
            .expect(&f.subscribe(1, &["$share/g/a", "$share/g/b"]))
            .await;
        pair.broker.send(&f.suback(1, &[0, 0x80]));
        let refused = if version.is_v5() { 0x87 } else { 0x80 };
        pair.client.expect(&f.suback(1, &[refused, 0, 0x80])).await;
        assert_eq!(judged(&rules, &pair).await, ["$share/g/a"]);
        // judged again by each new rules
        pair.handle.renew(2);
        settle().await;
        asks(
            &pair,
            &f.unsubscribe(2, &["$share/g/a"]),
            &f.unsuback(2, &[0]),
        )
        .await;
        let seen = Seen::default();
        let notes = seen.clone();
        rules.change(admitting(move |_| judging(&notes)));
        pair.handle.renew(3);
        settle().await;
        assert!(seen.take().is_empty() && pair.is_running());
        pair.end().await;
    }
}

/// A SUBSCRIBE that the broker has not answered was let through by the old rules.
#[tokio::test(start_paused = true)]
async fn a_subscription_that_is_not_granted_yet_is_judged_too() {
    let f = Frames(Version::V5);
    let rules = Rules::admitting(|_| no_hooks());
    let pair = rules.connected(Version::V5).await;
    let request = f.subscribe(1, &["$queue/denied"]);
    pair.client.send(&request);
    pair.broker.expect(&request).await;
    assert_eq!(judged(&rules, &pair).await, ["$queue/denied"]);
    ends(pair).await;
}

/// New rules are shown what the client wrote. What they make of it stays here: the broker has what it
/// has, and answers no SUBSCRIBE that it was not sent.
#[tokio::test(start_paused = true)]
async fn rules_that_would_write_it_otherwise_change_nothing() {
    let f = Frames(Version::V5);
    let seen = Seen::default();
    let notes = seen.clone();
    let mapping = move |_: &_| {
        let notes = notes.clone();
        let map = RewriteLayer::new(move |packet: &mut mproxy_session::Packet| {
            notes.push(format!("{}", packet.is_renewal()));
            packet
                .map_filters(|filter| Ok(Some(filter.replace("/a", "/b"))))
                .map(drop)
        });
        let tap = Tap::only(KindSet::SUBSCRIBE, map.layer(Forward));
        Hooks::new(tap.convert(BoxPacketService::new), none())
    };
    let rules = Rules::admitting(mapping);
    let pair = rules.connected(Version::V5).await;
    pair.client.send(&f.subscribe(1, &["$share/g/a"]));
    pair.broker.expect(&f.subscribe(1, &["$share/g/b"])).await;
    pair.broker.send(&f.suback(1, &[0]));
    pair.client.expect(&f.suback(1, &[0])).await;
    renew(&pair);
    settle().await;
    assert_eq!(seen.take(), ["false", "true"]);
    assert_eq!(judged(&rules, &pair).await, ["$share/g/a"]);
    asks(&pair, &f.pingreq(), &f.pingresp()).await;
    pair.end().await;
}

/// More than hooks are to judge at once are not judged in part.
#[tokio::test(start_paused = true)]
async fn too_many_shared_subscriptions_end_the_session() {
    let f = Frames(Version::V311);
    let rules = Rules::admitting(|_| no_hooks());
    let setup = crate::support::Setup::new().limits(|limits| limits.max_filters = 2);
    let pair = setup.connected(Version::V311, rules.stage()).await;
    for id in 1..=3 {
        let filter = format!("$share/g/{id}");
        asks(&pair, &f.subscribe(id, &[&filter]), &f.suback(id, &[0])).await;
    }
    assert!(judged(&rules, &pair).await.is_empty());
    let summary = pair.end().await;
    assert_eq!(summary.reason, CloseReason::RulesChanged);
}
