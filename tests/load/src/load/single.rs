//! QoS 0 as fast as it goes, one packet a write.
//!
//! How many packets a proxy finds in one read depends on how far it is behind, so the figures
//! scatter; see the `steady` load for ones that do not.

use super::batched::measure_flood;
use super::message::Shape;
use super::pool::Pool;
use super::{Meter, Options, Outcome, Target};
use crate::error::Error;

/// Each in turn writes one packet, so that packets of one connection are some time apart.
const CLIENTS: usize = 64;

pub(super) fn run(
    shape: Shape,
    target: &Target,
    options: &Options,
    meter: &mut dyn Meter,
) -> Result<Outcome, Error> {
    let mut pool = Pool::connected(target, shape.version, options, CLIENTS)?;
    let writes: Vec<Vec<u8>> = (0..CLIENTS)
        .map(|client| pool.prepare(&shape.publish(client, 0, 0)))
        .collect();
    measure_flood(&mut pool, &writes, 1, options, meter)
}
