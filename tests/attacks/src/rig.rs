//! One attack from its beginning to what is left of it.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mproxy_tests::{Mosquitto, Mproxy, Setup};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::attack::{Attack, Memory, Tally};
use crate::good::{GoodClient, Report};
use crate::target::{Secure, Target};
use crate::watch::{Watch, pss_kib};

/// A broker, mproxy with one worker thread before it, and an attack on it.
#[derive(Debug)]
pub struct Rig {
    /// The proxy.
    pub mproxy: Mproxy,
    /// Where the attackers go.
    pub target: Target,
    _broker: Mosquitto,
    container: Option<Container>,
}

/// What an attack came to.
#[derive(Debug)]
pub struct Outcome {
    /// Pss before the attack, at its highest, and after it; in KiB. `None`: mproxy was gone.
    pub before: Option<u64>,
    /// The highest.
    pub peak: u64,
    /// Afterwards.
    pub after: Option<u64>,
    /// CPU in percent of one core while the attack went on; `None`: mproxy was gone.
    pub cpu: Option<u64>,
    /// How the good client was served during the attack.
    pub good: Report,
    /// Connections of the attackers that were opened.
    pub opened: usize,
    /// Connections of the attackers that were closed by mproxy, or refused.
    pub cut: usize,
    /// The lines that were logged during the attack and after it.
    pub lines: Vec<Value>,
}

/// Attackers at work, on a thread of their own.
#[derive(Debug)]
pub struct Attackers {
    tally: Arc<Tally>,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Rig {
    /// Starts broker and proxy, whose listeners have TLS if `secure` says so; `program` in place of the proxy that cargo builds.
    ///
    /// # Panics
    /// If one of them does not start.
    pub async fn start(attack: &Attack, secure: bool, program: Option<&Path>) -> Self {
        let secure = secure.then(Secure::new);
        let broker = Mosquitto::for_load().await;
        let mut setup = Setup::before(&broker.url())
            .websocket()
            .set("server.worker_threads", "1")
            .toml(attack.toml);
        if let Some(Secure { pki, .. }) = &secure {
            for (key, file) in [("cert", "server.crt"), ("key", "server.key")] {
                let file = format!("\"{}\"", pki.file(file));
                setup = setup.set_listeners(&format!("tls.{key}"), &file);
            }
            if attack.keys.iter().any(|(key, _)| *key == "tls.client_auth") {
                let ca = format!("[\"{}\"]", pki.file("ca.crt"));
                setup = setup.set_listeners("tls.client_ca", &ca);
            }
        }
        if let Some(program) = program {
            setup = setup.program(program);
        }
        for (key, value) in attack.keys {
            setup = setup.set_listeners(key, value);
        }
        let mut container = None;
        match attack.memory {
            Memory::Unlimited => {}
            Memory::Container(bytes) => {
                container = Container::new(bytes);
                if let Some(container) = &container {
                    setup = setup.by(["sh", "-c", &container.enter(), "sh"]);
                }
            }
            Memory::Data(bytes) => setup = setup.by(["prlimit", &format!("--data={bytes}")]),
        }
        let mproxy = setup.start().await;
        let target = Target {
            mqtt: ([127, 0, 0, 1], mproxy.listener("mqtt").port()).into(),
            ws: ([127, 0, 0, 1], mproxy.listener("ws").port()).into(),
            secure,
        };
        Self {
            mproxy,
            target,
            _broker: broker,
            container,
        }
    }

    /// Attacks for so long, beside a good client, and looks at what is left a while later.
    ///
    /// # Panics
    /// If a thread panicked.
    pub async fn run(self, attack: &Attack, length: Duration, rest: Duration) -> Outcome {
        let pid = self.mproxy.id();
        let warm = GoodClient::start(&self.target);
        sleep(Duration::from_secs(1)).await;
        drop(warm.stop());
        let before = pss_kib(pid);
        let said = self.mproxy.process().lines().len();
        let good = GoodClient::start(&self.target);
        let watch = Watch::start(pid);
        let attackers = Attackers::start(*attack, &self.target);
        sleep(length).await;
        let (peak, cpu) = watch.stop();
        let good = good.stop();
        let tally = attackers.stop();
        sleep(rest).await;
        let after = pss_kib(pid);
        let lines = self.mproxy.process().lines();
        let lines = lines.iter().skip(said);
        Outcome {
            before,
            peak,
            after,
            cpu: after.and(cpu),
            good,
            opened: tally.opened(),
            cut: tally.cut(),
            // what is no JSON is shown as it is
            lines: lines
                .map(|line| serde_json::from_str(line).unwrap_or_else(|_| line.as_str().into()))
                .collect(),
        }
    }

    /// Whether this proxy is in a container.
    #[must_use]
    pub fn is_contained(&self) -> bool {
        self.container.is_some()
    }
}

impl Attackers {
    /// Begins to attack.
    ///
    /// # Panics
    /// If the system starts no thread.
    #[must_use]
    pub fn start(attack: Attack, target: &Target) -> Self {
        let target = target.clone();
        let tally = Arc::new(Tally::default());
        let kept = Arc::clone(&tally);
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                tokio::select! {
                    // an error means that nobody waits for the attack any more
                    _ = stopped => {}
                    () = attack.kind.run(&target, &tally) => {}
                }
            });
        });
        Self {
            tally: kept,
            stop,
            thread,
        }
    }

    /// Ends, with all connections.
    ///
    /// # Panics
    /// If an attacker panicked.
    #[must_use]
    pub fn stop(self) -> Arc<Tally> {
        // it may have ended by itself
        let _ = self.stop.send(());
        self.thread.join().expect("attackers do not panic");
        self.tally
    }

    /// What they came to so far.
    #[must_use]
    pub fn tally(&self) -> &Tally {
        &self.tally
    }
}

/// How many containers this process has made.
static NUMBER: AtomicUsize = AtomicUsize::new(0);

/// A control group with a limit of memory.
#[derive(Debug)]
struct Container(PathBuf);

impl Container {
    /// `None` if the system lets us make none.
    fn new(bytes: u64) -> Option<Self> {
        let (root, file) = match Path::new("/sys/fs/cgroup/memory").is_dir() {
            true => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            false => ("/sys/fs/cgroup", "memory.max"),
        };
        // one of its own: the last one may still be there, and a proxy without a limit would pass for one with
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("mproxy-attacks-{}-{number}", std::process::id());
        let path = Path::new(root).join(name);
        // left by a run that was killed
        let _ = fs::remove_dir(&path);
        fs::create_dir(&path).ok()?;
        let container = Self(path);
        fs::write(container.0.join(file), bytes.to_string()).ok()?;
        Some(container)
    }

    /// A line of shell that enters it and becomes the command behind it.
    fn enter(&self) -> String {
        format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.0.display())
    }
}

impl Drop for Container {
    /// The proxy was waited for; the kernel needs a little longer to see that the group is empty.
    #[expect(
        clippy::disallowed_methods,
        reason = "nothing else is done when a rig goes"
    )]
    fn drop(&mut self) {
        for _ in 0..100 {
            if !fs::remove_dir(&self.0).is_err_and(|error| error.kind() == ErrorKind::ResourceBusy)
            {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}
