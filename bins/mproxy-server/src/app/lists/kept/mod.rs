//! The lists that were fetched.

mod rounds;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mproxy_admin::FetchedList;
use mproxy_config::ListenerTls;
use mproxy_transport::RevocationList;
use tokio::sync::Notify;

use self::rounds::Rounds;
use super::{Pace, Source};
use crate::app::memory::Room;

/// The lists that were fetched, and how often they were. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lists(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    kept: Mutex<HashMap<Source, Kept>>,
    /// Notified after each fetch, and when others are kept.
    fetched: Notify,
    /// Notified when somebody wants a fetch.
    asked: Notify,
}

#[derive(Debug, Default)]
struct Kept {
    list: Option<RevocationList>,
    /// What it takes of the memory of the process.
    room: Option<Room>,
    successes: u64,
    failures: u64,
    rounds: Rounds,
    /// The listeners that name its URL.
    used_by: Vec<String>,
    /// No URL of the configuration any more. The list stands in for those that are to replace it, until they are
    /// there: a URL with a typo must not keep out everybody.
    stands_in: bool,
}

impl Kept {
    /// Whether it was fetched, or could not be.
    const fn is_tried(&self) -> bool {
        self.successes + self.failures > 0
    }
}

impl Lists {
    /// The lists of a listener: one for each of its URLs, `None` for one that was not fetched yet. Then, those
    /// that were fetched from other URLs for the same CAs, too.
    pub(crate) fn of(&self, tls: &ListenerTls) -> Vec<Option<RevocationList>> {
        let all = self.lock();
        let own: Vec<_> = Source::of(tls).collect();
        let lists = own.iter().map(|source| all.get(source)?.list.clone());
        let mut lists: Vec<_> = lists.collect();
        if lists.iter().any(Option::is_none) {
            let others = all.iter();
            let others = others
                .filter(|(source, _)| source.client_ca == tls.client_ca && !own.contains(source));
            lists.extend(others.map(|(_, it)| it.list.clone()));
        }
        lists
    }

    /// The list in use.
    pub(super) fn get(&self, source: &Source) -> Option<RevocationList> {
        self.lock().get(source)?.list.clone()
    }

    /// A list that stands in for this one.
    pub(super) fn before(&self, source: &Source) -> Option<RevocationList> {
        let all = self.lock();
        let mut all = all.iter();
        let before = all.find(|(it, kept)| kept.stands_in && it.client_ca == source.client_ca);
        before?.1.list.clone()
    }

    /// Keeps those of these sources, and those that stand in for them; forgets all others.
    pub(super) fn keep(&self, sources: &HashMap<Source, Pace>) {
        let mut all = self.lock();
        for (source, kept) in all.iter_mut() {
            kept.stands_in = !sources.contains_key(source);
            kept.used_by.clear();
        }
        for (source, pace) in sources {
            let kept = all.entry(source.clone()).or_default();
            kept.used_by.clone_from(&pace.listeners);
        }
        forget(&mut all);
        drop(all);
        self.0.fetched.notify_waiters();
    }

    /// Notes a fetch, and the list that it brought, with its room. One that is not wanted any more is not kept.
    pub(super) fn fetched(&self, source: &Source, list: RevocationList, room: Room) {
        let mut all = self.lock();
        if let Some(kept) = all.get_mut(source) {
            kept.successes += 1;
            // one that is the same stays: there is one copy of it
            if kept.list.as_ref() != Some(&list) {
                kept.list = Some(list);
            }
            kept.room = Some(room);
        }
        forget(&mut all);
        drop(all);
        self.0.fetched.notify_waiters();
    }

    /// Notes a fetch of the list that is kept.
    pub(super) fn unchanged(&self, source: &Source) {
        if let Some(kept) = self.lock().get_mut(source) {
            kept.successes += 1;
        }
        self.0.fetched.notify_waiters();
    }

    /// Notes a fetch that brought nothing to be used.
    pub(super) fn failed(&self, source: &Source) {
        if let Some(kept) = self.lock().get_mut(source) {
            kept.failures += 1;
        }
        self.0.fetched.notify_waiters();
    }

    /// Waits until each was fetched, or could not be.
    pub(super) async fn tried(&self) {
        self.until(|all| all.values().all(Kept::is_tried)).await;
    }

    /// Waits until something is so.
    async fn until(&self, is_so: impl Fn(&HashMap<Source, Kept>) -> bool) {
        loop {
            let fetched = self.0.fetched.notified();
            tokio::pin!(fetched);
            // before looking, so that nothing is missed in between
            fetched.as_mut().enable();
            if is_so(&self.lock()) {
                return;
            }
            fetched.await;
        }
    }

    /// The URLs of those that were not fetched yet, and could not be.
    pub(super) fn untried(&self) -> Vec<String> {
        let all = self.lock();
        let untried = all.iter().filter(|(_, it)| !it.is_tried());
        untried.map(|(source, _)| source.url.to_string()).collect()
    }

    /// For the metrics: those that are shown with the same URL are one.
    pub(super) fn shown(&self) -> Vec<FetchedList> {
        let mut shown = BTreeMap::new();
        for (source, kept) in self.lock().iter() {
            let next_update = kept.list.as_ref().map(RevocationList::next_update);
            let url = source.url.to_string();
            let list = shown.entry(url.clone()).or_insert(FetchedList {
                url,
                successes: 0,
                failures: 0,
                next_update,
            });
            list.successes += kept.successes;
            list.failures += kept.failures;
            // none comes before all
            list.next_update = list.next_update.min(next_update);
        }
        shown.into_values().collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Source, Kept>> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets the lists that stand in for none.
fn forget(all: &mut HashMap<Source, Kept>) {
    let missing = all
        .iter()
        .filter(|(_, it)| !it.stands_in && it.list.is_none());
    let missing: HashSet<_> = missing
        .map(|(source, _)| source.client_ca.clone())
        .collect();
    all.retain(|source, it| {
        !it.stands_in || it.list.is_some() && missing.contains(&source.client_ca)
    });
}
