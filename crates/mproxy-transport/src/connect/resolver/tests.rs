use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
};

use super::*;

type Reply = io::Result<Vec<SocketAddr>>;

/// Who answers for the system: each question waits for what the test says.
struct System {
    resolver: Resolver,
    replies: Sender<Reply>,
    asked: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
    /// Seconds that have passed.
    clock: Arc<AtomicU64>,
}

impl System {
    fn new() -> Self {
        let (replies, inbox) = channel();
        let inbox: Mutex<Receiver<Reply>> = Mutex::new(inbox);
        let (asked, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (clock, start) = (Arc::new(AtomicU64::new(0)), Instant::now());
        let (counting, time) = ((Arc::clone(&asked), Arc::clone(&open)), Arc::clone(&clock));
        let lookup = move |_: &str| {
            counting.0.fetch_add(1, Ordering::SeqCst);
            counting.1.fetch_add(1, Ordering::SeqCst);
            let inbox = inbox.lock().unwrap_or_else(PoisonError::into_inner);
            let reply = inbox.recv().expect("the test answers");
            counting.1.fetch_sub(1, Ordering::SeqCst);
            reply
        };
        let now = move || start + Duration::from_secs(time.load(Ordering::SeqCst));
        Self {
            resolver: Resolver::with_clock(lookup, now),
            replies,
            asked,
            open,
            clock,
        }
    }

    fn answer(&self, last: u8) {
        self.replies.send(Ok(vec![addr(last)])).unwrap();
    }

    fn fail(&self) {
        let error = io::Error::other("no server answers");
        self.replies.send(Err(error)).unwrap();
    }

    fn pass(&self, seconds: u64) {
        self.clock.fetch_add(seconds, Ordering::SeqCst);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// A look-up with no patience for what is better than an old answer.
    async fn lookup(&self) -> Result<Answer, Failure> {
        self.resolver.lookup("broker", Duration::MAX).await
    }

    /// Waits until the thread has taken over what was answered.
    async fn settled(&self) {
        while self.resolver.0.name("broker").lock().asked.is_some() {
            tokio::task::yield_now().await;
        }
    }
}

fn addr(last: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::from(Ipv4Addr::new(192, 0, 2, last)), 0)
}

fn found(answer: Result<Answer, Failure>) -> (Vec<SocketAddr>, bool) {
    let answer = answer.expect("an answer");
    (answer.addrs.to_vec(), answer.doubt.is_some())
}

/// A thousand clients came back at once, and two thousand questions went to a DNS server that had
/// trouble already. Where it did not answer, each of them held a thread.
#[test]
fn many_that_wait_on_many_runtimes_are_one_question_and_one_thread() {
    let system = System::new();
    let gone = Arc::new(AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            let (resolver, gone) = (system.resolver.clone(), Arc::clone(&gone));
            scope.spawn(move || {
                let mut runtime = tokio::runtime::Builder::new_current_thread();
                runtime.enable_time().build().unwrap().block_on(async {
                    let mut waiting = Vec::new();
                    for _ in 0..250 {
                        let resolver = resolver.clone();
                        waiting.push(tokio::spawn(async move {
                            resolver.lookup("broker", Duration::MAX).await
                        }));
                    }
                    tokio::task::yield_now().await;
                    gone.fetch_add(1, Ordering::SeqCst);
                    for lookup in waiting {
                        assert_eq!(found(lookup.await.unwrap()), (vec![addr(1)], false));
                    }
                });
            });
        }
        // all of them wait
        while gone.load(Ordering::SeqCst) < 4 || system.open.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        system.answer(1);
    });
    assert_eq!(system.asked(), 1);
}

#[tokio::test]
async fn an_answer_and_a_failure_are_kept_for_a_second() {
    let system = System::new();
    system.answer(1);
    for _ in 0..3 {
        assert_eq!(found(system.lookup().await), (vec![addr(1)], false));
    }
    assert_eq!(system.asked(), 1);
    system.pass(1);
    system.answer(2);
    assert_eq!(found(system.lookup().await), (vec![addr(2)], false));
    assert_eq!(system.asked(), 2);

    let nothing = System::new();
    nothing.fail();
    for _ in 0..3 {
        let Failure(error) = nothing.lookup().await.unwrap_err();
        assert_eq!(error.to_string(), "no server answers");
    }
    assert_eq!(nothing.asked(), 1);
    nothing.pass(1);
    nothing.answer(1);
    assert_eq!(found(nothing.lookup().await), (vec![addr(1)], false));
}

/// While the DNS server of a cluster was started again, no client came through to a broker that was
/// where it had always been.
#[tokio::test]
async fn an_old_answer_is_better_than_a_failure_for_some_minutes() {
    let system = System::new();
    system.answer(1);
    system.lookup().await.unwrap();
    for _ in 0..4 {
        system.pass(60);
        system.fail();
        assert_eq!(found(system.lookup().await), (vec![addr(1)], true));
    }
    system.pass(60);
    system.fail();
    assert!(system.lookup().await.is_err());
    assert_eq!(system.asked(), 6);
}

#[tokio::test(start_paused = true)]
async fn an_old_answer_is_better_than_silence() {
    let system = System::new();
    system.answer(1);
    system.lookup().await.unwrap();
    system.pass(2);
    let begun = tokio::time::Instant::now();
    assert_eq!(found(system.lookup().await), (vec![addr(1)], true));
    assert_eq!(begun.elapsed(), PATIENCE);
    // the question has been open for long enough: nobody waits for it again
    system.pass(2);
    assert_eq!(found(system.lookup().await), (vec![addr(1)], true));
    assert_eq!(begun.elapsed(), PATIENCE);
    while system.asked() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(system.asked(), 2);
    // and less patience is less
    let hasty = System::new();
    hasty.answer(1);
    hasty.lookup().await.unwrap();
    hasty.pass(2);
    let (begun, patience) = (tokio::time::Instant::now(), Duration::from_millis(300));
    hasty.resolver.lookup("broker", patience).await.unwrap();
    assert_eq!(begun.elapsed(), patience);
    system.answer(2);
    hasty.answer(2);
}

#[tokio::test]
async fn an_answer_that_comes_too_late_for_one_is_there_for_the_next() {
    let system = System::new();
    let impatient = tokio::spawn({
        let resolver = system.resolver.clone();
        async move { resolver.lookup("broker", Duration::MAX).await }
    });
    while system.asked() == 0 {
        tokio::task::yield_now().await;
    }
    impatient.abort();
    assert!(impatient.await.unwrap_err().is_cancelled());
    system.pass(10);
    system.answer(1);
    system.settled().await;
    assert_eq!(found(system.lookup().await), (vec![addr(1)], false));
    assert_eq!(system.asked(), 1);
}

#[tokio::test]
async fn a_lookup_that_panics_or_finds_nothing_has_failed() {
    let panics = Resolver::new(|_| panic!("on purpose"));
    let nothing = Resolver::new(|_| Ok(Vec::new()));
    for (resolver, wanted) in [
        (panics, "the lookup panicked"),
        (nothing, "the name has no address"),
    ] {
        let Failure(error) = resolver.lookup("x", Duration::MAX).await.unwrap_err();
        assert_eq!(error.to_string(), wanted);
    }
}

#[tokio::test]
async fn names_do_not_wait_for_each_other() {
    let (hold, held) = channel::<()>();
    let held = Mutex::new(held);
    let resolver = Resolver::new(move |host| {
        if host == "silent" {
            let _ = held.lock().unwrap_or_else(PoisonError::into_inner).recv();
        }
        Ok(vec![addr(1)])
    });
    let silent = tokio::spawn({
        let resolver = resolver.clone();
        async move { found(resolver.lookup("silent", Duration::MAX).await) }
    });
    let other = resolver.lookup("other", Duration::MAX).await;
    assert_eq!(found(other), (vec![addr(1)], false));
    assert!(!silent.is_finished());
    drop(hold);
    assert_eq!(silent.await.unwrap(), (vec![addr(1)], false));
}
