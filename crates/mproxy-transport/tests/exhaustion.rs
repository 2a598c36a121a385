//! Out of file descriptors. Alone in its binary, because it lowers the limit of the process.

use std::sync::{Mutex, mpsc};

use mproxy_transport::{ListenOptions, Listener};
use tokio::sync::Notify;
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

/// Passes the fields of each warning of a listener on.
struct Warnings {
    lines: Mutex<mpsc::Sender<String>>,
    arrived: &'static Notify,
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "mproxy::listener"
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        self.lines.lock().unwrap().send(line.0).unwrap();
        self.arrived.notify_one();
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0 += &format!("{field}={value:?} ");
    }
}

#[tokio::test]
async fn accept_waits_for_file_descriptors_and_recovers() {
    static ARRIVED: Notify = Notify::const_new();
    let (lines, warnings) = mpsc::channel();
    tracing::subscriber::set_global_default(Warnings {
        lines: Mutex::new(lines),
        arrived: &ARRIVED,
    })
    .unwrap();

    let addr = "127.0.0.1:0".parse().unwrap();
    let listener = Listener::bind(&addr, &ListenOptions::default()).unwrap();
    let port = listener.local_addr().unwrap().port().unwrap();
    let acceptor = listener.into_acceptor().unwrap();
    let clients: Vec<_> = (0..3)
        .map(|_| std::net::TcpStream::connect(("127.0.0.1", port)).unwrap())
        .collect();
    let (soft, hard) = rlimit::Resource::NOFILE.get().unwrap();
    rlimit::Resource::NOFILE.set(3, hard).unwrap();

    tokio::select! {
        accepted = acceptor.accept() => panic!("accepted without descriptors: {accepted:?}"),
        () = ARRIVED.notified() => {}
    }
    let warning = warnings.recv().unwrap();
    assert!(warning.contains("waiting for resources"), "{warning}");
    assert!(!warning.contains("suppressed"), "{warning}");
    // The cancelled accept above left the wait behind; this one goes on with it, in silence.
    tokio::select! {
        biased;
        accepted = acceptor.accept() => panic!("accepted without descriptors: {accepted:?}"),
        () = tokio::task::yield_now() => {}
    }

    rlimit::Resource::NOFILE.set(soft, hard).unwrap();
    let mut peers: Vec<_> = Vec::new();
    for _ in &clients {
        peers.push(acceptor.accept().await.unwrap().peer());
    }
    let mut expected: Vec<_> = clients
        .iter()
        .map(|client| client.local_addr().unwrap().into())
        .collect();
    peers.sort_by_key(|peer| peer.socket_addr());
    expected.sort_by_key(|peer: &mproxy_transport::ClientAddr| peer.socket_addr());
    assert_eq!(peers, expected);
    assert_eq!(warnings.try_iter().count(), 0, "one line a second at most");
}
