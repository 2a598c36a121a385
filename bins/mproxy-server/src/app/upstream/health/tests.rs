//! Which failures and waits make the watch ask the broker.

use super::*;

const INTERVAL: Duration = Duration::from_secs(5);
const SECOND: Duration = Duration::from_secs(1);

fn failure() -> Failure {
    Failure::unanswered("closed", "see its log")
}

/// A broker that has answered its first probe, and the time after that.
fn up(asks: bool) -> (BrokerHealth, Instant) {
    let now = Instant::now();
    let mut health = BrokerHealth::new(asks, INTERVAL, now);
    assert_eq!(health.due(), Some(now));
    health.probe(now);
    health.probed(Ok(()), now);
    (health, now + 10 * SECOND)
}

#[test]
fn nothing_is_known_before_the_first_answer() {
    let now = Instant::now();
    let mut health = BrokerHealth::new(true, INTERVAL, now);
    assert_eq!(*health.verdict(), Verdict::Unknown);
    // clients that fail say nothing that the probe would not say
    assert!(!health.session(Outcome::Unreachable, now));
    assert_eq!(health.due(), Some(now));
    health.probe(now);
    assert!(health.is_probing());
    health.probed(Ok(()), now);
    assert_eq!(*health.verdict(), Verdict::Up);
}

/// mosquitto logged two lines for each probe: 24 a minute, with no client at all.
#[test]
fn a_broker_that_has_answered_is_left_alone() {
    let (mut health, now) = up(true);
    assert_eq!(health.due(), None);
    assert!(!health.session(Outcome::Answered, now));
    assert_eq!(health.due(), None);
}

#[test]
fn a_failed_dial_and_the_last_connection_closed_are_doubts() {
    for outcome in [Outcome::Unreachable, Outcome::LastClosed] {
        let (mut health, now) = up(true);
        assert!(health.session(outcome, now));
        assert_eq!(health.due(), Some(now));
        assert_eq!(*health.verdict(), Verdict::Up, "the probe decides");
        // the next one finds the probe on its way
        assert!(!health.session(outcome, now));
    }
}

#[test]
fn three_connects_in_a_row_without_connack_are_a_doubt() {
    let (mut health, now) = up(true);
    for _ in 0..2 {
        assert!(!health.session(Outcome::Unanswered, now));
    }
    health.session(Outcome::Answered, now);
    for _ in 0..2 {
        assert!(!health.session(Outcome::Unanswered, now));
    }
    assert_eq!((health.due(), health.unanswered()), (None, None));
    assert!(health.session(Outcome::Unanswered, now));
    assert_eq!((health.due(), health.unanswered()), (Some(now), Some(3)));
    assert_eq!(*health.verdict(), Verdict::Up);
}

/// Behind a stopped broker all clients hung, and readiness held for 37 seconds: the first of them
/// failed when `connack_timeout` was over, and until then nothing was wrong.
#[test]
fn a_broker_that_lets_sessions_wait_is_asked() {
    let (mut health, now) = up(true);
    assert!(health.wait(now));
    assert_eq!(health.due(), Some(now + INTERVAL));
    // the time of the first counts, and the watch is set already
    assert!(!health.wait(now + SECOND));
    health.waited();
    assert_eq!(health.due(), Some(now + INTERVAL));
    health.probe(now + INTERVAL);
    assert_eq!(health.due(), None);
    let failed = now + INTERVAL + SECOND;
    health.probed(Err(failure()), failed);
    assert_eq!(*health.verdict(), Verdict::Down(failure()));
    // from now on as after any failure
    assert!(!health.wait(failed));
    assert_eq!(health.due(), Some(failed + SECOND));
}

#[test]
fn nobody_asks_while_sessions_are_answered() {
    let (mut health, mut now) = up(true);
    health.wait(now);
    assert_eq!(health.due(), Some(now + INTERVAL));
    // one waits all the time, and others come and are let in
    for _ in 0..10 {
        now += SECOND;
        // the alarm that is set is early enough
        assert!(!health.wait(now));
        assert!(!health.session(Outcome::Answered, now));
        health.waited();
        let due = health.due().expect("one waits");
        assert_eq!(due, now + INTERVAL);
    }
    health.waited();
    assert_eq!(health.due(), None);
}

/// A broker may keep one client waiting for reasons of its own.
#[test]
fn a_session_that_waits_makes_one_probe_an_interval() {
    let (mut health, mut now) = up(true);
    health.wait(now);
    for _ in 0..3 {
        now += INTERVAL;
        assert_eq!(health.due(), Some(now));
        health.probe(now);
        health.probed(Ok(()), now);
        assert_eq!(*health.verdict(), Verdict::Up);
    }
}

/// Each session is two or three calls; waking the task that watches would be dearer.
#[test]
fn sessions_wake_the_watch_once_an_interval_at_most() {
    let (mut health, now) = up(true);
    assert_eq!(health.due(), None);
    assert!(health.wait(now));
    health.due();
    for ms in 1..100 {
        let now = now + Duration::from_millis(ms);
        assert!(!health.session(Outcome::Answered, now));
        health.waited();
        assert!(!health.wait(now));
    }
}

#[test]
fn a_client_alone_cannot_make_a_broker_unhealthy_that_answers_probes() {
    let (mut health, mut now) = up(true);
    let mut probes = 0;
    for _ in 0..10 {
        health.session(Outcome::Unanswered, now);
        if health.due().is_some_and(|due| due <= now) {
            health.probe(now);
            health.probed(Ok(()), now);
            probes += 1;
        }
        assert_eq!(*health.verdict(), Verdict::Up);
        now += SECOND;
    }
    assert_eq!(probes, 3);
}

/// Nor can it make the proxy connect to the broker more than once a second.
#[test]
fn doubts_that_follow_each_other_make_one_probe_a_second() {
    let (mut health, now) = up(true);
    health.session(Outcome::Unreachable, now);
    health.probe(now);
    health.probed(Ok(()), now);
    let soon = now + SECOND / 10;
    assert!(health.session(Outcome::Unreachable, soon));
    assert_eq!(health.due(), Some(now + SECOND));
}

#[test]
fn probes_that_fail_follow_each_other_up_to_the_interval() {
    let (mut health, mut now) = up(true);
    health.session(Outcome::LastClosed, now);
    for pause in [1, 2, 4, 5, 5] {
        assert_eq!(health.due(), Some(now));
        health.probe(now);
        health.probed(Err(failure()), now);
        assert_eq!(*health.verdict(), Verdict::Down(failure()));
        now += pause * SECOND;
    }
    health.probe(now);
    health.probed(Ok(()), now);
    assert_eq!(health.due(), None);
    // it begins anew
    health.session(Outcome::LastClosed, now + 10 * SECOND);
    health.probe(now + 10 * SECOND);
    health.probed(Err(failure()), now + 10 * SECOND);
    assert_eq!(health.due(), Some(now + 11 * SECOND));
}

#[test]
fn a_session_that_is_answered_ends_the_probing_at_once() {
    let (mut health, now) = up(true);
    health.session(Outcome::LastClosed, now);
    health.probe(now);
    health.probed(Err(failure()), now);
    health.probe(now + SECOND);
    assert!(health.session(Outcome::Answered, now + SECOND));
    assert!(!health.is_probing());
    assert_eq!(*health.verdict(), Verdict::Up);
    // what the probe says now is old
    health.probed(Err(failure()), now + 2 * SECOND);
    assert_eq!(*health.verdict(), Verdict::Up);
    assert_eq!(health.due(), None);
}

#[test]
fn a_doubt_goes_when_a_session_is_answered_first() {
    let (mut health, now) = up(true);
    health.session(Outcome::Unreachable, now);
    assert!(health.session(Outcome::Answered, now));
    assert_eq!(health.due(), None);
}

#[test]
fn connections_are_tried_every_interval_unless_a_session_had_one() {
    let (mut health, now) = up(false);
    assert_eq!(health.due(), Some(now - 10 * SECOND + INTERVAL));
    assert!(!health.session(Outcome::Answered, now));
    assert_eq!(health.due(), Some(now + INTERVAL));
    // CONNACK is not what is checked
    assert!(!health.wait(now));
    for _ in 0..5 {
        assert!(!health.session(Outcome::Unanswered, now));
    }
    assert_eq!(health.due(), Some(now + INTERVAL));
    assert!(health.session(Outcome::Unreachable, now));
    assert_eq!(health.due(), Some(now));
}

#[test]
fn a_short_interval_is_the_pause_from_the_beginning() {
    let now = Instant::now();
    let short = Duration::from_millis(200);
    let mut health = BrokerHealth::new(true, short, now);
    for _ in 0..100 {
        health.probe(now);
        health.probed(Err(failure()), now);
        assert_eq!(health.due(), Some(now + short));
    }
}
