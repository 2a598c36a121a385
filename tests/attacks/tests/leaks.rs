//! Connections that end in every way there is leave nothing behind.

use std::fs;
use std::io;
use std::time::Duration;

use futures_util::future::join_all;
use mproxy_attacks::attack::{Kind, Memory};
use mproxy_attacks::{Rig, Target, connect, raise_descriptor_limit, upgrade};
use mproxy_tests::wire::{Connect, DISCONNECT, Version};
use mproxy_tests::{memory, until, within};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::attack;

/// So many rounds of all ways; more with `MPROXY_LEAKS`.
const ROUNDS: usize = 60;

/// Rounds that run side by side, each with a client of its own.
const SIDE_BY_SIDE: usize = 8;

/// A client whose name the layer does not like is not let in.
const LAYER: &str = "[chains.default]\nlayers = [\"ids\"]\n[layers.ids]\ntype = \"client-id\"\n\
    require = \"template\"\ntemplate = \"leak*\"\n";

/// Rounds before the first look: caches, buffers of threads and the allocator fill up.
const WARM: usize = 40;

/// What the allocator may keep, in KiB.
const SLACK: u64 = 2 * 1024;

/// How a connection goes.
#[derive(Clone, Copy, Debug)]
enum Way {
    Leaves,
    Resets,
    Refused,
    HalfConnect,
    Garbage,
    HalfUpgrade,
    UpgradeAndReset,
    HalfHello,
    HelloAndReset,
    HalfRecord,
}

const PLAIN: [Way; 7] = [
    Way::Leaves,
    Way::Resets,
    Way::Refused,
    Way::HalfConnect,
    Way::Garbage,
    Way::HalfUpgrade,
    Way::UpgradeAndReset,
];

const TLS: [Way; 3] = [Way::HalfHello, Way::HelloAndReset, Way::HalfRecord];

impl Way {
    async fn go(self, target: &Target, lane: usize) -> io::Result<()> {
        const FROM: [u8; 4] = [127, 0, 0, 2];
        let hello = Connect::new(Version::V311, &format!("leak-{lane}")).bytes();
        match self {
            Self::Leaves | Self::Resets | Self::Refused | Self::HalfConnect | Self::Garbage => {
                let mut wire = target.mqtt(FROM).await?;
                let refused = Connect::new(Version::V311, "refused").bytes();
                let said = match self {
                    Self::Refused => &refused[..],
                    Self::HalfConnect => &hello[..hello.len() - 1],
                    Self::Garbage => &[0xff; 64],
                    _ => &hello[..],
                };
                wire.write_all(said).await?;
                wire.flush().await?;
                if let Self::Leaves = self {
                    wire.read_exact(&mut [0; 4]).await?;
                    wire.write_all(&DISCONNECT).await?;
                    wire.flush().await?;
                    wire.read_to_end(&mut Vec::new()).await?;
                } else if let Self::Refused = self {
                    wire.read_to_end(&mut Vec::new()).await?;
                } else if let Self::Resets = self {
                    wire.read_exact(&mut [0; 4]).await?;
                }
            }
            Self::HalfUpgrade => {
                let mut wire = target.ws(FROM).await?;
                wire.write_all(b"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgr")
                    .await?;
                wire.flush().await?;
            }
            Self::UpgradeAndReset => upgrade(&mut target.ws(FROM).await?).await?,
            Self::HalfHello | Self::HelloAndReset | Self::HalfRecord => {
                let mut stream = connect(target.mqtt, FROM).await?;
                let bytes: &[u8] = match self {
                    Self::HalfHello => &[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3],
                    Self::HelloAndReset => &[22, 3, 1, 0, 5, 1, 0, 0, 1, 0],
                    _ => &[23, 3, 3, 0x40, 0, 1, 2, 3],
                };
                stream.write_all(bytes).await?;
                SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
            }
        }
        Ok(())
    }
}

fn descriptors(pid: u32) -> usize {
    let all = fs::read_dir(format!("/proc/{pid}/fd"));
    all.expect("the process runs").count()
}

async fn rounds(target: &Target, count: usize) {
    let lanes = (0..SIDE_BY_SIDE).map(|lane| async move {
        for _ in (lane..count).step_by(SIDE_BY_SIDE) {
            for way in ways(target) {
                // a connection that mproxy closes first is as good
                let _ = within("a connection to end", way.go(target, lane)).await;
            }
        }
    });
    join_all(lanes).await;
}

fn ways(target: &Target) -> impl Iterator<Item = Way> {
    let tls = target.secure.as_ref().map(|_| TLS);
    PLAIN.into_iter().chain(tls.into_iter().flatten())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_way_connections_end_they_leave_nothing_behind() {
    raise_descriptor_limit().expect("the limit of open files can be raised");
    let count = std::env::var("MPROXY_LEAKS");
    let count = count.map_or(ROUNDS, |count| count.parse().expect("a number of rounds"));
    for secure in [false, true] {
        let row = attack(
            Kind::Nothing,
            LAYER,
            &[("limits.connect_timeout", "\"2s\"")],
        );
        assert!(matches!(row.memory, Memory::Unlimited));
        let rig = Rig::start(&row, secure, None).await;
        let pid = rig.mproxy.id();
        let idle = async || {
            let open = "mproxy_connections_pending";
            until("all connections to be gone", async || {
                let metrics = rig.mproxy.metrics().await;
                let pending = metrics.sum(open) + metrics.sum("mproxy_connections{");
                (pending < 0.5).then_some(())
            })
            .await;
        };
        rounds(&rig.target, WARM).await;
        idle().await;
        let before = memory::used_kib(pid);
        let open = descriptors(pid);
        rounds(&rig.target, count).await;
        idle().await;
        until("as many descriptors as before", async || {
            (descriptors(pid) <= open).then_some(())
        })
        .await;
        until("the memory to be free", async || {
            let used = rig.mproxy.metrics().await.sum("mproxy_memory_used_bytes");
            (used < 1.0).then_some(())
        })
        .await;
        let grown = memory::used_kib(pid).saturating_sub(before);
        println!(
            "TLS: {secure}, {} connections: {open} descriptors before, {} after; {before} KiB before, {grown} KiB more after",
            count * ways(&rig.target).count(),
            descriptors(pid)
        );
        assert!(grown <= SLACK, "TLS: {secure}, {grown} KiB more");
    }
}
