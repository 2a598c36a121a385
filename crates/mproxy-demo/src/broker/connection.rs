//! One connection to the broker: CONNECT, then packets both ways until one side has enough.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mproxy_codec::{
    Ack, ConnectPacket, DecodeError, EncodeError, Kind, PINGRESP, PropertyId, PropertyWriter,
    Publish, QoS, ReasonCode, Value, Version, View, encode_ack, encode_connack, encode_disconnect,
    encode_refusal, encode_suback, encode_unsuback,
};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, sleep_until, timeout};

use super::message::Message;
use super::router::{Joined, Parting, Router};
use crate::frames::{FrameError, Frames, MAX_PACKET_LEN};

/// From accept to a whole CONNECT.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// For one write. A client that reads nothing for so long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a connection ends.
#[derive(Debug)]
enum End {
    /// The stream failed or ended.
    Gone,
    /// The client said so.
    Disconnect(Parting),
    /// The client is told this and sent away.
    Dismiss(ReasonCode),
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

impl From<FrameError> for End {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Io(_) => Self::Gone,
            FrameError::Decode(error) => error.into(),
        }
    }
}

impl From<DecodeError> for End {
    fn from(error: DecodeError) -> Self {
        Self::Dismiss(error.reason())
    }
}

impl From<EncodeError> for End {
    fn from(_: EncodeError) -> Self {
        Self::Dismiss(ReasonCode::UNSPECIFIED_ERROR)
    }
}

struct Connection {
    frames: Frames<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    router: Arc<Router>,
    joined: Joined,
    version: Version,
    /// QoS 2 publications of the client whose PUBREL has not come: a set of two-byte numbers, and
    /// so bounded.
    unreleased: HashSet<u16>,
}

/// Serves one client until it is gone.
pub(super) async fn serve(stream: TcpStream, router: Arc<Router>) {
    // small packets, each of which somebody watches: worth a segment of its own
    let _ = stream.set_nodelay(true);
    let (reader, mut writer) = stream.into_split();
    let mut frames = Frames::of_client(reader);
    let connect = match timeout(CONNECT_TIMEOUT, admit(&mut frames)).await {
        Ok(Ok(connect)) => connect,
        Ok(Err(Some(refusal))) => {
            let _ = write(&mut writer, &refusal).await;
            return;
        }
        Ok(Err(None)) | Err(_) => return,
    };
    let mut connection = Connection {
        frames,
        writer,
        joined: router.join(&connect),
        router,
        version: connect.version(),
        unreleased: HashSet::new(),
    };
    let end = connection.run(&connect).await;
    connection.close(end).await;
}

/// Reads a CONNECT; otherwise the CONNACK to answer, if what came deserves one.
async fn admit(frames: &mut Frames<OwnedReadHalf>) -> Result<ConnectPacket, Option<Bytes>> {
    let refuse = |version, reason| encode_refusal(version, reason, &[]).ok();
    let frame = match frames.next().await {
        Ok(frame) => frame.ok_or(None)?,
        Err(FrameError::Io(_)) => return Err(None),
        Err(FrameError::Decode(error)) => {
            let version = ConnectPacket::version_of(frames.unread()).ok_or(None)?;
            return Err(refuse(version, error.reason()));
        }
    };
    let Ok(View::Connect(connect)) = frame.view() else {
        return Err(None);
    };
    let method = connect.properties().get(PropertyId::AuthenticationMethod);
    if method.is_some() {
        let reason = ReasonCode::BAD_AUTHENTICATION_METHOD;
        return Err(refuse(frame.version(), reason));
    }
    Ok(*connect)
}

impl Connection {
    async fn run(&mut self, connect: &ConnectPacket) -> End {
        let connack = match connack(connect, &self.joined.client_id) {
            Ok(connack) => connack,
            Err(error) => return error.into(),
        };
        if write(&mut self.writer, &connack).await.is_err() {
            return End::Gone;
        }
        // section 3.1.2.10: one and a half times
        let patience = Duration::from_millis(u64::from(connect.keep_alive()) * 1500);
        loop {
            let heard = Instant::now();
            if let Err(end) = self.until_packet(heard, patience).await {
                return end;
            }
        }
    }

    /// Sends what is queued until a packet has come, and handles that.
    async fn until_packet(&mut self, heard: Instant, patience: Duration) -> Result<(), End> {
        loop {
            tokio::select! {
                () = self.joined.over.cancelled() => {
                    return Err(End::Dismiss(ReasonCode::SESSION_TAKEN_OVER));
                }
                () = sleep_until(heard + patience), if !patience.is_zero() => {
                    return Err(End::Dismiss(ReasonCode::KEEP_ALIVE_TIMEOUT));
                }
                () = self.joined.wake.notified() => self.flush().await?,
                frame = self.frames.next() => {
                    let frame = frame?.ok_or(End::Gone)?;
                    return self.handle(&frame.view()?).await;
                }
            }
        }
    }

    async fn handle(&mut self, view: &View<'_>) -> Result<(), End> {
        match view {
            View::Publish(publish) => self.publish(publish).await,
            View::Ack(ack) => self.ack(ack).await,
            View::Subscribe(subscribe) => {
                let codes = self.router.subscribe(self.joined.id, subscribe);
                let id = subscribe.packet_id();
                self.send(encode_suback(self.version, id, &[], &codes))
                    .await
            }
            View::Unsubscribe(unsubscribe) => {
                let codes = self.router.unsubscribe(self.joined.id, unsubscribe);
                let id = unsubscribe.packet_id();
                self.send(encode_unsuback(self.version, id, &[], &codes))
                    .await
            }
            View::Pingreq => self.send(Ok(Bytes::from_static(&PINGRESP))).await,
            View::Disconnect(disconnect) => {
                let wants_will = disconnect.reason == ReasonCode::DISCONNECT_WITH_WILL;
                Err(End::Disconnect(if wants_will {
                    Parting::WithWill
                } else {
                    Parting::Normal
                }))
            }
            View::Connect(_)
            | View::Connack(_)
            | View::Suback(_)
            | View::Unsuback(_)
            | View::Pingresp
            | View::Auth(_) => Err(End::Dismiss(ReasonCode::PROTOCOL_ERROR)),
        }
    }

    async fn publish(&mut self, publish: &Publish<'_>) -> Result<(), End> {
        // CONNACK granted none
        if publish.layout().topic_alias().is_some() {
            return Err(End::Dismiss(ReasonCode::TOPIC_ALIAS_INVALID));
        }
        let message = Message::of_publish(publish, Instant::now());
        let (id, qos) = (publish.packet_id(), publish.qos());
        let (kind, id) = match (qos, id) {
            (QoS::AtLeastOnce, Some(id)) => (Kind::Puback, id),
            (QoS::ExactlyOnce, Some(id)) => (Kind::Pubrec, id),
            _ => {
                self.router.publish(self.joined.id, message);
                return Ok(());
            }
        };
        // [MQTT-4.3.3-10]: a repeated QoS 2 PUBLISH is acknowledged, not delivered again
        if kind == Kind::Puback || self.unreleased.insert(id) {
            self.router.publish(self.joined.id, message);
        }
        let ack = encode_ack(self.version, kind, id, ReasonCode::SUCCESS, &[]);
        self.send(ack).await
    }

    async fn ack(&mut self, ack: &Ack<'_>) -> Result<(), End> {
        let (session, id) = (self.joined.id, ack.packet_id);
        let code = |is_known| {
            if is_known {
                ReasonCode::SUCCESS
            } else {
                ReasonCode::PACKET_IDENTIFIER_NOT_FOUND
            }
        };
        match ack.kind {
            Kind::Pubrel => {
                let code = code(self.unreleased.remove(&id));
                self.send(encode_ack(self.version, Kind::Pubcomp, id, code, &[]))
                    .await
            }
            // [MQTT-4.3.3-4]: a PUBREC that refuses ends the hand-shake
            Kind::Pubrec if !ack.reason.is_error() => {
                let code = code(self.router.is_in_flight(session, id));
                self.send(encode_ack(self.version, Kind::Pubrel, id, code, &[]))
                    .await
            }
            _ => {
                self.router.acknowledge(session, id);
                self.flush().await
            }
        }
    }

    async fn flush(&mut self) -> Result<(), End> {
        loop {
            let run = self.router.take(self.joined.id);
            if run.is_empty() {
                return Ok(());
            }
            write(&mut self.writer, &run).await?;
        }
    }

    async fn send(&mut self, packet: Result<Bytes, EncodeError>) -> Result<(), End> {
        Ok(write(&mut self.writer, &packet?).await?)
    }

    async fn close(&mut self, end: End) {
        let parting = match end {
            End::Disconnect(parting) => parting,
            End::Gone | End::Dismiss(_) => Parting::WithWill,
        };
        self.router.leave(self.joined.id, parting);
        // before MQTT 5.0 a server closes without a word
        if let (End::Dismiss(reason), Version::V5) = (end, self.version) {
            let told = if reason.is_valid_in_server_disconnect() {
                reason
            } else {
                ReasonCode::PROTOCOL_ERROR
            };
            let _ = self.send(encode_disconnect(self.version, told, &[])).await;
        }
        let _ = self.writer.shutdown().await;
    }
}

/// CONNACK that says what this broker cannot do, so that no client has to find out.
fn connack(connect: &ConnectPacket, client_id: &str) -> Result<Bytes, EncodeError> {
    let mut properties = PropertyWriter::new();
    if connect.version().is_v5() {
        let max_packet_len = u32::try_from(MAX_PACKET_LEN).unwrap_or(u32::MAX);
        properties
            .push(PropertyId::SessionExpiryInterval, Value::U32(0))?
            .push(PropertyId::MaximumPacketSize, Value::U32(max_packet_len))?
            .push(PropertyId::SharedSubscriptionAvailable, Value::Byte(0))?;
        if connect.client_id().is_empty() {
            let assigned = Value::Str(client_id);
            properties.push(PropertyId::AssignedClientIdentifier, assigned)?;
        }
    }
    encode_connack(
        connect.version(),
        false,
        ReasonCode::SUCCESS,
        properties.as_bytes(),
    )
}

async fn write(writer: &mut OwnedWriteHalf, bytes: &[u8]) -> io::Result<()> {
    timeout(WRITE_TIMEOUT, writer.write_all(bytes)).await?
}
