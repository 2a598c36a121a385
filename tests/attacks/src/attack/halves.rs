//! Packets that are never whole: the most that mproxy can be made to hold.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Tally, Target, again_and_again};
use crate::socket::{large_connect, large_subscribe, log_in, upgrade, ws_head};

/// One address, as the simplest attacker has it.
const FROM: [u8; 4] = [127, 0, 0, 2];

/// Before one that was cut comes again.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) async fn connects(target: &Target, tally: &Tally, sockets: usize, size: usize) {
    let packet = large_connect("attacker", size);
    hold(target, tally, sockets, false, &packet).await;
}

/// The same in a frame of WebSocket.
pub(super) async fn connects_in_frames(
    target: &Target,
    tally: &Tally,
    sockets: usize,
    size: usize,
) {
    let packet = large_connect("attacker", size);
    let frame = [&ws_head(packet.len())[..], &packet[..packet.len() - 1]].concat();
    let frame = &frame[..];
    again_and_again(sockets, tally, PAUSE, |_| async move {
        let mut stream = target.ws(FROM).await?;
        upgrade(&mut stream).await?;
        tally.count_opened();
        stream.write_all(frame).await?;
        stream.flush().await?;
        stream.read_to_end(&mut Vec::new()).await
    })
    .await;
}

pub(super) async fn subscribes(target: &Target, tally: &Tally, clients: usize, size: usize) {
    let packet = large_subscribe(size);
    hold(target, tally, clients, true, &packet).await;
}

/// Sends all but the last byte, after a CONNECT or instead of one, and waits to be cut; then again, a second
/// later.
async fn hold(target: &Target, tally: &Tally, count: usize, let_in: bool, packet: &[u8]) {
    let packet = &packet[..packet.len() - 1];
    again_and_again(count, tally, PAUSE, |number| async move {
        let mut stream = target.mqtt(FROM).await?;
        if let_in {
            log_in(&mut stream, &format!("attacker-{number}")).await?;
        }
        tally.count_opened();
        stream.write_all(packet).await?;
        stream.flush().await?;
        stream.read_to_end(&mut Vec::new()).await
    })
    .await;
}
