use super::*;
use crate::limits::{Limits, WhenUnreachable};
use crate::summary::CloseReason;
use mproxy_codec::Version;

fn account(end: &Cause, answered: bool) -> (Side, CloseReason, Option<String>) {
    let account = end.account(answered, Some(Version::V5));
    (account.side, account.reason, account.detail)
}

/// Until it has answered CONNECT a broker that goes is one that was never there, however it goes.
#[test]
fn what_a_broken_connection_is_depends_on_connack() {
    let reset = || io::Error::from(io::ErrorKind::ConnectionReset);
    let broke = Cause::broke(Side::Upstream, reset());
    let (side, reason, detail) = account(&broke, false);
    assert_eq!(
        (side, reason),
        (Side::Upstream, CloseReason::UpstreamUnreachable)
    );
    assert!(
        detail
            .unwrap()
            .starts_with("the broker reset the connection instead")
    );
    assert_eq!(account(&broke, true).1, CloseReason::UpstreamEof);
    let closed = Cause::Closed(Side::Upstream);
    assert_eq!(account(&closed, false).1, CloseReason::UpstreamUnreachable);
    assert_eq!(account(&closed, true).1, CloseReason::UpstreamEof);
    let client = Cause::broke(Side::Client, reset());
    assert_eq!(account(&client, false), account(&client, true));
}

/// A time-out of a transport is the proxy's decision, one of the kernel is the network's.
#[test]
fn a_transport_that_gives_up_is_not_a_broken_line() {
    let own = Cause::broke(Side::Client, io::ErrorKind::TimedOut.into());
    let account = own.account(true, None);
    assert_eq!(
        (account.side, account.limit),
        (Side::Proxy, Some("write_timeout"))
    );
    let kernel = Cause::broke(Side::Client, io::Error::from_raw_os_error(110));
    assert_eq!(kernel.account(true, None).reason, CloseReason::Reset);
    let busy = Cause::broke(Side::Client, io::ErrorKind::QuotaExceeded.into());
    assert_eq!(busy.account(true, None).reason, CloseReason::RateLimited);
}

#[test]
fn a_fault_of_the_broker_is_not_told_in_its_words() {
    let end = |direction| Cause::malformed(direction, Kind::Publish, DecodeError::QosThree);
    let mut limits = Limits::default();
    let words = |end: &Cause, answered, limits: &Limits| {
        let account = end.account(answered, Some(Version::V5));
        let words = account.last_words(end, answered, limits);
        words.map(|(code, text)| (code, text.map(str::to_owned)))
    };
    let (code, text) = words(&end(Direction::ToServer), true, &limits).unwrap();
    assert_eq!(code, DecodeError::QosThree.reason());
    assert!(text.unwrap().contains("[MQTT-3.3.1-4]"));
    let broker = end(Direction::ToClient);
    assert_eq!(words(&broker, true, &limits), None);
    assert_eq!(words(&broker, false, &limits), None);
    limits.when_unreachable = WhenUnreachable::Connack;
    let unavailable = (ReasonCode::SERVER_UNAVAILABLE, None);
    assert_eq!(words(&broker, false, &limits), Some(unavailable));
    assert_eq!(broker.packet(), Some(Kind::Publish));
    assert_eq!(
        broker.source().unwrap().to_string(),
        DecodeError::QosThree.to_string()
    );
}

#[test]
fn the_error_of_a_hook_is_the_source() {
    let error = io::Error::other("the database is away");
    let end = Cause::hook_failed("a hook failed", error.into());
    assert_eq!(
        account(&end, true).2.unwrap(),
        "a hook failed: the database is away"
    );
    let source = end.source().unwrap();
    assert!(source.downcast_ref::<io::Error>().is_some());
    assert!(Cause::panic("CONNECT", &"no").panicked());
}
