//! A sink on a thread of its own.

use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use mproxy_load::load::{Options, Target};
use mproxy_load::net::Endpoint;
use mproxy_load::sink::Sink;
use mproxy_load::{Error, Stop};

/// A test that hangs fails after this time.
const PATIENCE: Duration = Duration::from_secs(10);

/// Ends with its drop.
pub(crate) struct RunningSink {
    pub(crate) endpoint: Endpoint,
    stop: Stop,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

impl RunningSink {
    pub(crate) fn start(endpoint: &Endpoint) -> Self {
        let sink = Sink::bind(endpoint).unwrap();
        let endpoint = sink.endpoint().clone();
        let stop = Stop::new();
        let thread = std::thread::spawn({
            let stop = stop.clone();
            move || sink.run(&stop)
        });
        Self {
            endpoint,
            stop,
            thread: Some(thread),
        }
    }

    pub(crate) fn on_loopback() -> Self {
        Self::start(&Endpoint::loopback(0))
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        match self.endpoint {
            Endpoint::Tcp(addr) => addr,
            ref other => panic!("{other} is no TCP address"),
        }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addr()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub(crate) fn target(&self) -> Target {
        Target {
            endpoint: self.endpoint.clone(),
            websocket: None,
            tls: None,
        }
    }
}

impl Drop for RunningSink {
    fn drop(&mut self) {
        self.stop.set();
        let result = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            result.unwrap().unwrap().unwrap();
        }
    }
}

pub(crate) fn options() -> Options {
    Options {
        duration: Duration::from_millis(30),
        idle: 40,
        stop: Stop::new(),
    }
}
