//! WebSocket frames that carry nothing, or are answered and not listened to.

use std::time::Duration;

use mproxy_tests::wire::{Connect, Publish, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

use super::{Tally, Target, side_by_side};
use crate::socket::{upgrade, ws_frame};

const BINARY: u8 = 0x82;
const PING: u8 = 0x89;

pub(super) async fn empty(target: &Target, tally: &Tally, clients: usize) {
    let frames = ws_frame(BINARY, b"").repeat(10_000);
    let frames = &frames[..];
    side_by_side(clients, |_| async move {
        loop {
            let attempt = async {
                let mut stream = target.ws([127, 0, 0, 2]).await?;
                upgrade(&mut stream).await?;
                tally.count_opened();
                loop {
                    stream.write_all(frames).await?;
                }
                #[allow(unreachable_code)] // says what the type is
                Ok::<(), std::io::Error>(())
            };
            let _ = attempt.await;
            tally.count_cut();
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

pub(super) async fn deaf_pings(target: &Target, tally: &Tally, clients: usize) {
    // a message that nobody answers between the pings
    let message = Publish::new(Version::V311, "good").bytes(b"x");
    let noise = [ws_frame(PING, &[0; 125]), ws_frame(BINARY, &message)].concat();
    let noise = &noise[..];
    side_by_side(clients, |number| async move {
        loop {
            let attempt = async {
                let mut stream = target.ws([127, 0, 0, 2]).await?;
                upgrade(&mut stream).await?;
                let hello = Connect::new(Version::V311, &format!("deaf-{number}")).bytes();
                stream.write_all(&ws_frame(BINARY, &hello)).await?;
                stream.read_exact(&mut [0; 6]).await?;
                tally.count_opened();
                loop {
                    stream.write_all(noise).await?;
                    // so that each ping is read alone, and answered
                    sleep(Duration::from_micros(100)).await;
                }
                #[allow(unreachable_code)] // says what the type is
                Ok::<(), std::io::Error>(())
            };
            let _ = attempt.await;
            tally.count_cut();
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
