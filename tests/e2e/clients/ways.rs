//! The two ways to a broker that are compared.

use std::net::SocketAddr;
use std::time::Duration;

use mproxy_tests::{Gate, Mosquitto, Mproxy, Port, Setup, WsBridge, until};
use rustix::process::Signal;
use tokio::time::timeout;

use super::program::Transport;

/// How long the proxy may take to end.
const SOON: Duration = Duration::from_secs(10);

/// How often clients try in vain before the broker is there again, and how long that is waited for: one
/// that has given up does not try.
const TRIES: f64 = 3.0;
const LONG_ENOUGH: Duration = Duration::from_secs(15);

/// A cable, and the proxy.
pub(super) struct Ways {
    transport: Transport,
    /// What refuses connections as the broker would do, and as a proxy does that is being restarted.
    gate: Gate,
    _bridge: Option<WsBridge>,
    mproxy: Mproxy,
    config: String,
    /// Where the proxy's listeners `mqtt` and `ws` come back.
    _ports: [Port; 2],
}

impl Ways {
    pub(super) async fn to(broker: &Mosquitto, transport: Transport) -> Self {
        let bridge = match transport {
            Transport::Tcp => None,
            // Debian's mosquitto has no WebSocket
            Transport::WebSocket => Some(WsBridge::at_any_path(broker).await),
        };
        let target = bridge
            .as_ref()
            .map_or_else(|| broker.addr(), WsBridge::addr);
        let ports = [Port::reserve(), Port::reserve()];
        let [mqtt, ws] = ports.each_ref().map(Port::addr);
        let config = format!(
            "[[listeners]]\nname = \"mqtt\"\nbind = \"{mqtt}\"\n\
             [[listeners]]\nname = \"ws\"\nbind = \"{ws}\"\nprotocol = \"ws\"\n\
             [upstreams.broker]\naddress = \"{}\"\n\
             [admin]\nbind = \"127.0.0.1:0\"\n",
            broker.url()
        );
        Self {
            transport,
            gate: Gate::before(target).await,
            _bridge: bridge,
            mproxy: Setup::new(&config).start().await,
            config,
            _ports: ports,
        }
    }

    pub(super) fn direct(&self) -> SocketAddr {
        self.gate.addr()
    }

    pub(super) fn through(&self) -> SocketAddr {
        self.mproxy.listener(match self.transport {
            Transport::Tcp => "mqtt",
            Transport::WebSocket => "ws",
        })
    }

    /// Stops the broker, until the client of the proxy has tried a few times to come back, and starts
    /// it again.
    pub(super) async fn restart_broker(&mut self, broker: Mosquitto) -> Mosquitto {
        const ACCEPTED: &str = "mproxy_connections_accepted_total";
        let before = self.mproxy.metrics().await.sum(ACCEPTED);
        self.gate.shut().await;
        let broker = broker.stop().await;
        let tries = until("clients to try", async || {
            let accepted = self.mproxy.metrics().await.sum(ACCEPTED);
            (accepted >= before + TRIES).then_some(())
        });
        timeout(LONG_ENOUGH, tries).await.ok();
        let broker = broker.start().await;
        self.gate.open().await;
        broker
    }

    /// Ends the proxy in order, and does to the cable what comes nearest to it.
    pub(super) async fn cut(&mut self) {
        self.gate.cut().await;
        self.mproxy.signal(Signal::TERM);
        self.mproxy.code(SOON).await;
    }

    /// Both are there again.
    pub(super) async fn open(&mut self) {
        self.mproxy = Setup::new(&self.config).start().await;
        self.gate.open().await;
    }
}
