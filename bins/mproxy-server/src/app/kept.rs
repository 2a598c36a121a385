//! What a listener keeps across reloads: its connections, which count, and the rules of its sessions.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use mproxy_config::Chain;
use mproxy_session::{Limits, Pace};
use mproxy_transport::TlsServer;

use super::chain::Policy;
use super::gate::{Gate, Gates};
use super::plan::ListenerPlan;
use super::sockets::Key;

/// What listeners keep, by name: those that are configured, and those whose sessions go on.
#[derive(Default)]
pub(super) struct KeptListeners(HashMap<Arc<str>, Kept>);

impl KeptListeners {
    /// What a listener keeps, brought up to date.
    pub(super) fn of(&mut self, plan: &ListenerPlan, gates: &Gates, generation: u64) -> &Kept {
        let kept = self.0.entry(Arc::clone(&plan.name));
        let kept = kept.or_insert_with(|| Kept::new(plan, gates.listener(&plan.rules), generation));
        kept.gate.set_rules(&plan.rules);
        kept.follow(plan, generation);
        kept
    }

    /// The listeners whose layers came with this generation, and whether their sessions are to end.
    pub(super) fn renewed(&self, generation: u64) -> HashMap<Arc<str>, bool> {
        let policies = self.0.iter().map(|(name, kept)| (name, kept.policy.load()));
        let renewed = policies.filter(|(_, policy)| policy.generation == generation);
        renewed
            .map(|(name, policy)| (Arc::clone(name), policy.ends_sessions))
            .collect()
    }

    /// The listeners that trust other clients since this generation.
    pub(super) fn distrusting(&self, generation: u64) -> HashMap<Arc<str>, TlsServer> {
        let trusted = self.0.iter().filter(|(_, kept)| kept.trusted == generation);
        trusted
            .filter_map(|(name, kept)| Some((Arc::clone(name), kept.policy.load().tls.clone()?)))
            .collect()
    }

    /// The listeners whose paces came with this generation, and these.
    pub(super) fn paced(&self, generation: u64) -> HashMap<&Arc<str>, [Option<Pace>; 2]> {
        let policies = self.0.iter().map(|(name, kept)| (name, kept.policy.load()));
        let paced = policies.filter(|(_, policy)| policy.paced == generation);
        paced.map(|(name, policy)| (name, policy.paces)).collect()
    }

    /// Has the sessions of removed listeners judged by the listener that took their place: the one at
    /// the same address, or one with the same chain. Without one, they go on as long as their chain
    /// is configured as it was, and end otherwise, because nobody could change their rules any more.
    pub(super) fn judge_orphans(
        &mut self,
        listeners: &[ListenerPlan],
        chains: &BTreeMap<String, Arc<Chain>>,
        generation: u64,
    ) {
        for (name, kept) in &mut self.0 {
            if listeners.iter().any(|it| it.name == *name) {
                continue;
            }
            let at_address = listeners.iter().find(|it| Key::of(it) == kept.key);
            let same_chain = || {
                let chain = &kept.chain.name;
                listeners.iter().find(|it| it.chain_config.name == *chain)
            };
            if let Some(successor) = at_address.or_else(same_chain) {
                kept.follow(successor, generation);
            } else if chains.get(&kept.chain.name) != Some(&kept.chain) {
                let mut policy = Policy::clone(&kept.policy.load());
                policy.generation = generation;
                policy.ends_sessions = true;
                kept.policy.store(Arc::new(policy));
            }
        }
    }

    /// Gives back what is kept of listeners that are gone, and whose last session is. Returns their
    /// names.
    pub(super) fn forget(&mut self, listeners: &[ListenerPlan]) -> Vec<Arc<str>> {
        let is_gone = |name: &Arc<str>, kept: &mut Kept| {
            !kept.gate.is_shared() && listeners.iter().all(|it| it.name != *name)
        };
        let gone = self.0.extract_if(|name, kept| is_gone(name, kept));
        gone.map(|(name, _)| name).collect()
    }
}

/// What a listener keeps across reloads.
pub(super) struct Kept {
    /// Its connections count under the new limits, too.
    pub(super) gate: Gate,
    /// The socket that it has, or had.
    key: Key,
    chain: Arc<Chain>,
    /// The configuration with which it came to trust other clients.
    trusted: u64,
    /// The layers, the paces and the trust of its sessions.
    pub(super) policy: Arc<ArcSwap<Policy>>,
}

impl Kept {
    /// The state of a new listener.
    fn new(plan: &ListenerPlan, gate: Gate, generation: u64) -> Self {
        Self {
            gate,
            key: Key::of(plan),
            chain: Arc::clone(&plan.chain_config),
            trusted: 0,
            policy: Arc::new(ArcSwap::from_pointee(Policy {
                generation,
                ends_sessions: false,
                composed: plan.chain.clone(),
                naming: plan.naming,
                paces: paces(&plan.limits),
                paced: 0,
                tls: plan.tls.clone(),
            })),
        }
    }

    /// Takes over the chain and the paces of a listener if they differ.
    fn follow(&mut self, plan: &ListenerPlan, generation: u64) {
        self.key = Key::of(plan);
        self.chain = Arc::clone(&plan.chain_config);
        let before = self.policy.load_full();
        let mut policy = Policy::clone(&before);
        let trusts_alike = match (&before.tls, &plan.tls) {
            (Some(before), Some(now)) => {
                let trusts_alike = before.trusts_like(now);
                if !trusts_alike {
                    self.trusted = generation;
                }
                trusts_alike
            }
            (before, now) => before.is_none() && now.is_none(),
        };
        if !trusts_alike {
            policy.tls.clone_from(&plan.tls);
        }
        let paces = paces(&plan.limits);
        if policy.paces != paces {
            policy.paced = generation;
            policy.paces = paces;
        }
        if !policy.composed.chain.is(&plan.chain.chain) || policy.naming != plan.naming {
            policy.generation = generation;
            policy.naming = plan.naming;
            policy.ends_sessions = policy.composed.mapping != plan.chain.mapping;
            policy.composed = plan.chain.clone();
        }
        if policy.generation != before.generation || policy.paced != before.paced || !trusts_alike {
            self.policy.store(Arc::new(policy));
        }
    }
}

/// The paces to the server and to the client.
const fn paces(limits: &Limits) -> [Option<Pace>; 2] {
    [limits.pace_to_server, limits.pace_to_client]
}
