//! Sockets and readiness, as little as the sink and the generator share. Knows no MQTT.

mod endpoint;
mod limit;
mod poller;
mod stream;
mod tls;

pub use endpoint::{Endpoint, free_port};
pub use limit::raise_file_limit;
pub(crate) use poller::{Interest, Poller, Ready};
pub(crate) use stream::{Listener, Stream};
pub use tls::Tls;
