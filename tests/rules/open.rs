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

/// See the [module](self).
pub(crate) const OPEN: &[Open] = &[
    fails(
        79,
        "publish::time_that_a_publish_was_held_is_subtracted",
        V5,
        "what waits for a slow broker does not grow older; what a hook holds does",
    ),
    fails(
        79,
        "publish::an_expired_publish_is_dropped_and_acknowledged",
        V5,
        "what waits for a slow broker does not expire; what a hook holds does",
    ),
];
