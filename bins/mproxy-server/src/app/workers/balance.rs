//! Which worker serves a connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The connections of a worker, those that are on their way to it included.
#[derive(Debug, Clone, Default)]
pub(super) struct Load(Arc<AtomicUsize>);

/// One connection in a worker's load, until it is dropped.
#[derive(Debug)]
pub(super) struct Counted(Load);

impl Load {
    pub(super) fn count(&self) -> Counted {
        self.0.fetch_add(1, Ordering::Relaxed);
        Counted(self.clone())
    }

    fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The one of `others` with the fewest, if the worker that accepted a connection has far more.
///
/// Handing over costs a wake-up of another thread. A difference of a few connections out of many costs less, but
/// one out of two leaves a thread without work: a bridge or a backend may send as much as all devices.
pub(super) fn idler<'a, T>(
    own: &Load,
    others: &'a [T],
    load: impl Fn(&T) -> &Load,
) -> Option<&'a T> {
    let idlest = others.iter().min_by_key(|it| load(it).get())?;
    let fewest = load(idlest).get();
    (own.get() > fewest + (fewest / 8).clamp(1, MOST)).then_some(idlest)
}

/// The most by which a worker may be ahead.
const MOST: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker had eight connections before another one had any: few clients that send a lot had one thread.
    #[test]
    fn connections_that_one_worker_accepts_are_spread_over_all() {
        let loads = [Load::default(), Load::default(), Load::default()];
        let mut connections = Vec::new();
        for count in 1..500 {
            let own = &loads[0];
            let serves = idler(own, &loads, |it| it).unwrap_or(own);
            connections.push(serves.count());
            let counts = loads.each_ref().map(Load::get);
            let (fewest, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            let ahead = most - fewest;
            assert!(ahead <= if count < 50 { 2 } else { MOST + 1 }, "{counts:?}");
        }
        drop(connections);
        assert_eq!(loads.map(|it| it.get()), [0; 3]);
    }

    #[test]
    fn a_worker_with_few_more_keeps_what_it_accepts() {
        let loads = [Load::default(), Load::default()];
        let _own: Vec<_> = (0..104).map(|_| loads[0].count()).collect();
        let mut others: Vec<_> = (0..96).map(|_| loads[1].count()).collect();
        assert!(idler(&loads[0], &loads, |it| it).is_none());
        others.pop();
        let other = idler(&loads[0], &loads, |it| it).expect("far fewer");
        assert!(std::ptr::eq(other, &loads[1]));
        assert!(idler(&loads[1], &loads, |it| it).is_none());
    }
}
