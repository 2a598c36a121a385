//! Packets that are never whole: the most that mproxy can be made to hold.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

use super::{Tally, Target, side_by_side};
use crate::socket::{large_connect, large_subscribe, log_in, upgrade, ws_head};

/// One address, as the simplest attacker has it.
const FROM: [u8; 4] = [127, 0, 0, 2];

pub(super) async fn connects(target: &Target, tally: &Tally, sockets: usize, size: usize) {
    let packet = large_connect("attacker", size);
    let packet = &packet[..packet.len() - 1];
    side_by_side(sockets, |_| async move {
        hold(target, tally, None, packet).await;
    })
    .await;
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
    side_by_side(sockets, |_| async move {
        loop {
            let attempt = async {
                let mut stream = target.ws(FROM).await?;
                upgrade(&mut stream).await?;
                tally.count_opened();
                stream.write_all(frame).await?;
                stream.flush().await?;
                stream.read_to_end(&mut Vec::new()).await
            };
            let _ = attempt.await;
            tally.count_cut();
            sleep(Duration::from_secs(1)).await;
        }
    })
    .await;
}

pub(super) async fn subscribes(target: &Target, tally: &Tally, clients: usize, size: usize) {
    let packet = large_subscribe(size);
    let packet = &packet[..packet.len() - 1];
    side_by_side(clients, |number| async move {
        hold(target, tally, Some(format!("attacker-{number}")), packet).await;
    })
    .await;
}

/// Sends what is not whole, and waits to be cut; then again, a second later.
async fn hold(target: &Target, tally: &Tally, client_id: Option<String>, packet: &[u8]) {
    loop {
        let attempt = async {
            let mut stream = target.mqtt(FROM).await?;
            if let Some(client_id) = &client_id {
                log_in(&mut stream, client_id).await?;
            }
            tally.count_opened();
            stream.write_all(packet).await?;
            stream.flush().await?;
            stream.read_to_end(&mut Vec::new()).await
        };
        // however it was cut
        let _ = attempt.await;
        tally.count_cut();
        sleep(Duration::from_secs(1)).await;
    }
}
