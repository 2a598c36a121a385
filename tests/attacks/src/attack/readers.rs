//! Clients that do not read what they have asked for.

use std::time::Duration;

use mproxy_tests::wire::{Publish, Version, subscribe};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

use super::{Tally, Target, side_by_side};
use crate::socket::log_in;

/// Payload of a message.
const SIZE: usize = 16 * 1024;

/// The publisher's pause between two messages: each goes to every reader, and costs all of them a record.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn slow(target: &Target, tally: &Tally, clients: usize) {
    let readers = side_by_side(clients, |number| async move {
        loop {
            let attempt = async {
                let mut stream = target.mqtt([127, 0, 0, 2]).await?;
                log_in(&mut stream, &format!("slow-{number}")).await?;
                let request = subscribe(Version::V311, 1, &[("flood", 0)]);
                stream.write_all(&request).await?;
                stream.flush().await?;
                let mut suback = [0; 5];
                stream.read_exact(&mut suback).await?;
                tally.count_opened();
                std::future::pending::<std::io::Result<()>>().await
            };
            let _ = attempt.await;
            tally.count_cut();
            sleep(Duration::from_millis(100)).await;
        }
    });
    let message = Publish::new(Version::V311, "flood").bytes(vec![7; SIZE]);
    let publisher = async {
        loop {
            let attempt = async {
                let mut stream = target.mqtt([127, 0, 0, 3]).await?;
                log_in(&mut stream, "flooder").await?;
                loop {
                    stream.write_all(&message).await?;
                    stream.flush().await?;
                    sleep(PAUSE).await;
                }
                #[allow(unreachable_code)] // says what the type is
                Ok::<(), std::io::Error>(())
            };
            let _ = attempt.await;
            sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::join!(readers, publisher);
}
