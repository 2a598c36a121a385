//! Brokers with several addresses, and brokers that are away for a moment.

use std::{
    io::ErrorKind,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use mproxy_transport::{DialCause, DialOptions, Dialer, Resolver, Subprotocol};
use socket2::{Domain, Socket, Type};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    time,
};

/// A place that is taken: nobody can connect before it [listens](Self::listen).
struct Place {
    socket: Socket,
    addr: SocketAddr,
}

impl Place {
    fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(&any.into()).unwrap();
        let addr = socket.local_addr().unwrap().as_socket().unwrap();
        Self { socket, addr }
    }

    fn listen(self) -> TcpListener {
        self.socket.listen(16).unwrap();
        self.socket.set_nonblocking(true).unwrap();
        TcpListener::from_std(self.socket.into()).unwrap()
    }

    /// A place that takes no further connection, and refuses none: its queue is full.
    async fn swallow(self) -> (Socket, Vec<TcpStream>) {
        self.socket.listen(0).unwrap();
        let mut queue = Vec::new();
        let wait = Duration::from_millis(200);
        while let Ok(stream) = time::timeout(wait, TcpStream::connect(self.addr)).await {
            queue.push(stream.unwrap());
        }
        (self.socket, queue)
    }
}

fn url(addr: SocketAddr) -> String {
    format!("mqtt://{addr}")
}

fn dialer(addrs: &[SocketAddr], options: DialOptions) -> Dialer {
    let mut addrs = addrs.iter().map(|it| url(*it).parse().unwrap());
    Dialer::new(addrs.next().unwrap(), options).also(addrs)
}

#[tokio::test]
async fn the_next_address_is_used_while_the_first_refuses() {
    let (first, second) = (Place::new(), Place::new());
    let (one, two) = (first.addr, second.addr);
    let listener = second.listen();
    let dialer = dialer(&[one, two], DialOptions::default());
    let head = b"head".to_vec();
    let dialled = dialer.dial_behind(head, Subprotocol::Mqtt).await.unwrap();
    assert_eq!(dialled.address, 1);
    let told = dialled.instead.unwrap();
    assert_eq!(
        told.to_string(),
        format!("cannot reach {}: connection refused", url(one))
    );
    let (mut server, _) = listener.accept().await.unwrap();
    let mut head = [0; 4];
    server.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"head");

    // the first is back, and tried again when its time has come, by a clone too
    let first = first.listen();
    let again = dialer
        .dial_behind(Vec::new(), Subprotocol::Mqtt)
        .await
        .unwrap();
    assert_eq!((again.address, again.instead.is_none()), (1, true));
    time::pause();
    time::advance(Duration::from_secs(10)).await;
    time::resume();
    let clone = dialer.clone();
    let back = clone
        .dial_behind(Vec::new(), Subprotocol::Mqtt)
        .await
        .unwrap();
    assert_eq!(back.address, 0);
    first.accept().await.unwrap();
}

#[tokio::test]
async fn an_error_names_all_addresses() {
    let (first, second) = (Place::new(), Place::new());
    let dialer = dialer(&[first.addr, second.addr], DialOptions::default());
    for _ in 0..2 {
        let error = dialer.dial(Subprotocol::Mqtt).await.unwrap_err();
        assert!(matches!(error.cause(), DialCause::Refused), "{error}");
        let (one, two) = (url(first.addr), url(second.addr));
        assert_eq!(
            error.to_string(),
            format!("cannot reach {one}: connection refused; nor {two}: connection refused")
        );
    }
}

/// It would have taken the whole time of every client.
#[tokio::test]
async fn an_address_that_swallows_packets_takes_its_share_once() {
    let (first, second) = (Place::new(), Place::new());
    let addrs = [first.addr, second.addr];
    let _full = first.swallow().await;
    let _listener = second.listen();
    let mut options = DialOptions::default();
    options.connect_timeout = Duration::from_secs(2);
    let dialer = dialer(&addrs, options);
    let begin = Instant::now();
    let dialled = dialer
        .dial_behind(Vec::new(), Subprotocol::Mqtt)
        .await
        .unwrap();
    assert_eq!(dialled.address, 1);
    let told = dialled.instead.unwrap();
    assert!(matches!(told.cause(), DialCause::TimedOut), "{told}");
    assert!(
        begin.elapsed() < options.connect_timeout,
        "{:?}",
        begin.elapsed()
    );
    let begin = Instant::now();
    dialer.dial(Subprotocol::Mqtt).await.unwrap();
    assert!(
        begin.elapsed() < options.connect_timeout / 2,
        "{:?}",
        begin.elapsed()
    );
}

/// A broker that takes connections, and answers none, used up the time of every client: what had no time left was said
/// to have failed as well, and so the first address was the first again.
#[tokio::test]
async fn an_address_that_was_not_tried_has_not_failed() {
    let (first, second) = (Place::new(), Place::new());
    let addrs = [first.addr, second.addr];
    let (_silent, _listener) = (first.listen(), second.listen());
    let mut options = DialOptions::default();
    options.connect_timeout = Duration::from_secs(1);
    let silent = format!("ws://{}/mqtt", addrs[0]).parse().unwrap();
    let dialer = Dialer::new(silent, options).also([url(addrs[1]).parse().unwrap()]);
    let error = dialer.dial(Subprotocol::Mqtt).await.unwrap_err();
    let told = error.to_string();
    assert!(told.contains(&addrs[0].to_string()), "{told}");
    assert!(!told.contains(&addrs[1].to_string()), "{told}");
    let dialled = dialer
        .dial_behind(Vec::new(), Subprotocol::Mqtt)
        .await
        .unwrap();
    assert_eq!(dialled.address, 1);
}

/// A broker restarts in less time than its clients need to come back.
#[tokio::test]
async fn a_broker_that_is_away_for_a_moment_is_waited_for_if_that_is_asked_for() {
    let place = Place::new();
    let addrs = [place.addr];
    let mut options = DialOptions::default();
    let at_once = dialer(&addrs, options);
    let begin = Instant::now();
    let error = at_once.dial(Subprotocol::Mqtt).await.unwrap_err();
    assert!(matches!(error.cause(), DialCause::Refused), "{error}");
    assert!(
        begin.elapsed() < Duration::from_millis(100),
        "{:?}",
        begin.elapsed()
    );

    options.retry_for = Duration::from_millis(300);
    let begin = Instant::now();
    let error = dialer(&addrs, options)
        .dial(Subprotocol::Mqtt)
        .await
        .unwrap_err();
    assert!(matches!(error.cause(), DialCause::Refused), "{error}");
    let took = begin.elapsed();
    // the first pause is shorter
    assert!(took >= Duration::from_millis(50), "{took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");

    options.connect_timeout = Duration::from_secs(20);
    options.retry_for = Duration::from_secs(60);
    let patient = dialer(&addrs, options);
    let mut waiting: Vec<_> = (0..20)
        .map(|_| {
            let patient = patient.clone();
            tokio::spawn(async move { patient.dial(Subprotocol::Mqtt).await.map(drop) })
        })
        .collect();
    tokio::task::yield_now().await;
    let listener = place.listen();
    for _ in &waiting {
        listener.accept().await.unwrap();
    }
    for client in waiting.drain(..) {
        client.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_name_is_resolved_again_between_two_attempts() {
    // two addresses of the same port, which somebody else may have at one of them
    let (old, listener) = loop {
        let old = Place::new();
        let moved = SocketAddr::from(([127, 0, 0, 2], old.addr.port()));
        if let Ok(listener) = TcpListener::bind(moved).await {
            break (old, listener);
        }
    };
    let port = old.addr.port();
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let resolver = Resolver::new(move |_| match counter.fetch_add(1, Ordering::Relaxed) {
        0 => Err(ErrorKind::NotFound.into()),
        1 => Ok(vec![SocketAddr::from(([127, 0, 0, 1], 0))]),
        _ => Ok(vec![SocketAddr::from(([127, 0, 0, 2], 0))]),
    });
    let mut options = DialOptions::default();
    options.connect_timeout = Duration::from_secs(20);
    options.retry_for = options.connect_timeout;
    let dialer = Dialer::new(
        format!("mqtt://broker.test:{port}").parse().unwrap(),
        options,
    );
    let dialer = dialer.resolver(resolver);
    dialer.dial(Subprotocol::Mqtt).await.unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 3);
    listener.accept().await.unwrap();
}
