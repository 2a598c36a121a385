//! What a listener keeps over reloads: its connections, which count, and the rules of its sessions.

use std::sync::Arc;

use arc_swap::ArcSwap;
use mproxy_config::Chain;
use mproxy_session::{Limits, Pace};

use super::chain::Policy;
use super::gate::Gate;
use super::plan::ListenerPlan;
use super::sockets::Key;

/// What a listener keeps over reloads.
pub(super) struct Kept {
    /// Its connections count, whatever the limits become.
    pub(super) gate: Gate,
    /// The socket that it has, or had.
    pub(super) key: Key,
    pub(super) chain: Arc<Chain>,
    /// The layers and the paces of its sessions.
    pub(super) policy: Arc<ArcSwap<Policy>>,
}

impl Kept {
    /// What a new listener begins with.
    pub(super) fn new(plan: &ListenerPlan, gate: Gate, generation: u64) -> Self {
        Self {
            gate,
            key: Key::of(plan),
            chain: Arc::clone(&plan.chain_config),
            policy: Arc::new(ArcSwap::from_pointee(Policy {
                generation,
                ends_sessions: false,
                composed: plan.chain.clone(),
                paces: paces(&plan.limits),
                paced: 0,
            })),
        }
    }

    /// Takes the chain and the paces of a listener, unless it has them.
    pub(super) fn follow(&mut self, plan: &ListenerPlan, generation: u64) {
        self.key = Key::of(plan);
        self.chain = Arc::clone(&plan.chain_config);
        let before = self.policy.load_full();
        let mut policy = Policy::clone(&before);
        let paces = paces(&plan.limits);
        if policy.paces != paces {
            policy.paced = generation;
            policy.paces = paces;
        }
        if !policy.composed.chain.is(&plan.chain.chain) {
            policy.generation = generation;
            policy.ends_sessions = policy.composed.mapping != plan.chain.mapping;
            policy.composed = plan.chain.clone();
        }
        if policy.generation != before.generation || policy.paced != before.paced {
            self.policy.store(Arc::new(policy));
        }
    }
}

/// The paces to the server and to the client.
const fn paces(limits: &Limits) -> [Option<Pace>; 2] {
    [limits.pace_to_server, limits.pace_to_client]
}
