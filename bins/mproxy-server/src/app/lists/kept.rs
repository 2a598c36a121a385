//! The lists that were fetched.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mproxy_admin::FetchedList;
use mproxy_config::ListenerTls;
use mproxy_transport::RevocationList;
use tokio::sync::Notify;

use super::Source;
use crate::app::memory::Room;

/// The lists that were fetched, and how often they were. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lists(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    kept: Mutex<HashMap<Source, Kept>>,
    /// Notified after each fetch.
    fetched: Notify,
}

#[derive(Debug, Default)]
struct Kept {
    list: Option<RevocationList>,
    /// What it takes of the memory of the process.
    room: Option<Room>,
    successes: u64,
    failures: u64,
}

impl Lists {
    /// The lists of a listener: one for each of its URLs, `None` for one that was not fetched yet.
    pub(crate) fn of(&self, tls: &ListenerTls) -> Vec<Option<RevocationList>> {
        let all = self.lock();
        let lists = Source::of(tls).map(|source| all.get(&source)?.list.clone());
        lists.collect()
    }

    /// The list in use.
    pub(super) fn get(&self, source: &Source) -> Option<RevocationList> {
        self.lock().get(source)?.list.clone()
    }

    /// Keeps those of these sources, and forgets all others.
    pub(super) fn keep<'a>(&self, sources: impl Iterator<Item = &'a Source>) {
        let mut all = self.lock();
        let sources: HashSet<_> = sources.collect();
        all.retain(|source, _| sources.contains(source));
        for source in sources {
            all.entry(source.clone()).or_default();
        }
    }

    /// Notes a fetch, and the list that it brought, with its room. One that is not wanted any more is not kept.
    pub(super) fn fetched(&self, source: &Source, list: RevocationList, room: Room) {
        if let Some(kept) = self.lock().get_mut(source) {
            kept.successes += 1;
            // one that is the same stays: there is one copy of it
            if kept.list.as_ref() != Some(&list) {
                kept.list = Some(list);
            }
            kept.room = Some(room);
        }
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
        let is_tried = |it: &Kept| it.successes + it.failures > 0;
        loop {
            let fetched = self.0.fetched.notified();
            tokio::pin!(fetched);
            // before looking, so that nothing is missed in between
            fetched.as_mut().enable();
            if self.lock().values().all(is_tried) {
                return;
            }
            fetched.await;
        }
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
