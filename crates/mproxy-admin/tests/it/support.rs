//! A served admin port and an HTTP client small enough to see every byte.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;

use mproxy_admin::{Admin, Api, BuildInfo, Health, Metrics, bind, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) struct Port {
    pub(crate) addr: SocketAddr,
    pub(crate) health: Health,
    pub(crate) metrics: Metrics,
    shutdown: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

impl Port {
    pub(crate) async fn start() -> Self {
        Self::with_api(None).await
    }

    pub(crate) async fn with_api(api: Option<Arc<dyn Api>>) -> Self {
        let build = BuildInfo::new("mproxy-server", "1.2.3")
            .revision(Some("abc123"))
            .tls("aws-lc-rs (AWS-LC 5.1.0)");
        let health = Health::new();
        let metrics = Metrics::new(&build, &health, NonZeroUsize::new(2).unwrap());
        let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (shutdown, stopped) = oneshot::channel();
        let mut admin = Admin::new(build, health.clone(), metrics.clone());
        if let Some(api) = api {
            admin = admin.api(api);
        }
        let server = tokio::spawn(serve(listener, admin, async {
            stopped.await.unwrap();
        }));
        Self {
            addr,
            health,
            metrics,
            shutdown,
            server,
        }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.request("GET", target, "").await
    }

    /// Sends one request with extra header lines and reads until the port closes.
    pub(crate) async fn request(&self, method: &str, target: &str, headers: &str) -> Answer {
        self.request_raw(method, target, &format!("{headers}\r\n"))
            .await
    }

    /// Sends one request of which `rest` follows the line with the host.
    pub(crate) async fn request_raw(&self, method: &str, target: &str, rest: &str) -> Answer {
        let request = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{rest}");
        self.send(&request).await
    }

    /// Sends bytes and reads until the port closes.
    pub(crate) async fn send(&self, request: &str) -> Answer {
        exchange(self.connect().await, request.as_bytes()).await
    }

    /// Lets the server end, and waits until it has.
    pub(crate) async fn shut_down(self) {
        self.shutdown.send(()).unwrap();
        self.server.await.unwrap();
    }
}

/// Writes a request and reads the answer until the port closes the connection.
pub(crate) async fn exchange(mut stream: TcpStream, request: &[u8]) -> Answer {
    // A port that refuses a request closes without reading the rest of it, which resets the
    // connection; what it answered before that is judged by the caller.
    let _ = stream.write_all(request).await;
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    Answer::parse(&String::from_utf8(bytes).unwrap())
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").expect("a head ends");
        let status = head.split(' ').nth(1).expect("a status line").parse();
        Self {
            status: status.unwrap(),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut values = fields.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        values.next().map(|(_, value)| value)
    }

    #[track_caller]
    pub(crate) fn assert(&self, status: u16, body: &str) {
        assert_eq!((self.status, self.body.as_str()), (status, body));
    }
}
