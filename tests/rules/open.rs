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
];
