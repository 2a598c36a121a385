//! Whatever both ends do, a session holds to its rules: see `world.rs` for what is asserted.
#![no_main]

mod op;
#[path = "../../tests/support/mod.rs"]
mod support;
mod trace;
mod world;

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use tokio::runtime::{Builder, Runtime};

use self::op::Script;
use self::world::World;

/// The clock of a runtime only ever goes forward: a new one before it has gone far.
const PLAYS: u32 = 10_000;

thread_local! {
    static RUNTIME: RefCell<(u32, Runtime)> = RefCell::new((0, runtime()));
}

fn runtime() -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder.enable_time().start_paused(true);
    builder.build().expect("a runtime")
}

fuzz_target!(|script: Script| {
    RUNTIME.with_borrow_mut(|(plays, current)| {
        *plays += 1;
        if *plays == PLAYS {
            (*plays, *current) = (0, runtime());
        }
        // the session is polled by hand, and often: tokio's budget for one poll is not meant for it
        current.block_on(tokio::task::unconstrained(World::play(&script)));
    });
});
