//! A line that breaks: forwards TCP, until it does not.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::chance::Chance;

/// What happens to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Both sides see a reset.
    Reset,
    /// Both sides see an end.
    End,
    /// The side that connected sees a reset; the other one sees nothing, for as long as it likes.
    HalfOpen,
}

const FAULTS: [Fault; 3] = [Fault::Reset, Fault::End, Fault::HalfOpen];

/// The most bytes that pass before a fault, in both directions together.
const REACH: usize = 2_000;

/// Listens, and forwards what comes; while there are faults to be made, each connection ends with
/// one of them, after some number of bytes that lies in the middle of a packet as well as not.
#[derive(Debug)]
pub struct Forwarder {
    addr: SocketAddr,
    made: watch::Receiver<usize>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Line {
    target: SocketAddr,
    faults: usize,
    /// Of those that are to come or came.
    planned: AtomicUsize,
    made: watch::Sender<usize>,
    chance: Mutex<Chance>,
    /// Connections whose other side does not know that they are dead.
    half_open: Mutex<Vec<(OwnedReadHalf, OwnedWriteHalf)>>,
}

impl Forwarder {
    /// Forwards to `target`, and breaks so many connections.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn before(target: SocketAddr, faults: usize, chance: Chance) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("there is a free port");
        let addr = listener.local_addr().expect("it is bound");
        let (made, watched) = watch::channel(0);
        let line = Arc::new(Line {
            target,
            faults,
            planned: AtomicUsize::new(0),
            made,
            chance: Mutex::new(chance),
            half_open: Mutex::default(),
        });
        let accepting = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&line).carry(near));
            }
        });
        Self {
            addr,
            made: watched,
            accepting,
        }
    }

    /// Where it listens.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Waits until all faults are made.
    ///
    /// # Panics
    /// If it was dropped.
    pub async fn broken(&self, faults: usize) {
        let mut made = self.made.clone();
        made.wait_for(|made| *made >= faults)
            .await
            .expect("the forwarder is there");
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Line {
    async fn carry(self: Arc<Self>, near: TcpStream) {
        let Ok(far) = TcpStream::connect(self.target).await else {
            return reset(&near);
        };
        for stream in [&near, &far] {
            stream.set_nodelay(true).expect("a TCP connection");
        }
        // one that says nothing uses no fault up
        if !matches!(near.peek(&mut [0]).await, Ok(1..)) {
            return;
        }
        let fault = self.plan();
        let budget = AtomicUsize::new(fault.map_or(usize::MAX, |(_, reach)| reach));
        let (mut near_in, mut near_out) = near.into_split();
        let (mut far_in, mut far_out) = far.into_split();
        let cut = tokio::select! {
            cut = pump(&mut near_in, &mut far_out, &budget) => cut,
            cut = pump(&mut far_in, &mut near_out, &budget) => cut,
        };
        let Some((fault, _)) = fault else { return };
        if cut {
            match fault {
                Fault::Reset => {
                    reset(near_in.as_ref());
                    reset(far_in.as_ref());
                }
                Fault::End => {}
                Fault::HalfOpen => {
                    reset(near_in.as_ref());
                    let far = (far_in, far_out);
                    let mut half_open = self.half_open.lock();
                    half_open
                        .as_mut()
                        .unwrap_or_else(PoisonError::get_mut)
                        .push(far);
                }
            }
            self.made.send_modify(|made| *made += 1);
        } else {
            // ended before its time: the next one has the fault
            self.planned.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn plan(&self) -> Option<(Fault, usize)> {
        if self.planned.fetch_add(1, Ordering::Relaxed) >= self.faults {
            self.planned.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let mut chance = self.chance.lock().unwrap_or_else(PoisonError::into_inner);
        Some((*chance.one_of(&FAULTS), chance.below(REACH)))
    }
}

/// Carries one direction: true when the budget is used up, false at the end.
async fn pump(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf, budget: &AtomicUsize) -> bool {
    let mut room = vec![0; 16 * 1024];
    loop {
        let Ok(read @ 1..) = from.read(&mut room).await else {
            return false;
        };
        let left = budget.load(Ordering::Relaxed);
        let len = read.min(left);
        budget.store(left - len, Ordering::Relaxed);
        if to.write_all(&room[..len]).await.is_err() {
            return false;
        }
        if len == left {
            return true;
        }
    }
}

fn reset(stream: &TcpStream) {
    socket2::SockRef::from(stream)
        .set_linger(Some(Duration::ZERO))
        .expect("a socket lingers as it is told");
}
