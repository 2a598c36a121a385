//! Events through a limiter, with a clock that the test has.

use super::*;
use std::sync::Arc;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

/// What the limiter decided, in the order of the events: `None` for a line that was left out, or what
/// it says about those before it.
type Decided = Vec<Option<Option<(u64, Option<String>)>>>;

/// Has a limiter decide, at a time that is set.
#[derive(Clone)]
struct Clocked {
    limiter: Arc<Limiter>,
    now: Arc<Mutex<Instant>>,
    decided: Arc<Mutex<Decided>>,
}

impl<S: tracing::Subscriber> Layer<S> for Clocked {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let now = *self.now.lock().unwrap();
        let decision = match self.limiter.judge(event, now) {
            Decision::Write(gap) => Some(gap.map(shown)),
            Decision::LeaveOut { .. } => None,
        };
        self.decided.lock().unwrap().push(decision);
    }
}

fn shown(gap: Gap) -> (u64, Option<String>) {
    (gap.suppressed, gap.top.map(|top| top.to_string()))
}

impl Clocked {
    fn new(repeats: Option<Allowance>) -> Self {
        let limiter = Limiter::new(repeats, LogMetrics::default());
        let start = limiter.start;
        Self {
            limiter: Arc::new(limiter),
            now: Arc::new(Mutex::new(start)),
            decided: Arc::default(),
        }
    }

    /// So many milliseconds after the start.
    fn at(&self, millis: u64, events: impl FnOnce()) -> Decided {
        *self.now.lock().unwrap() = self.limiter.start + Duration::from_millis(millis);
        let subscriber = tracing_subscriber::registry().with(self.clone());
        tracing::subscriber::with_default(subscriber, events);
        std::mem::take(&mut *self.decided.lock().unwrap())
    }

    fn reports(&self, millis: u64, all: bool) -> Vec<Report> {
        let now = self.limiter.start + Duration::from_millis(millis);
        self.limiter.reports(now, all)
    }
}

const A_SECOND: Option<Allowance> = Some(Allowance {
    burst: 20,
    interval: Duration::from_millis(500),
});

fn refuse(reason: &str, peer: &str) {
    tracing::warn!(target: "mproxy::session", event = "refuse", listener = "mqtt", peer = %peer, reason, "refused");
}

fn written(decided: &Decided) -> usize {
    decided.iter().flatten().count()
}

#[test]
fn ten_lines_of_a_kind_and_then_ten_a_second() {
    let clocked = Clocked::new(None);
    let flood = || (0..100).for_each(|_| refuse("eof", "192.0.2.7:1"));
    assert_eq!(written(&clocked.at(0, flood)), 10);
    assert_eq!(written(&clocked.at(99, flood)), 0);
    // one at a time, each of which says what was left out before it
    for tenth in 1..=10 {
        let decided = clocked.at(tenth * 100, flood);
        assert_eq!(written(&decided), 1);
        let suppressed = if tenth == 1 { 190 } else { 99 };
        let top = format!("192.0.2.7 ({suppressed})");
        assert_eq!(decided[0], Some(Some((suppressed, Some(top)))));
    }
    // after a second without any, ten at once again
    assert_eq!(written(&clocked.at(60_000, flood)), 10);
}

/// One client that was refused again and again hid that another one was refused for another reason.
#[test]
fn a_flood_hides_nothing_of_another_kind() {
    let clocked = Clocked::new(A_SECOND);
    let decided = clocked.at(0, || {
        (0..1000).for_each(|_| refuse("eof", "192.0.2.7:1"));
        refuse("malformed", "192.0.2.7:1");
        tracing::warn!(target: "mproxy::session", event = "refuse", listener = "other", reason = "eof", "refused");
        tracing::info!(target: "mproxy::session", event = "refuse", listener = "mqtt", reason = "eof", "refused");
    });
    assert_eq!(written(&decided), 13);
    assert_eq!(decided[1000..], [Some(None), Some(None), Some(None)]);
}

#[test]
fn lines_at_info_have_a_rate_of_their_own_or_none() {
    let connect = || {
        for _ in 0..100 {
            tracing::info!(target: "mproxy::session", event = "connect", "connected");
        }
    };
    let clocked = Clocked::new(A_SECOND);
    assert_eq!(written(&clocked.at(0, connect)), 20);
    assert_eq!(written(&clocked.at(1000, connect)), 2);
    let clocked = Clocked::new(None);
    assert_eq!(written(&clocked.at(0, connect)), 100);
    assert!(!clocked.limiter.owes());
}

#[test]
fn the_numbers_add_up_and_the_top_is_named() {
    let clocked = Clocked::new(None);
    let mut told = 0;
    for tenth in 0..50 {
        let decided = clocked.at(tenth * 100, || {
            (0..90).for_each(|_| refuse("eof", "192.0.2.9:4711"));
            (0..10).for_each(|port| refuse("eof", &format!("192.0.2.{port}:4711")));
        });
        told += written(&decided) as u64;
        for (suppressed, top) in decided.into_iter().flatten().flatten() {
            told += suppressed;
            let top = top.expect("nine of ten are of one address");
            assert!(top.starts_with("192.0.2.9 ("), "{top}");
        }
    }
    let reports = clocked.reports(5000, true);
    let [report] = &reports[..] else {
        panic!("{reports:?}");
    };
    assert_eq!(report.names.get("reason"), Some("eof"));
    assert_eq!(report.target, Some("mproxy::session"));
    assert_eq!(told + report.gap.suppressed, 5000);
}

/// A session says itself how many denials it did not log; such a line that is left out took that
/// number with it.
#[test]
fn what_a_line_says_itself_is_added() {
    let clocked = Clocked::new(None);
    let deny = |suppressed: u64| {
        tracing::warn!(target: "mproxy::access", event = "deny", suppressed, "denied");
    };
    clocked.at(0, || (0..12).for_each(|_| deny(5)));
    // two that were left out, five before each of them, and seven before this one
    assert_eq!(clocked.at(100, || deny(7)), [Some(Some((19, None)))]);
}

#[test]
fn the_end_of_a_flood_is_told_when_no_line_follows() {
    let clocked = Clocked::new(None);
    clocked.at(0, || (0..11).for_each(|_| refuse("eof", "192.0.2.7:1")));
    assert!(clocked.limiter.owes());
    assert!(clocked.reports(999, false).is_empty());
    assert!(clocked.limiter.owes());
    let [report] = &clocked.reports(1000, false)[..] else {
        panic!("one kind");
    };
    assert_eq!(shown(report.gap), (1, Some("192.0.2.7 (1)".to_owned())));
    assert!(!clocked.limiter.owes());
    assert!(clocked.reports(5000, true).is_empty());
    assert_eq!(
        clocked.at(6000, || refuse("eof", "192.0.2.7:1")),
        [Some(None)]
    );
}

/// With a rate of one in an hour, the next line of a kind may be an hour away.
#[test]
fn a_flood_that_does_not_end_is_told_every_ten_seconds() {
    let an_hour = Allowance {
        burst: 1,
        interval: Duration::from_secs(3600),
    };
    let clocked = Clocked::new(Some(an_hour));
    let mut told = Vec::new();
    for half in 0..60 {
        clocked.at(half * 500, || {
            tracing::info!(target: "mproxy::session", event = "connect", "connected");
        });
        let reports = clocked.reports(half * 500, false);
        told.extend(reports.iter().map(|it| it.gap.suppressed));
    }
    assert_eq!(told, [21, 21]);
}

#[test]
fn kinds_without_number_share_a_place_and_the_process_has_its_own() {
    let clocked = Clocked::new(A_SECOND);
    let decided = clocked.at(0, || {
        for number in 0..10 * KINDS {
            refuse(&number.to_string(), "192.0.2.7:1");
        }
    });
    // each of the first had a place, the rest one together
    assert_eq!(written(&decided), KINDS + 10);
    for name in 0..30 {
        let name = name.to_string();
        let listen = || tracing::info!(target: "mproxy::server", event = "listen", listener = name, "listening");
        assert_eq!(clocked.at(0, listen), [Some(None)], "{name}");
    }
    let reports = clocked.reports(0, true);
    let [report] = &reports[..] else {
        panic!("{reports:?}");
    };
    assert_eq!(report.target, None);
    assert_eq!(report.gap.suppressed as usize, 9 * KINDS - 10);
    assert!(clocked.limiter.lock().kinds.len() <= KINDS + 30);

    // later, there is room again
    let decided = clocked.at(60_000, || refuse("new", "192.0.2.7:1"));
    assert_eq!(decided, [Some(None)]);
    assert_eq!(clocked.limiter.lock().kinds.len(), 1);
}
