use std::num::{NonZeroU32, NonZeroUsize};

use mproxy_admin::{BuildInfo, Health, Metrics};
use mproxy_config::Prefer;
use mproxy_session::Rate;
use tokio::task::JoinSet;
use tokio::time;

use super::*;

fn settings() -> Settings {
    Settings {
        rate: None,
        concurrent: None,
        queue: NonZeroUsize::new(10).unwrap(),
        queue_timeout: Duration::from_secs(20),
        prefer: Prefer::Resumed,
        when_full: WhenFull::Close,
    }
}

fn concurrent(most: usize) -> Settings {
    Settings {
        concurrent: NonZeroUsize::new(most),
        ..settings()
    }
}

fn rate(count: u32) -> Settings {
    let rate = |count| Rate::new(count, Duration::from_secs(1));
    Settings {
        rate: NonZeroU32::new(count).map(rate),
        ..settings()
    }
}

fn admission(settings: &Settings) -> (Arc<Admission>, Metrics) {
    let build = BuildInfo::new("mproxy-server", "0.0.0");
    let metrics = Metrics::new(&build, &Health::new(), NonZeroUsize::MIN);
    let admission = Admission::new(settings, metrics.upstream("broker"));
    (admission, metrics)
}

fn now(admission: &Arc<Admission>) -> Permit {
    match admission.enter(None, false) {
        Entered::Now(permit) => permit,
        _ => panic!("has to wait"),
    }
}

fn later(admission: &Arc<Admission>) -> Place {
    match admission.enter(None, false) {
        Entered::Later(place) => place,
        _ => panic!("does not wait"),
    }
}

fn shows(metrics: &Metrics, line: &str) {
    let scrape = metrics
        .render(mproxy_admin::Format::PrometheusText)
        .unwrap();
    let lines: Vec<_> = scrape
        .lines()
        .filter(|it| it.contains("admission"))
        .collect();
    assert!(lines.contains(&line), "{line}: {lines:#?}");
}

#[tokio::test]
async fn as_many_wait_for_connack_as_may() {
    let (admission, metrics) = admission(&concurrent(2));
    let (first, _second) = (now(&admission), now(&admission));
    let third = later(&admission);
    shows(
        &metrics,
        "mproxy_upstream_admission_queue{upstream=\"broker\"} 1",
    );
    drop(first);
    let _third = third.wait().await.unwrap();
    let _fourth = later(&admission);
}

/// A turn that was given to a client that left meanwhile goes to the next one.
#[tokio::test]
async fn a_turn_of_a_client_that_has_left_is_not_lost() {
    let (admission, metrics) = admission(&concurrent(1));
    let permit = now(&admission);
    let (left, given, next) = (later(&admission), later(&admission), later(&admission));
    drop(left);
    shows(
        &metrics,
        "mproxy_upstream_admission_queue{upstream=\"broker\"} 2",
    );
    drop(permit);
    while admission.lock().queue.len() == 2 {
        tokio::task::yield_now().await;
    }
    drop(given);
    let _permit = next.wait().await.unwrap();
    shows(
        &metrics,
        "mproxy_upstream_admission_queue{upstream=\"broker\"} 0",
    );
}

/// The task that gives the turns waited for a permit when the last client left the queue: the permit that came
/// back told nobody, and all who came later waited in vain.
#[tokio::test]
async fn turns_are_given_to_those_who_come_after_everybody_has_left() {
    let (admission, _metrics) = admission(&Settings {
        rate: rate(5).rate,
        ..concurrent(1)
    });
    let permit = now(&admission);
    let left = later(&admission);
    // the task waits for the permit
    tokio::task::yield_now().await;
    drop(left);
    drop(permit);
    let permit = loop {
        match admission.enter(None, false) {
            Entered::Now(permit) => break permit,
            Entered::Later(place) => drop(place),
            Entered::Full(_) => panic!("full"),
        }
        tokio::task::yield_now().await;
    };
    drop(permit);
    let place = later(&admission);
    let waited = timeout(Duration::from_secs(10), place.wait()).await;
    waited.expect("a turn").unwrap();
}

#[tokio::test]
async fn a_full_queue_turns_clients_away() {
    let (admission, metrics) = admission(&Settings {
        queue: NonZeroUsize::MIN,
        ..concurrent(1)
    });
    let _permit = now(&admission);
    let _place = later(&admission);
    let Entered::Full(busy) = admission.enter(None, true) else {
        panic!("not full");
    };
    assert_eq!(busy, Busy::full(false));
    shows(
        &metrics,
        "mproxy_upstream_admission_refused_total{upstream=\"broker\",reason=\"queue\"} 1",
    );
}

/// Clients that came together must not come back together.
#[tokio::test(start_paused = true)]
async fn who_waits_too_long_is_turned_away_at_a_time_of_its_own() {
    let (admission, metrics) = admission(&Settings {
        when_full: WhenFull::Connack,
        ..concurrent(1)
    });
    let _permit = now(&admission);
    let begin = time::Instant::now();
    let mut waits = JoinSet::new();
    for _ in 0..10 {
        let place = later(&admission);
        waits.spawn(async move {
            let busy = place.wait().await.unwrap_err();
            (busy, begin.elapsed())
        });
    }
    let mut all = Vec::new();
    for (busy, waited) in waits.join_all().await {
        assert_eq!(busy, Busy::late(true));
        let range = Duration::from_secs(15)..=Duration::from_millis(20_001);
        assert!(range.contains(&waited), "{waited:?}");
        all.push(waited);
    }
    all.sort();
    all.dedup();
    assert!(all.len() > 5, "{all:?}");
    shows(
        &metrics,
        "mproxy_upstream_admission_queue{upstream=\"broker\"} 0",
    );
}

#[tokio::test]
async fn new_limits_count_for_those_who_wait() {
    let hour = Duration::from_secs(3600);
    let (admission, _metrics) = admission(&Settings {
        rate: Some(Rate::new(NonZeroU32::MIN, hour)),
        ..settings()
    });
    let _permit = now(&admission);
    let (first, second) = (later(&admission), later(&admission));
    admission.set(&rate(1000));
    let _first = first.wait().await.unwrap();
    admission.set(&concurrent(2));
    let third = later(&admission);
    let _second = second;
    admission.set(&settings());
    let _third = third.wait().await.unwrap();
    assert!(!admission.is_on());
}

/// However many come at once, and however busy the threads are that they are called on.
#[tokio::test]
async fn a_crowd_goes_at_the_rate() {
    let (admission, _metrics) = admission(&Settings {
        queue: NonZeroUsize::new(10_000).unwrap(),
        ..rate(200)
    });
    let mut crowd = JoinSet::new();
    for _ in 0..300 {
        let admission = Arc::clone(&admission);
        crowd.spawn(async move {
            let permit = match admission.enter(None, false) {
                Entered::Now(permit) => permit,
                Entered::Later(place) => place.wait().await.unwrap(),
                Entered::Full(_) => panic!("full"),
            };
            drop(permit);
            Instant::now()
        });
    }
    at_most(200, crowd.join_all().await);
}

fn at_most(rate: usize, mut times: Vec<Instant>) {
    times.sort();
    for (index, since) in times.iter().enumerate() {
        let second = *since + Duration::from_secs(1);
        let within = times[index..].partition_point(|at| *at < second);
        assert!(within <= rate, "{within} in a second");
    }
}

/// A thread that is busy with a crowd finishes many dials at once. The broker got their CONNECTs together:
/// more than its rate in the second that followed.
#[tokio::test]
async fn what_connects_together_is_sent_at_the_rate() {
    const LATE: Duration = Duration::from_millis(400);
    let (admission, _metrics) = admission(&Settings {
        queue: NonZeroUsize::new(10_000).unwrap(),
        ..rate(100)
    });
    let begin = time::Instant::now();
    let mut crowd = JoinSet::new();
    for _ in 0..150 {
        let admission = Arc::clone(&admission);
        crowd.spawn(async move {
            let _permit = match admission.enter(None, false) {
                Entered::Now(permit) => permit,
                Entered::Later(place) => place.wait().await.unwrap(),
                Entered::Full(_) => panic!("full"),
            };
            sleep_until(begin + LATE).await;
            admission.sends().await;
            Instant::now()
        });
    }
    at_most(100, crowd.join_all().await);
    // those that were late, and then the others, as if nothing had been
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
}

/// Otherwise more and more would be connected that may not send CONNECT.
#[tokio::test]
async fn nobody_has_a_turn_while_a_client_may_not_send_connect_yet() {
    let (admission, _metrics) = admission(&rate(1));
    admission.sends().await;
    let mut early = Box::pin(admission.sends());
    assert!(timeout(Duration::ZERO, &mut early).await.is_err());
    let place = later(&admission);
    drop(early);
    let _permit = place.wait().await.unwrap();
}

#[tokio::test]
async fn a_new_rate_counts_for_those_who_may_not_send_connect_yet() {
    let hour = Duration::from_secs(3600);
    let (admission, _metrics) = admission(&Settings {
        rate: Some(Rate::new(NonZeroU32::MIN, hour)),
        ..settings()
    });
    admission.sends().await;
    for settings in [rate(1000), concurrent(1), settings()] {
        let mut early = Box::pin(admission.sends());
        assert!(timeout(Duration::ZERO, &mut early).await.is_err());
        admission.set(&settings);
        early.await;
        admission.set(&Settings {
            rate: Some(Rate::new(NonZeroU32::MIN, hour)),
            ..settings
        });
        admission.sends().await;
    }
}
