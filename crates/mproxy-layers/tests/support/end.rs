//! A peer of a session.

use bytes::Bytes;
use mproxy_codec::Head;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// One end of a connection that speaks in whole packets.
#[derive(Debug)]
pub(crate) struct End(pub(crate) DuplexStream);

impl End {
    pub(crate) async fn write(&mut self, packet: &[u8]) {
        self.0.write_all(packet).await.expect("written");
    }

    /// Reads one packet.
    pub(crate) async fn read(&mut self) -> Bytes {
        let mut packet = Vec::new();
        loop {
            packet.push(self.0.read_u8().await.expect("a packet"));
            if let Some(head) = Head::parse(&packet).expect("a head") {
                let start = packet.len();
                packet.resize(head.total_len(), 0);
                self.0
                    .read_exact(&mut packet[start..])
                    .await
                    .expect("a whole packet");
                return packet.into();
            }
        }
    }
}
