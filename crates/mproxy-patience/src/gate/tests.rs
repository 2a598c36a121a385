use std::{
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use tokio::runtime::Builder;

use super::*;

fn client(last: u8) -> Holder {
    Some([192, 0, 2, last].into())
}

/// A task that waits for its turn, or has it.
struct Waiting(Pin<Box<dyn Future<Output = Turn> + Send>>);

impl Waiting {
    fn of(client: Holder, gate: &Gate) -> Self {
        Self(Box::pin(gate.clone().turn(client)))
    }

    fn poll(&mut self) -> Option<Turn> {
        match poll(self.0.as_mut()) {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        }
    }
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// A gate whose turns are taken.
fn taken(turns: usize) -> (Gate, Vec<Turn>) {
    let gate = Gate::new(turns);
    let take = |_| Waiting::of(client(0), &gate).poll().expect("it is free");
    let taken = (0..turns).map(take).collect();
    (gate, taken)
}

/// Nobody waits, and all turns are free.
fn is_idle(gate: &Gate, turns: usize) -> bool {
    let state = gate.lock();
    state.free == turns && state.waiting.is_empty()
}

#[test]
fn as_many_have_a_turn_as_there_are() {
    let (gate, mut turns) = taken(2);
    let mut third = Waiting::of(client(1), &gate);
    assert!(third.poll().is_none());
    drop(turns.pop());
    let third = third.poll().expect("its turn");
    assert!(Waiting::of(client(1), &gate).poll().is_none());
    drop((turns, third));
    assert!(is_idle(&gate, 2));
}

/// A thousand tasks of one address were in front of the one of everybody else: a third of a second.
#[test]
fn one_task_waits_for_one_of_each_other_client() {
    let (gate, turns) = taken(1);
    let mut waiting = Vec::new();
    for (clients, count) in [(1, 100), (2, 50), (3, 1)] {
        for _ in 0..count {
            let mut task = Waiting::of(client(clients), &gate);
            assert!(task.poll().is_none());
            waiting.push((clients, task));
        }
    }
    drop(turns);
    let mut order = Vec::new();
    while order.len() < 7 {
        let called = waiting.iter_mut().enumerate().find_map(|(at, it)| {
            let turn = it.1.poll()?;
            Some((at, turn))
        });
        let (at, turn) = called.expect("a turn for one of them");
        order.push(waiting.remove(at).0);
        drop(turn);
    }
    assert_eq!(order, [1, 2, 3, 1, 2, 1, 2]);
}

/// Whether it has been asked, waits, was called and does not know yet, or has its turn.
#[test]
fn a_task_may_be_dropped_at_any_point() {
    for point in 0..5 {
        let (gate, mut turns) = taken(1);
        let mut dropped = Waiting::of(client(1), &gate);
        let mut next = Waiting::of(client(2), &gate);
        let is_asked = point > 0;
        if is_asked {
            assert!(dropped.poll().is_none());
        }
        assert!(next.poll().is_none());
        if point > 1 {
            drop(turns.pop());
        }
        match point {
            0..=2 => drop(dropped),
            3 => drop(dropped.poll().expect("its turn")),
            _ => {
                let mut end = Box::pin(dropped.poll().expect("its turn").end());
                assert!(poll(end.as_mut()).is_pending());
                assert!(next.poll().is_none(), "before the look at the sockets");
                drop(end);
            }
        }
        drop(turns);
        let turn = next.poll();
        assert!(turn.is_some(), "{point}: the turn is lost");
        drop(turn);
        assert!(is_idle(&gate, 1), "{point}");
    }
}

/// The queue of another place had no turns for those who came after everybody had left.
#[test]
fn turns_are_given_to_those_who_come_after_everybody_has_left() {
    let (gate, turns) = taken(3);
    let mut waiting: Vec<_> = (0..9)
        .map(|it| Waiting::of(client(it % 4), &gate))
        .collect();
    assert!(waiting.iter_mut().all(|it| it.poll().is_none()));
    drop(turns);
    // three of them were called, and none has looked
    drop(waiting);
    assert!(is_idle(&gate, 3));
    let later: Vec<_> = (0..3)
        .map(|it| Waiting::of(client(it), &gate).poll())
        .collect();
    assert!(later.iter().all(Option::is_some));
}

/// Turns end on the threads of all who wait, and tasks are dropped meanwhile.
#[test]
fn no_turn_is_lost_between_threads() {
    const TURNS: usize = 2;
    let gate = Gate::new(TURNS);
    let threads: Vec<_> = (0..4)
        .map(|number| {
            let gate = gate.clone();
            std::thread::spawn(move || {
                let runtime = Builder::new_current_thread().build().unwrap();
                let mut random = fastrand::Rng::with_seed(number);
                for _ in 0..2000 {
                    let mut task = pin!(gate.clone().turn(client(random.u8(0..3))));
                    if random.bool() {
                        // it leaves after a look, called or not
                        let _ = poll(task.as_mut());
                        continue;
                    }
                    let turn = runtime.block_on(task);
                    runtime.block_on(turn.end());
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert!(is_idle(&gate, TURNS));
}
