//! A broker that falls over when too many clients connect at once.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::sync::{oneshot, watch};
use tokio::time::sleep;

use crate::wire::{PROBE, Packet, Version, connack};

/// In which the rates are.
const SECOND: Duration = Duration::from_secs(1);

/// How long it is away when it has fallen over.
const AWAY: Duration = Duration::from_secs(1);

/// How often it looks whether its own clock is late.
const TICK: Duration = Duration::from_millis(5);

/// Takes `takes` CONNECTs a second, answers more of them later, and falls over at `falls`: then all
/// connections end, and nobody can connect for a second. Until it is [restarted](Self::restart) it takes as many as
/// come.
#[derive(Debug)]
pub struct Fragile {
    addr: SocketAddr,
    shared: Arc<Shared>,
    /// Ends its thread.
    _stop: oneshot::Sender<()>,
}

#[derive(Debug)]
struct Shared {
    takes: u32,
    falls: usize,
    state: Mutex<State>,
    /// The life that connections belong to: they end with it.
    life: watch::Sender<u32>,
}

#[derive(Debug, Default)]
struct State {
    /// Since when it is fragile.
    since: Option<Instant>,
    /// When CONNECTs came, since then.
    connects: Vec<Instant>,
    /// When the next CONNECT can be answered.
    free: Option<Instant>,
    /// Until when it is away.
    away: Option<Instant>,
    falls: usize,
    open: usize,
    /// The most that its thread was late since the first CONNECT.
    late: Duration,
}

/// Since when it is fragile, and how often it has fallen over since.
type Life = (Option<Instant>, usize);

/// What it has seen since the restart.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// When its CONNECTs came, after the restart.
    pub connects: Vec<Duration>,
    /// The most CONNECTs in a second, wherever it begins.
    pub most: usize,
    /// How often it has fallen over.
    pub falls: usize,
    /// How many clients are in.
    pub open: usize,
    /// The most that its own thread was late, because the machine is busy: so much earlier may CONNECTs have
    /// come.
    pub late: Duration,
}

impl Fragile {
    /// Listens on a free port.
    ///
    /// # Panics
    /// If there is none.
    pub async fn start(takes: u32, falls: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("there is a free port");
        let addr = listener.local_addr().expect("it is bound");
        let shared = Arc::new(Shared {
            takes,
            falls,
            state: Mutex::default(),
            life: watch::Sender::new(0),
        });
        let listener = listener.into_std().expect("it is bound");
        let (stop, stopped) = oneshot::channel();
        let own = Arc::clone(&shared);
        // its own, so that it does not count late what the clients of a test keep busy
        thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime can be made").block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    () = serve(listener, addr, Arc::clone(&own)) => {}
                    () = own.watch() => {}
                }
            });
        });
        Self {
            addr,
            shared,
            _stop: stop,
        }
    }

    /// For the key `address` of an upstream.
    #[must_use]
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.addr)
    }

    /// All connections end. It is back at once, and fragile.
    pub fn restart(&self) {
        let mut state = self.shared.lock();
        *state = State {
            since: Some(Instant::now()),
            ..State::default()
        };
        drop(state);
        self.shared.life.send_modify(|life| *life += 1);
    }

    /// What it has seen.
    #[must_use]
    pub fn seen(&self) -> Seen {
        let state = self.shared.lock();
        let Some(since) = state.since else {
            let open = state.open;
            return Seen {
                open,
                ..Seen::default()
            };
        };
        let of = |at: &Instant| at.saturating_duration_since(since);
        Seen {
            connects: state.connects.iter().map(of).collect(),
            most: most(&state.connects),
            falls: state.falls,
            open: state.open,
            late: state.late,
        }
    }
}

/// The most of these in a second.
fn most(connects: &[Instant]) -> usize {
    let within =
        |(index, at): (usize, &Instant)| connects[index..].partition_point(|it| *it < *at + SECOND);
    connects.iter().enumerate().map(within).max().unwrap_or(0)
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how late this thread is.
    async fn watch(&self) {
        loop {
            let due = Instant::now() + TICK;
            sleep(TICK).await;
            let mut state = self.lock();
            if !state.connects.is_empty() {
                state.late = state.late.max(due.elapsed());
            }
        }
    }

    /// A client is in. Says in which life.
    fn enters(&self) -> Life {
        let mut state = self.lock();
        state.open += 1;
        (state.since, state.falls)
    }

    /// A client is not in any more; a new life has counted from none.
    fn leaves(&self, own: Life) {
        let mut state = self.lock();
        if (state.since, state.falls) == own {
            state.open -= 1;
        }
    }

    /// A CONNECT came. Says when to answer it; `None` if the broker falls over.
    fn connect(&self) -> Option<Duration> {
        let now = Instant::now();
        let mut state = self.lock();
        if state.since.is_none() {
            return Some(Duration::ZERO);
        }
        if state.away.is_some_and(|away| away > now) {
            return None;
        }
        state.connects.push(now);
        let recent = state.connects.iter().rev();
        let recent = recent.take_while(|at| now.duration_since(**at) < SECOND);
        if recent.count() >= self.falls {
            state.falls += 1;
            state.away = Some(now + AWAY);
            state.free = None;
            state.open = 0;
            return None;
        }
        let free = state.free.map_or(now, |free| free.max(now));
        state.free = Some(free + SECOND / self.takes);
        Some(free.saturating_duration_since(now))
    }
}

async fn serve(listener: std::net::TcpListener, addr: SocketAddr, shared: Arc<Shared>) {
    let mut listener = TcpListener::from_std(listener).ok();
    loop {
        let falls = shared.lock().falls;
        let here = match listener.take() {
            Some(here) => here,
            None => TcpListener::bind(addr).await.expect("it was there before"),
        };
        loop {
            let Ok((stream, _)) = here.accept().await else {
                continue;
            };
            if shared.lock().falls > falls {
                break;
            }
            let (shared, life) = (Arc::clone(&shared), shared.life.subscribe());
            tokio::spawn(async move {
                // the client finds out
                let _ = session(stream, &shared, life).await;
            });
        }
        drop(here);
        sleep(AWAY).await;
    }
}

async fn session(
    mut stream: TcpStream,
    shared: &Shared,
    mut life: watch::Receiver<u32>,
) -> io::Result<()> {
    let mut received = Vec::new();
    let connect = loop {
        if let Some(packet) = Packet::take(&mut received) {
            break packet;
        }
        tokio::select! {
            _ = life.changed() => return Ok(()),
            read = stream.read_buf(&mut received) => if read? == 0 {
                return Ok(());
            },
        }
    };
    if connect.bytes() == PROBE {
        return stream.write_all(&connack(Version::V311, 0)).await;
    }
    let falls = shared.lock().falls;
    let Some(wait) = shared.connect() else {
        if shared.lock().falls > falls {
            shared.life.send_modify(|life| *life += 1);
        }
        return Ok(());
    };
    tokio::select! {
        _ = life.changed() => return Ok(()),
        () = sleep(wait) => {}
    }
    // before the client knows, so that it is counted when the client says so
    let own = shared.enters();
    let ended = async {
        stream.write_all(&connack(Version::V311, 0)).await?;
        stream.read_buf(&mut received).await
    };
    tokio::select! {
        _ = life.changed() => {}
        _ = ended => {}
    }
    shared.leaves(own);
    Ok(())
}
