//! Hooks that block: a slow poll delays all sessions of its thread, and is logged.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::time::Duration;

use mproxy_codec::{Direction, Kind};
use tokio::time::Instant;

use crate::context::SessionInfo;
use crate::error::packet_name;
use crate::recorder::Recorder;

/// How long a poll of hooks may take. A service that waits returns at once and is woken later; only
/// one that blocks, or computes, takes this long, or one whose thread the system did not run.
const SLOW: Duration = Duration::from_millis(100);

/// Maximum bytes of a stack's name in a log line.
const SHOWN_NAME: usize = 160;

/// Names of types that say nothing about what a stack does.
const NOISE: [&str; 11] = [
    "Arc", "Box", "Error", "Forward", "HeadOnly", "Heads", "Packet", "Send", "Sync", "Tap", "Whole",
];

/// Since when hooks run without a pause.
#[derive(Clone, Copy)]
pub(crate) struct Running {
    since: Instant,
    /// The type of the packet that they were offered last.
    kind: Kind,
}

impl Running {
    pub(crate) fn now(kind: Kind) -> Self {
        Self {
            since: Instant::now(),
            kind,
        }
    }

    pub(crate) const fn goes_on_with(&mut self, kind: Kind) {
        self.kind = kind;
    }
}

/// Counts the slow polls of a direction: the first is logged when it happens, and how many there were
/// after it when the session ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlowPolls(u16);

impl SlowPolls {
    pub(crate) const fn none() -> Self {
        Self(0)
    }

    /// Hooks of the type `S` have run.
    #[inline]
    pub(crate) fn ran<S>(
        &mut self,
        running: Running,
        session: &SessionInfo,
        direction: Direction,
        recorder: &dyn Recorder,
    ) {
        let took = running.since.elapsed();
        if took > SLOW {
            self.0 = self.0.saturating_add(1);
            if self.0 == 1 {
                let first = (took, &*packet_name(running.kind));
                line::<S>(session, direction, recorder, Some(first), 0);
            }
        }
    }

    /// The session ends.
    pub(crate) fn end<S>(
        self,
        session: &SessionInfo,
        direction: Direction,
        recorder: &dyn Recorder,
    ) {
        if self.0 > 1 {
            line::<S>(session, direction, recorder, None, self.0 - 1);
        }
    }
}

/// Watches polls of hooks of type `S` with a CONNECT or a will; logs the first slow poll.
pub(crate) async fn watched<S, F: Future>(
    future: F,
    what: &'static str,
    session: SessionInfo,
    recorder: &dyn Recorder,
) -> F::Output {
    let mut future = pin!(future);
    let mut is_told = false;
    poll_fn(|cx| {
        let since = Instant::now();
        let polled = future.as_mut().poll(cx);
        let took = since.elapsed();
        if took > SLOW && !is_told {
            is_told = true;
            let first = Some((took, what));
            line::<S>(&session, Direction::ToServer, recorder, first, 0);
        }
        polled
    })
    .await
}

#[cold]
fn line<S>(
    session: &SessionInfo,
    direction: Direction,
    recorder: &dyn Recorder,
    first: Option<(Duration, &str)>,
    suppressed: u16,
) {
    let layers = recorder.layers();
    let took_ms = first.map(|(took, _)| u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    tracing::warn!(
        target: "mproxy::session",
        event = "block",
        listener = &*session.peer().listener,
        peer = %session.peer(),
        client_id = session.client_id(),
        direction = match direction {
            Direction::ToServer => "to_server",
            Direction::ToClient => "to_client",
        },
        packet = first.map(|(_, packet)| packet),
        layer = layers.unwrap_or_else(|| short(std::any::type_name::<S>())),
        took_ms,
        remedy = "a layer must not block: await, or use spawn_blocking; if none blocks, give the process more CPU",
        suppressed = (suppressed > 0).then_some(suppressed),
        "{}",
        if first.is_some() { "hooks blocked their thread" } else { "hooks blocked their thread again" }
    );
}

/// The name of a type without paths and without parts that every stack has: `RateLimit<Filter<Forward,
/// {{closure}} of acl::hooks>>` is `RateLimit, Filter, acl::hooks`.
fn short(name: &str) -> String {
    let mut short = String::new();
    let is_path = |it: char| it.is_alphanumeric() || matches!(it, '_' | ':' | '{' | '}' | '#');
    for path in name.split(|it| !is_path(it)) {
        let path = path.trim_matches(':');
        // the place of a closure says more than that it is one
        let (place, parts) = match path.split_once("::{{closure}}") {
            Some((place, _)) => (place, 2),
            None => (path, 1),
        };
        let Some(last) = place.rsplit("::").next().filter(|last| !last.is_empty()) else {
            continue;
        };
        if parts == 1 && (NOISE.contains(&last) || last.starts_with(char::is_lowercase)) {
            continue;
        }
        let from = place.rmatch_indices("::").nth(parts - 1);
        let shown = from.map_or(place, |(at, _)| &place[at + 2..]);
        if short.len() + shown.len() > SHOWN_NAME {
            break;
        }
        if !short.ends_with(shown) {
            if !short.is_empty() {
                short.push_str(", ");
            }
            short.push_str(shown);
        }
    }
    if short.is_empty() {
        short.push_str("unnamed");
    }
    short
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn names_are_short_and_say_what_a_stack_is_of() {
        for (name, wanted) in [
            (
                "mproxy_session::hook::heads::Heads<tower::limit::rate::service::RateLimit<\
                 mproxy_session::hook::filter::Filter<mproxy_session::hook::forward::Forward, \
                 mproxy_session::hook::on_kind::OnPublish<acl::hooks::{{closure}}>>>>",
                "RateLimit, Filter, OnPublish, acl::hooks",
            ),
            ("gateway::Tenants", "Tenants"),
            (
                "tower::util::service_fn::ServiceFn<session::slow::blocking::{{closure}}::{{closure}}>",
                "ServiceFn, slow::blocking",
            ),
            ("mproxy_session::hook::forward::Forward", "unnamed"),
            ("&mut dyn core::marker::Send", "unnamed"),
            ("", "unnamed"),
        ] {
            assert_eq!(short(name), wanted, "{name}");
        }
        let long = format!("A<{}>", "VeryLongNameOfALayer".repeat(20));
        assert_eq!(short(&long), "A");
    }
}
