//! What the proxy does not do yet.
//!
//! A test that is named here is run and must fail: when it passes, its line is to be taken off.

/// A rule that is not kept, or not tested, in some versions.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) rule: u8,
    /// The test that fails, `module::name`; `None` when there is none yet.
    pub(crate) test: Option<&'static str>,
    pub(crate) versions: &'static [&'static str],
    pub(crate) why: &'static str,
}

const ALL: &[&str] = &["v31", "v311", "v5"];
const LATER: &[&str] = &["v311", "v5"];
const V3: &[&str] = &["v31", "v311"];
const V5: &[&str] = &["v5"];

const fn fails(
    rule: u8,
    test: &'static str,
    versions: &'static [&'static str],
    why: &'static str,
) -> Open {
    let test = Some(test);
    Open {
        rule,
        test,
        versions,
        why,
    }
}

const fn missing(rule: u8, versions: &'static [&'static str], why: &'static str) -> Open {
    Open {
        rule,
        test: None,
        versions,
        why,
    }
}

/// See the [module](self).
pub(crate) const OPEN: &[Open] = &[
    fails(
        14,
        "framing::a_property_in_the_wrong_packet_is_malformed",
        V5,
        "told as a protocol error, 0x82, and not as malformed, 0x81",
    ),
    fails(
        39,
        "life::a_keep_alive_of_its_own_is_told_and_enforced",
        V5,
        "there is no `max_keepalive`",
    ),
    fails(
        39,
        "life::a_keep_alive_of_its_own_is_enforced",
        V3,
        "there is no `max_keepalive`",
    ),
    fails(
        40,
        "life::authentication_gives_connack_time",
        V5,
        "AUTH does not give CONNACK more time",
    ),
    fails(
        40,
        "life::a_packet_that_drips_in_has_a_time",
        ALL,
        "a deadline that passes just as bytes come is not seen as long as more of them come",
    ),
    fails(
        56,
        "connect::a_refusal_does_not_outgrow_its_client",
        V5,
        "a refusal has its text although the client takes no packet of that size",
    ),
    fails(
        58,
        "connect::other_servers_are_not_named",
        V5,
        "Server Reference passes",
    ),
    fails(
        58,
        "connect::other_servers_are_named_where_that_is_wanted",
        V5,
        "there is no `server_reference`",
    ),
    fails(
        59,
        "connect::response_information_is_mapped_or_kept",
        V5,
        "Response Information passes with its prefix",
    ),
    fails(
        67,
        "publish::a_resumed_exchange_is_ended_at_the_broker_first",
        LATER,
        "the client is told that the identifier is free, and the broker is not",
    ),
    fails(
        71,
        "publish::the_receive_maximum_is_enforced",
        V5,
        "more passes than the broker has announced",
    ),
    missing(74, ALL, "hooks cannot lower the QoS"),
    missing(75, ALL, "hooks cannot clear RETAIN"),
    fails(
        76,
        "crates/mproxy-session/tests/session/rules.rs: a_rewritten_payload_has_its_own_format",
        V5,
        "Payload Format Indicator 1 stays when a hook writes a payload that is no text",
    ),
    fails(
        79,
        "publish::time_that_a_publish_was_held_is_subtracted",
        V5,
        "nothing is subtracted",
    ),
    fails(
        79,
        "publish::an_expired_publish_is_dropped_and_acknowledged",
        V5,
        "nothing expires here",
    ),
    fails(
        87,
        "alias::tables_are_bounded_in_bytes",
        V5,
        "they are bounded in number only",
    ),
    missing(98, ALL, "hooks cannot lower the QoS of a subscription"),
    fails(
        100,
        "subscribe::what_was_never_subscribed_is_told_so",
        V5,
        "0x87 in place of 0x11 when no filter of an UNSUBSCRIBE is left",
    ),
    fails(
        115,
        "sizes::a_delivery_that_is_too_large_is_counted",
        V5,
        "it is dropped and not counted",
    ),
    fails(
        117,
        "sizes::what_changes_may_add_is_announced",
        V5,
        "the broker's maximum is announced as it is",
    ),
    fails(
        117,
        "sizes::a_changed_subscribe_that_is_too_large_is_refused",
        V5,
        "a SUBSCRIBE or UNSUBSCRIBE goes on that is larger than the broker takes",
    ),
    fails(
        122,
        "auth::the_method_is_the_same_everywhere",
        V5,
        "methods are not compared",
    ),
    missing(
        122,
        V5,
        "hooks that replace credentials do not refuse a method",
    ),
    fails(
        123,
        "auth::a_new_authentication_is_refused_where_hooks_would_miss_it",
        V5,
        "it passes",
    ),
];
