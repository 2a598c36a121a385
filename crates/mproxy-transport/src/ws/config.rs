//! The bounds of a WebSocket, the same on both sides of the proxy.

use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

/// tungstenite's settings: its defaults are made for few connections (128 KiB a connection before
/// the first byte, an unlimited write buffer).
pub(super) fn websocket_config(max_message_size: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_SIZE)
        // Each write of ours is a whole run of packets: nothing is gained by holding it back.
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_WRITE_FRAME + CONTROL_FRAMES_ROOM)
        .max_message_size(Some(max_message_size))
        .max_frame_size(Some(max_message_size))
}

/// Allocated when the connection is made and kept while it is idle, hence small.
const READ_BUFFER_SIZE: usize = 4 * 1024;

/// The payload of one outgoing frame. tungstenite copies a frame before it sends it and keeps the
/// copy's memory, so this bounds what a connection holds on to.
pub(super) const MAX_WRITE_FRAME: usize = 16 * 1024;

/// The data frame's own header, a pong and a close frame (139 bytes each at most).
const CONTROL_FRAMES_ROOM: usize = 512;

/// `ws://` to the broker: the broker is trusted not to announce more than MQTT itself can (a
/// frame may hold several packets, but brokers send one or a few).
pub(super) const MAX_BROKER_MESSAGE: usize = 268_435_456 + 5;
