//! Client programs that people use, as they use them, at a broker and through the proxy: what a client
//! sees must not depend on the way.
//!
//! Each program plays the same scenes on both ways at the same time, with one mosquitto. The test writes
//! down what the program saw, and compares the two transcripts: any difference is a failure. A program
//! must also be able to play every scene at the broker; otherwise its transcript would say nothing about
//! the proxy.
//!
//! `MPROXY_PROGRAM=paho` runs only the programs whose row contains this text.

mod bridge;
mod lane;
mod many;
mod program;
mod script;
mod service;
mod summary;
mod ways;

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use futures_util::future::join_all;
use mproxy_tests::Mosquitto;
use tokio::join;

use self::lane::{Lane, Played, Stuck};
use self::program::Program;
use self::service::Service;
use self::summary::side_by_side;
use self::ways::Ways;

const JAVASCRIPT: &[Program] = &[
    Program::tcp("mqttjs.js mqtt2 3.1"),
    Program::tcp("mqttjs.js mqtt2 3.1.1"),
    Program::tcp("mqttjs.js mqtt4 3.1.1"),
    Program::tcp("mqttjs.js mqtt4 5"),
    Program::tcp("mqttjs.js mqtt 3.1.1"),
    Program::tcp("mqttjs.js mqtt 5"),
    Program::tcp("mqttjs.js mqtt 3.1.1 reconnectOnConnackError"),
    Program::tcp("mqttjs.js mqtt 5 reconnectOnConnackError"),
    Program::websocket("mqttjs.js mqtt 3.1.1 ws"),
    Program::websocket("mqttjs.js mqtt 5 ws"),
    Program::websocket("paho_js.js 3.1.1"),
];

const PYTHON: &[Program] = &[
    Program::tcp("paho_python.py 1 3.1.1"),
    Program::tcp("paho_python.py 1 5"),
    Program::tcp("paho_python.py 2 3.1"),
    Program::tcp("paho_python.py 2 3.1.1"),
    Program::tcp("paho_python.py 2 5"),
    Program::tcp("with_aiomqtt.py 3.1.1"),
    Program::tcp("with_aiomqtt.py 5"),
    Program::tcp("with_gmqtt.py 3.1.1"),
    Program::tcp("with_gmqtt.py 5"),
];

const NATIVE: &[Program] = &[
    Program::tcp("mosquitto_sub.py 3.1"),
    Program::tcp("mosquitto_sub.py 3.1.1"),
    Program::tcp("mosquitto_sub.py 5"),
    Program::tcp("libmosquitto.py 3.1"),
    Program::tcp("libmosquitto.py 3.1.1"),
    Program::tcp("libmosquitto.py 5"),
    Program::tcp("awscrt_3.py 3.1.1").up_to_qos_1(),
    Program::tcp("awscrt_5.py 5").up_to_qos_1(),
];

#[tokio::test]
async fn javascript_clients_see_the_same_through_the_proxy() {
    all_see_the_same(JAVASCRIPT).await;
}

#[tokio::test]
async fn python_clients_see_the_same_through_the_proxy() {
    all_see_the_same(PYTHON).await;
}

#[tokio::test]
async fn clients_in_c_see_the_same_through_the_proxy() {
    all_see_the_same(NATIVE).await;
}

async fn all_see_the_same(programs: &[Program]) {
    let only = std::env::var("MPROXY_PROGRAM").unwrap_or_default();
    let programs = programs.iter().filter(|it| it.script.contains(&only));
    let plays = programs.map(async |program| {
        let play = AssertUnwindSafe(play(program)).catch_unwind().await;
        play.unwrap_or_else(|_| Err("panicked, see above".to_owned()))
            .err()
            .map(|error| format!("=== {}\n{error}", program.script))
    });
    let failed: Vec<_> = join_all(plays).await.into_iter().flatten().collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// All scenes, on both ways.
async fn play(program: &Program) -> Result<(), String> {
    let mut broker = Mosquitto::guarded().await;
    let mut ways = Ways::to(&broker, program.transport).await;
    let mut direct = Lane::new("direct", program, ways.direct(), &broker).await;
    let mut through = Lane::new("through", program, ways.through(), &broker).await;

    // how each ended is in its transcript
    let _ = join!(before(&mut direct, &broker), before(&mut through, &broker));

    broker = ways.restart_broker(broker).await;
    let _ = join!(
        after_the_broker(&mut direct, &broker),
        after_the_broker(&mut through, &broker)
    );

    ways.cut().await;
    ways.open().await;
    let _ = join!(
        after_the_way(&mut direct, &broker),
        after_the_way(&mut through, &broker)
    );

    let [left, right] = [direct.transcript(), through.transcript()];
    if left == right && !direct.is_stuck {
        return Ok(());
    }
    let (direct, through) = (direct.last_lines(), through.last_lines());
    let difference = side_by_side(&left, &right);
    Err(format!(
        "{difference}\n--- direct, its last lines\n{direct}\n--- through, its last lines\n{through}"
    ))
}

async fn before(lane: &mut Lane<'_>, broker: &Mosquitto) -> Played {
    script::is_refused(lane).await?;
    script::talks(lane, broker).await?;
    script::is_idle(lane, broker).await?;
    script::is_away(lane, broker).await?;
    script::is_taken_over(lane, broker).await
}

async fn after_the_broker(lane: &mut Lane<'_>, broker: &Mosquitto) -> Played {
    if lane.is_stuck {
        return Err(Stuck);
    }
    lane.service = Service::at(broker, lane.name, "up/#").await;
    script::comes_back(lane, broker, "after the broker").await
}

async fn after_the_way(lane: &mut Lane<'_>, broker: &Mosquitto) -> Played {
    if lane.is_stuck {
        return Err(Stuck);
    }
    script::comes_back(lane, broker, "after the proxy").await?;
    script::dies(lane).await
}
