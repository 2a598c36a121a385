//! A small MQTT client: what the simulated devices need, and no more.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mproxy_codec::{
    ConnectBuilder, DecodeError, EncodeError, Frame, Kind, QoS, ReasonCode, SubscriptionOptions,
    Version, View, encode_publish, encode_subscribe,
};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use super::frames::{FrameError, Frames};

/// From dialling to CONNACK.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// In seconds.
const KEEP_ALIVE: u16 = 60;

/// A connected client.
#[derive(Debug)]
pub(super) struct Client {
    frames: Frames<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    version: Version,
    last_packet_id: u16,
}

/// What came from the other side.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Received {
    /// A publication was acknowledged, or refused.
    Puback { packet_id: u16, reason: ReasonCode },
    /// A subscription was answered.
    Suback { code: ReasonCode },
    /// Somebody published something.
    Message { topic: String, payload: Vec<u8> },
}

/// Why a connection did not come about, or ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// The stream failed, or what came is not MQTT.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A packet could not be built.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The other side closed without a word.
    #[error("connection closed")]
    Closed,
    /// No CONNACK came.
    #[error("no answer to CONNECT")]
    Timeout,
    /// CONNACK said no.
    #[error("CONNACK 0x{:02x} {}", .0.as_u8(), .0)]
    Refused(ReasonCode),
    /// DISCONNECT said why.
    #[error("DISCONNECT 0x{:02x} {}", .0.as_u8(), .0)]
    Disconnected(ReasonCode),
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        Self::Frame(error.into())
    }
}

impl From<DecodeError> for ClientError {
    fn from(error: DecodeError) -> Self {
        Self::Frame(error.into())
    }
}

impl Client {
    /// Connects with a clean session, as MQTT 5 or 3.1.1.
    ///
    /// # Errors
    /// When the address cannot be reached, or what answers there refuses or is silent.
    pub(super) async fn connect(
        address: SocketAddr,
        version: Version,
        client_id: &str,
    ) -> Result<Self, ClientError> {
        let handshake = Self::handshake(address, version, client_id);
        timeout(CONNECT_TIMEOUT, handshake)
            .await
            .map_err(|_| ClientError::Timeout)?
    }

    async fn handshake(
        address: SocketAddr,
        version: Version,
        client_id: &str,
    ) -> Result<Self, ClientError> {
        let connect = ConnectBuilder::new(version)
            .client_id(client_id)
            .keep_alive(KEEP_ALIVE)
            .build()?;
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        let mut client = Self {
            frames: Frames::of_broker(reader, version),
            writer,
            version,
            last_packet_id: 0,
        };
        client.writer.write_all(connect.as_bytes()).await?;
        let frame = client.frame().await?;
        match frame.view()? {
            View::Connack(connack) if connack.is_success() => Ok(client),
            View::Connack(connack) => Err(ClientError::Refused(connack.reason(client.version))),
            _ => Err(ClientError::Closed),
        }
    }

    /// Publishes; the packet identifier that will be acknowledged, if any will be.
    ///
    /// # Errors
    /// When the topic has no encoding or the connection is gone.
    pub(super) async fn publish(
        &mut self,
        topic: &str,
        qos: QoS,
        properties: &[u8],
        payload: &[u8],
    ) -> Result<Option<u16>, ClientError> {
        let id = self.next_packet_id();
        let packet = encode_publish(self.version, topic, qos, id, properties, payload)?;
        self.writer.write_all(&packet).await?;
        Ok((qos != QoS::AtMostOnce).then_some(id))
    }

    /// Asks for a subscription with QoS 0, so that nothing has to be acknowledged.
    ///
    /// # Errors
    /// When the filter has no encoding or the connection is gone.
    pub(super) async fn subscribe(&mut self, filter: &str) -> Result<(), ClientError> {
        let id = self.next_packet_id();
        let options = SubscriptionOptions::new(QoS::AtMostOnce);
        let packet = encode_subscribe(self.version, id, &[], [(filter, options)])?;
        Ok(self.writer.write_all(&packet).await?)
    }

    /// Waits for what comes next.
    ///
    /// # Errors
    /// When the connection ends.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Received, ClientError> {
        loop {
            let frame = self.frame().await?;
            match frame.view()? {
                View::Ack(ack) if ack.kind == Kind::Puback => {
                    return Ok(Received::Puback {
                        packet_id: ack.packet_id,
                        reason: ack.reason,
                    });
                }
                View::Suback(suback) => {
                    let code = suback.codes.first().copied().unwrap_or(0x80);
                    return Ok(Received::Suback {
                        code: ReasonCode::new(code),
                    });
                }
                View::Publish(publish) => {
                    return Ok(Received::Message {
                        topic: publish.topic().to_owned(),
                        payload: publish.payload().unwrap_or_default().to_vec(),
                    });
                }
                View::Disconnect(disconnect) => {
                    return Err(ClientError::Disconnected(disconnect.reason));
                }
                _ => {}
            }
        }
    }

    async fn frame(&mut self) -> Result<Frame, ClientError> {
        let frame = self.frames.next().await?;
        frame.ok_or(ClientError::Closed)
    }

    /// One publication is under way at a time, so that no identifier is in use twice.
    const fn next_packet_id(&mut self) -> u16 {
        self.last_packet_id = match self.last_packet_id.checked_add(1) {
            Some(id) => id,
            None => 1,
        };
        self.last_packet_id
    }
}
