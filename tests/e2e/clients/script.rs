//! What every client does, scene by scene.

use mproxy_tests::wire::Connect;
use mproxy_tests::{Link, Mosquitto, PASSWORD, USER};
use serde_json::json;

use super::lane::{Lane, PATIENCE, Played};
use super::service::Service;

/// How many messages of QoS 1 come at once: far more than brokers and clients keep in flight.
pub(super) const BURST: u16 = 300;

/// How many PINGREQs an idle client sends before it is believed that it lives on.
const PINGS: usize = 3;

/// What a client sees that connects, or comes back.
const UP: [(&str, usize); 2] = [("connected", 1), ("subscribed", 1)];

/// With the wrong password.
pub(super) async fn is_refused(lane: &mut Lane<'_>) -> Played {
    lane.open("wrong").await?;
    // waits, and is not yet written down
    lane.wait(&[("refused", 1)]).await.ok();
    // those that try again would do so for as long as they are let
    lane.tell(&json!({"do": "close"})).await?;
    lane.step_of("refused", "refused", &[("closed", 1)]).await
}

/// With the right one: messages of every QoS in both directions, retained ones, many at once.
pub(super) async fn talks(lane: &mut Lane<'_>, broker: &Mosquitto) -> Played {
    lane.service.publish("down/kept", 1, true, &["kept"]).await;
    lane.open(PASSWORD).await?;
    lane.step("opened", &[UP[0], UP[1], ("message down/kept", 1)])
        .await?;
    // an empty one removes it, so that it does not come with every subscription
    lane.service.publish("down/kept", 1, true, &[""]).await;
    lane.step("retained", &[("message down/kept", 1)]).await?;
    lane.publish("up/kept", 1, true, "kept").await?;
    lane.step("retains", &[("published", 1)]).await?;
    lane.received("retains", 1).await?;
    let mut late = Service::at(broker, lane.name, "up/kept").await;
    let messages = late.messages(1, PATIENCE).await;
    lane.record("retains, received later", messages);
    late.leave().await;
    lane.service.publish("up/kept", 1, true, &[""]).await;
    lane.received("forgets", 1).await?;

    for qos in 0..=lane.program.qos {
        let what = format!("QoS {qos}");
        lane.publish("up/qos", qos, false, "up").await?;
        lane.service
            .publish("down/qos", qos, false, &["down"])
            .await;
        lane.step(&what, &[("published", 1), ("message down/qos", 1)])
            .await?;
        lane.received(&what, 1).await?;
    }

    let topic = format!("{}/up/burst", lane.name);
    lane.tell(&json!({"do": "burst", "topic": topic, "count": BURST}))
        .await?;
    let numbers: Vec<_> = (1..=BURST).map(|it| it.to_string()).collect();
    let numbers: Vec<_> = numbers.iter().map(String::as_str).collect();
    lane.service.publish("down/burst", 1, false, &numbers).await;
    let count = usize::from(BURST);
    lane.step(
        "burst",
        &[("burst published", 1), ("message down/burst", count)],
    )
    .await?;
    lane.received("burst", count).await?;
    lane.settle(broker).await
}

/// Nothing but its keep alive, for several times that long.
pub(super) async fn is_idle(lane: &mut Lane<'_>, broker: &Mosquitto) -> Played {
    let wanted = format!("Received PINGREQ from {}", lane.client_id());
    let pings = move |lines: &[String]| lines.iter().filter(|it| it.ends_with(&wanted)).count();
    let before = pings(&broker.process().lines());
    let enough = |lines: &[String]| pings(lines) >= before + PINGS;
    if !broker.process().lines_are(PATIENCE, enough).await {
        return lane.stuck("idle: no PINGREQ");
    }
    lane.service
        .publish("down/idle", 1, false, &["awake"])
        .await;
    lane.step("idle", &[("message down/idle", 1)]).await?;
    lane.settle(broker).await
}

/// It leaves, so that there is no will; what comes for it meanwhile waits.
pub(super) async fn is_away(lane: &mut Lane<'_>, broker: &Mosquitto) -> Played {
    lane.tell(&json!({"do": "close"})).await?;
    lane.step("away", &[("closed", 1)]).await?;
    let messages = lane.service.all(PATIENCE).await;
    lane.record("away, received", messages);
    lane.service
        .publish("down/away", 1, false, &["1", "2", "3"])
        .await;
    lane.open(PASSWORD).await?;
    lane.step("resumed", &[UP[0], UP[1], ("message down/away", 3)])
        .await?;
    lane.settle(broker).await
}

/// Somebody else connects with its client identifier; it comes back, and that sends the other one away.
pub(super) async fn is_taken_over(lane: &mut Lane<'_>, broker: &Mosquitto) -> Played {
    let mut other = Link::tcp(broker.addr()).await;
    let connect = Connect::new(lane.program.version(), &lane.client_id());
    other
        .connect(&connect.persistent().credentials(USER, PASSWORD))
        .await;
    lane.step("taken over", &[("disconnected", 1), UP[0], UP[1]])
        .await?;
    let (packets, rest) = other.rest().await;
    lane.record(
        "taken over, the other one",
        vec![format!("{packets:02x?} {rest:?}")],
    );
    let messages = lane.service.all(PATIENCE).await;
    lane.record("taken over, received", messages);
    Ok(())
}

/// Its connection ended, and the way is there again: it comes back by itself, and gets what waits.
pub(super) async fn comes_back(lane: &mut Lane<'_>, broker: &Mosquitto, after: &str) -> Played {
    lane.service
        .publish("down/back", 1, false, &["welcome"])
        .await;
    let wanted = [("disconnected", 1), UP[0], UP[1], ("message down/back", 1)];
    lane.step(after, &wanted).await?;
    lane.publish("up/back", 1, false, "thanks").await?;
    lane.step(after, &[("published", 1)]).await?;
    let mut messages = lane.service.all(PATIENCE).await;
    // mproxy says DISCONNECT for its clients when it stops, unless it is told otherwise by
    // `drain_wills`; a cable that is cut says nothing
    messages.retain(|message| !message.starts_with("up/will "));
    lane.record(&format!("{after}, received"), messages);
    lane.settle(broker).await
}

/// It is killed, and its will is published.
pub(super) async fn dies(lane: &mut Lane<'_>) -> Played {
    lane.kill();
    lane.received("dead", 1).await
}
