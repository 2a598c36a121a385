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

/// See the [module](self).
pub(crate) const OPEN: &[Open] = &[fails(
    14,
    "framing::a_property_in_the_wrong_packet_is_malformed",
    V5,
    "told as a protocol error, 0x82, and not as malformed, 0x81",
)];

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
