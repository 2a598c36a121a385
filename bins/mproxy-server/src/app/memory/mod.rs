//! One budget for the memory that peers occupy, and which connections are closed when it is scarce.
//!
//! ```text
//! below 80 %  all clients are served
//! from 80 %   a new client is let in, and the largest of the others are closed; one that is not let in yet
//!             counts as many times its size
//! from 90 %   a connection that holds much and needs more ends itself: the rest is for new clients
//! from 95 %   the largest of all connections are closed, and no new client is let in
//! 100 %       a session that needs more ends itself
//! ```
//!
//! So a client that holds much makes way for one that holds nothing yet, never the other way round: if the
//! limit kept new clients out, a few others could use it against them.

mod limit;
mod room;

use std::cmp::Reverse;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mproxy_admin::{MemoryMetrics, ShedStage};
use mproxy_session::{MemoryBudget, Order, SessionHandle};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

pub(crate) use self::room::Room;
use super::registry::Registry;

/// From this percentage on, memory is scarce.
const SCARCE: usize = 80;

/// From this percentage on, sessions are closed, too.
const CRITICAL: usize = 95;

/// Closing goes on until usage is this far below the step, so that not every kilobyte starts it again.
const MARGIN: usize = 5;

/// How many times its size a connection counts that is not let in yet. It has proven nothing; but where
/// sessions hold far more, closing it gives back nothing worth the client that is lost.
const SUSPICION: usize = 16;

/// How long sessions that were told to end get, before others are closed.
const PAUSE: Duration = Duration::from_millis(10);

/// The same if none was told to end: many connections that each hold little.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How often the limit is read again: a pod can be resized while it runs.
const REREAD: Duration = Duration::from_secs(10);

/// The memory of the process.
#[derive(Debug)]
pub(crate) struct Memory {
    budget: Arc<MemoryBudget>,
    /// True if the limit follows that of the container or machine.
    is_automatic: AtomicBool,
    /// Reads that limit.
    automatic: fn() -> u64,
    /// Memory is scarce, so new clients must set `knocked`.
    scarce: AtomicBool,
    /// A new client came since then.
    knocked: AtomicBool,
    /// No new client is let in.
    full: AtomicBool,
    metrics: MemoryMetrics,
}

/// How much of the budget is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Normal,
    Scarce,
    Critical,
}

impl Level {
    const fn of(percent: usize) -> Self {
        match percent {
            CRITICAL.. => Self::Critical,
            SCARCE.. => Self::Scarce,
            _ => Self::Normal,
        }
    }
}

/// Who was closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Shed {
    connections: usize,
    bytes: usize,
}

impl Memory {
    /// A budget of this many bytes; `None` is a part of the memory of the container or machine.
    pub(crate) fn new(configured: Option<u64>, metrics: MemoryMetrics) -> Self {
        Self::following(limit::automatic, configured, metrics)
    }

    fn following(automatic: fn() -> u64, configured: Option<u64>, metrics: MemoryMetrics) -> Self {
        let budget = MemoryBudget::new(bytes(configured.unwrap_or_else(automatic)));
        let source = Arc::clone(&budget);
        metrics.watch(move || (source.used() as u64, source.limit() as u64));
        Self {
            budget,
            is_automatic: AtomicBool::new(configured.is_none()),
            automatic,
            scarce: AtomicBool::new(false),
            knocked: AtomicBool::new(false),
            full: AtomicBool::new(false),
            metrics,
        }
    }

    /// Its limit in bytes.
    pub(crate) fn limit(&self) -> usize {
        self.budget.limit()
    }

    /// True if the limit is a part of the memory of the container or machine, and follows it.
    pub(crate) fn is_automatic(&self) -> bool {
        self.is_automatic.load(Ordering::Relaxed)
    }

    /// Changes the limit; `None` is a part of the memory of the container or machine.
    pub(crate) fn configure(&self, configured: Option<u64>) {
        self.is_automatic
            .store(configured.is_none(), Ordering::Relaxed);
        self.limit_to(bytes(configured.unwrap_or_else(self.automatic)));
    }

    /// A handle for a connection that was just accepted, for which so many bytes are kept beside its session as
    /// long as it lives.
    pub(crate) fn control(&self, kept: usize) -> SessionHandle {
        SessionHandle::with_transport(&self.budget, kept)
    }

    /// Room for something that is no connection. It has none yet.
    pub(crate) fn room(&self) -> Room {
        Room::new(&self.budget)
    }

    /// How many connections there is memory for, if they hold nothing else.
    pub(crate) fn connections(&self) -> usize {
        self.limit() / 100 * CRITICAL / SessionHandle::COST
    }

    /// Whether there is memory for a new client.
    pub(crate) fn admits(&self) -> bool {
        if self.scarce.load(Ordering::Relaxed) {
            self.knocked.store(true, Ordering::Relaxed);
        }
        !self.full.load(Ordering::Relaxed)
            && self.budget.used() + SessionHandle::COST <= self.budget.limit()
    }

    /// Enforces the budget until `stop`.
    pub(crate) async fn keep(&self, registry: &Registry, stop: CancellationToken) {
        let mut due = Instant::now() + REREAD;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.budget.pressed() => self.relieve(registry, &mut due).await,
                () = sleep_until(due) => {}
            }
            self.follow(&mut due);
        }
    }

    /// Reads the limit of the container or machine again, if that is due. Also while memory is scarce: the
    /// pod may have been resized because of it.
    fn follow(&self, due: &mut Instant) {
        let now = Instant::now();
        if now < *due {
            return;
        }
        *due = now + REREAD;
        if self.is_automatic() {
            self.limit_to(bytes((self.automatic)()));
        }
    }

    /// Sets the limit, which may have changed.
    fn limit_to(&self, now: usize) {
        let before = self.budget.limit();
        if now == before {
            return;
        }
        self.budget.set_limit(now);
        tracing::info!(
            target: "mproxy::server",
            event = "memory",
            before_bytes = before,
            limit_bytes = now,
            "the memory limit of the process has changed"
        );
    }

    /// Closes the connections that hold most until memory is no longer scarce.
    async fn relieve(&self, registry: &Registry, due: &mut Instant) {
        let mut worst = Level::Normal;
        loop {
            self.follow(due);
            let level = Level::of(self.budget.percent());
            if level == Level::Normal {
                break;
            }
            self.scarce.store(true, Ordering::Relaxed);
            let shed = self.shed(level, registry);
            let pause = if shed.connections > 0 {
                PAUSE
            } else {
                LOOK_AGAIN
            };
            if level > worst {
                worst = level;
                self.tell(level, shed);
            }
            tokio::time::sleep(pause).await;
        }
        for state in [&self.full, &self.scarce, &self.knocked] {
            state.store(false, Ordering::Relaxed);
        }
        if worst > Level::Normal {
            tracing::info!(
                target: "mproxy::server",
                event = "memory",
                used_bytes = self.budget.used(),
                limit_bytes = self.budget.limit(),
                "memory is no longer scarce"
            );
        }
    }

    /// Closes the connections that must go at this level.
    fn shed(&self, level: Level, registry: &Registry) -> Shed {
        let (used, limit) = (self.budget.used(), self.budget.limit());
        let excess = |percent: usize| used.saturating_sub(limit / 100 * percent);
        let mut holders: Vec<_> = registry.running().map(Holder::of).collect();
        let has_pending = holders.iter().any(|it| !it.is_established);
        let knocked = self.knocked.swap(false, Ordering::Relaxed) || has_pending;
        let enough = excess(SCARCE - MARGIN);
        // sessions go for new clients, and when there would be no room for them
        let enough_of_sessions = match level {
            _ if knocked => enough,
            Level::Critical => excess(CRITICAL - MARGIN),
            _ => 0,
        };
        holders.retain(|it| it.weight > 0);
        holders.sort_unstable_by_key(|it| Reverse(it.weight));
        let mut shed = Shed::default();
        for Holder {
            control,
            is_established,
            bytes,
            ..
        } in holders
        {
            let (enough, stage) = match is_established {
                true => (enough_of_sessions, ShedStage::Session),
                false => (enough, ShedStage::Pending),
            };
            if shed.bytes >= enough {
                continue;
            }
            shed.bytes += bytes;
            if !control.ends_at_once() {
                control.close(Order::overload());
                shed.connections += 1;
                self.metrics.shed(stage);
            }
        }
        // memory that closed connections are about to free counts as free
        self.full
            .store(excess(CRITICAL) > shed.bytes, Ordering::Relaxed);
        shed
    }

    fn tell(&self, level: Level, shed: Shed) {
        let message = match level {
            Level::Critical => {
                "memory is nearly used up: mproxy closes the connections that hold most, and accepts no new ones"
            }
            _ => {
                "memory is scarce: mproxy closes the connections that hold most, above all those not yet \
                 let in"
            }
        };
        tracing::warn!(
            target: "mproxy::server",
            event = "memory",
            used_bytes = self.budget.used(),
            limit_bytes = self.budget.limit(),
            closed = shed.connections,
            freed_bytes = shed.bytes,
            remedy = "if the lines with reason=overload name one address, limit it by \
                      max_pending_per_ip or max_connections_per_ip; if they name your fleet, raise \
                      the memory limit of the container, or server.memory",
            "{message}"
        );
    }
}

/// A connection, and what closing it gives back.
struct Holder {
    control: SessionHandle,
    is_established: bool,
    bytes: usize,
    /// Those with more go first; those with none stay.
    weight: usize,
}

impl Holder {
    fn of(control: SessionHandle) -> Self {
        let is_established = control.is_established();
        let held = control.held();
        let bytes = held + SessionHandle::COST;
        Self {
            control,
            is_established,
            bytes,
            weight: match is_established {
                true => held,
                false => bytes * SUSPICION,
            },
        }
    }
}

fn bytes(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::sync::Mutex;

    use mproxy_admin::{BuildInfo, Health, Metrics};
    use tokio::time::sleep;

    use super::*;
    use crate::app::cgroup;

    /// What `memory.max` of the container says.
    static MAX: Mutex<&str> = Mutex::new("268435456\n");

    fn of_the_container() -> u64 {
        let max = *MAX.lock().expect("not poisoned");
        limit::share_of(&cgroup::files(&[
            ("/proc/self/cgroup", "0::/pod/container\n"),
            ("/sys/fs/cgroup/pod/container/memory.max", max),
            ("/proc/meminfo", "MemTotal: 16000000 kB\n"),
        ]))
    }

    /// A pod that was resized in place kept the limit of its start, and was killed, or refused clients for
    /// which there was room.
    #[tokio::test(start_paused = true)]
    async fn the_budget_of_a_resized_pod_follows_within_ten_seconds() {
        let build = BuildInfo::new("mproxy-server", "0.1.0");
        let metrics = Metrics::new(&build, &Health::new(), NonZeroUsize::MIN);
        let memory = Memory::following(of_the_container, None, metrics.memory());
        let share = |size: usize| size / 100 * 70;
        assert_eq!(memory.limit(), share(256 << 20));
        let (registry, stop) = (Registry::new(1), CancellationToken::new());
        let resizing = async {
            for (max, bytes) in [
                ("536870912\n", 512 << 20),
                ("134217728\n", 128 << 20),
                ("max\n", 16_000_000 * 1024),
            ] {
                *MAX.lock().expect("not poisoned") = max;
                sleep(REREAD + Duration::from_millis(1)).await;
                assert_eq!(memory.limit(), share(bytes), "{max}");
            }
            // also while memory is scarce
            memory.configure(None);
            let holder = memory.control(0);
            *MAX.lock().expect("not poisoned") = "134217728\n";
            sleep(REREAD + Duration::from_millis(1)).await;
            holder.holds(share(128 << 20) / 100 * 90);
            sleep(LOOK_AGAIN).await;
            assert!(memory.scarce.load(Ordering::Relaxed));
            *MAX.lock().expect("not poisoned") = "268435456\n";
            sleep(REREAD).await;
            assert_eq!(memory.limit(), share(256 << 20));
            drop(holder);
            // a number of its own stays
            memory.configure(Some(64 << 20));
            *MAX.lock().expect("not poisoned") = "536870912\n";
            sleep(REREAD * 2).await;
            assert_eq!(memory.limit(), 64 << 20);
            stop.cancel();
        };
        tokio::join!(memory.keep(&registry, stop.clone()), resizing);
    }
}
