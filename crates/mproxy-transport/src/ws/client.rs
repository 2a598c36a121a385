//! The client's side of the handshake: towards a broker.

use tokio_tungstenite::{
    client_async_with_config,
    tungstenite::{Error, client::ClientRequestBuilder, http::Uri},
};

use super::{
    Subprotocol, WsStream,
    config::{MAX_BROKER_MESSAGE, websocket_config},
};
use crate::stream::Stream;

/// Upgrades a connected stream, and insists on the subprotocol that was asked for.
pub(crate) async fn connect_websocket(
    stream: Stream,
    authority: &str,
    path: &str,
    subprotocol: Subprotocol,
) -> Result<Stream, Error> {
    let uri = Uri::builder()
        .scheme("ws")
        .authority(authority)
        .path_and_query(path)
        .build()?;
    let request = ClientRequestBuilder::new(uri).with_sub_protocol(subprotocol.as_str());
    let config = websocket_config(MAX_BROKER_MESSAGE);
    // tungstenite fails the handshake if the answer names another subprotocol, or none.
    let (websocket, _) = client_async_with_config(request, stream, Some(config)).await?;
    Ok(WsStream::new(websocket).into())
}
