//! Packets that layers judge and refuse: work for nothing.

use std::time::Duration;

use mproxy_tests::wire::{Publish, Version, subscribe};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

use super::{Tally, Target, side_by_side};
use crate::socket::log_in;

pub(super) async fn publishes(target: &Target, tally: &Tally, clients: usize) {
    let message = Publish::new(Version::V311, "secret/x").bytes(b"");
    flood(target, tally, clients, &message.repeat(4_000)).await;
}

pub(super) async fn subscribes(target: &Target, tally: &Tally, clients: usize, slashes: usize) {
    let request = subscribe(Version::V311, 1, &[(&"/".repeat(slashes), 0)]);
    flood(target, tally, clients, &request).await;
}

async fn flood(target: &Target, tally: &Tally, clients: usize, packets: &[u8]) {
    side_by_side(clients, |number| async move {
        loop {
            let attempt = async {
                let mut stream = target.mqtt([127, 0, 0, 2]).await?;
                log_in(&mut stream, &format!("attacker-{number}")).await?;
                tally.count_opened();
                let (mut read, mut write) = tokio::io::split(stream);
                let sending = async {
                    loop {
                        write.write_all(packets).await?;
                    }
                    #[allow(unreachable_code)] // says what the type is
                    Ok::<(), std::io::Error>(())
                };
                let reading = async {
                    let mut room = vec![0; 64 * 1024];
                    while read.read(&mut room).await? > 0 {}
                    Ok::<(), std::io::Error>(())
                };
                tokio::select! {
                    sent = sending => sent,
                    read = reading => read,
                }
            };
            let _ = attempt.await;
            tally.count_cut();
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
