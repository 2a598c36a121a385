//! Reloads when a configuration file changes.
//!
//! Directories are watched, not files: an editor writes a new file and renames it, and Kubernetes swaps a
//! symbolic link, `..data`, next to the links that lead through it. Events of the system are only a
//! hint; what counts is whether the contents differ.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mproxy_config::{Content, Contents};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};

use super::event::{Asker, Event, Reload, Sender};

/// How long nothing must happen before files are read, so that writing several files, or one slowly, can
/// finish. Half of a file may be a valid configuration with half of the rules.
const SETTLED: Duration = Duration::from_secs(1);

/// Files are read after this time at the latest.
const AT_LAST: Duration = Duration::from_secs(10);

/// Requests a reload, by this asker, whenever `files` differ from what was read, until the proxy ends.
///
/// # Errors
/// The system cannot watch files, or has no more watches.
pub(crate) fn watch(
    files: watch::Receiver<Contents>,
    events: Sender,
    asker: Asker,
) -> notify::Result<impl Future<Output = ()> + Send> {
    let (hint, hints) = mpsc::channel(1);
    // one pending hint is enough
    let watcher = notify::recommended_watcher(move |_| {
        let _ = hint.try_send(());
    })?;
    let mut watched = Watched {
        watcher,
        directories: BTreeSet::new(),
    };
    watched.follow(&files.borrow())?;
    Ok(run(watched, files, hints, events, asker))
}

async fn run(
    mut watched: Watched,
    mut files: watch::Receiver<Contents>,
    mut hints: mpsc::Receiver<()>,
    events: Sender,
    asker: Asker,
) {
    let mut known = files.borrow_and_update().clone();
    loop {
        // as the last reload of any kind read them
        if files.has_changed().unwrap_or(false) {
            known = files.borrow_and_update().clone();
        }
        // also before the first hint: a file may have changed while the proxy started
        let look_at = known.clone();
        let now = tokio::task::spawn_blocking(move || look(&look_at)).await;
        if let Ok(now) = now
            && now != known
        {
            // whatever the result of the reload, do not request it again
            known = now;
            let reload = Reload::by(asker);
            events.send(Event::Reload(reload)).await;
        }
        tokio::select! {
            Some(()) = hints.recv() => settle(&mut hints).await,
            Ok(()) = files.changed() => known = files.borrow_and_update().clone(),
            else => return,
        }
        // also for an older directory that replaced another one
        if let Err(error) = watched.follow(&known) {
            tracing::warn!(
                target: "mproxy::server",
                event = "error",
                detail = %error,
                remedy = "reload by SIGHUP, or raise fs.inotify.max_user_watches",
                "a file of the configuration is not watched"
            );
        }
    }
}

fn look(files: &Contents) -> Contents {
    let paths = files.keys();
    paths
        .map(|path| (path.clone(), Content::of(path)))
        .collect()
}

/// Waits until nothing has happened for a while.
async fn settle(hints: &mut mpsc::Receiver<()>) {
    let at_last = Instant::now() + AT_LAST;
    while Instant::now() < at_last {
        let quiet = (Instant::now() + SETTLED).min(at_last);
        if timeout_at(quiet, hints.recv()).await.is_err() {
            return;
        }
    }
}

struct Watched {
    watcher: RecommendedWatcher,
    directories: BTreeSet<PathBuf>,
}

impl Watched {
    /// Watches the directories in which changes of these files are visible.
    fn follow(&mut self, files: &Contents) -> notify::Result<()> {
        let directories: BTreeSet<_> = files.keys().flat_map(|file| around(file)).collect();
        for gone in self.directories.difference(&directories) {
            // it may no longer exist
            let _ = self.watcher.unwatch(gone);
        }
        // a directory that was removed and recreated must be watched again, and looks the same here
        let watches = directories
            .iter()
            .map(|directory| self.watcher.watch(directory, RecursiveMode::NonRecursive));
        let failed = watches.filter_map(Result::err).last();
        self.directories = directories;
        failed.map_or(Ok(()), Err)
    }
}

/// The directories that contain a file, or a link to it; and the path itself, if it is a directory.
fn around(file: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let real = fs::canonicalize(file).ok();
    let parents = [Some(file.to_owned()), real.clone()].into_iter().flatten();
    let parents = parents.filter_map(|path| match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Some(PathBuf::from(".")),
        parent => parent.map(Path::to_owned),
    });
    let itself = real.filter(|real| real.is_dir());
    parents.chain(itself).filter(|it| it.is_dir())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::event::Events;
    use super::*;

    async fn reload(events: &mut Events) {
        match events.next().await {
            Event::Reload(reload) => assert_eq!(reload.by, Asker::Watch),
            Event::Stop { .. } | Event::Drain(_) | Event::Undo(_) => panic!("nobody asked for it"),
        }
    }

    /// The names that Kubernetes gives: the file is a link into `..data`, which is a link to a
    /// directory with a time in its name, and a new one takes its place.
    #[tokio::test]
    async fn swapped_links_renamed_files_and_new_ones_are_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for version in ["..1", "..2"] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("mproxy.toml"), version).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/mproxy.toml", at("mproxy.toml")).unwrap();
        let mut events = Events::new();
        let read = |paths: &[PathBuf]| {
            let paths = paths.iter();
            paths.map(|it| (it.clone(), Content::of(it))).collect()
        };
        let (list, files) = watch::channel(read(&[at("mproxy.toml")]));
        let task = tokio::spawn(watch(files, events.sender(), Asker::Watch).unwrap());

        symlink("..2", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        reload(&mut events).await;

        // as an editor saves
        fs::write(at("new"), "edited").unwrap();
        fs::rename(at("new"), at("mproxy.toml")).unwrap();
        reload(&mut events).await;

        // a file that is inserted from elsewhere, after a reload
        let other = tempfile::tempdir().unwrap();
        let secret = other.path().join("secret");
        fs::write(&secret, "1").unwrap();
        list.send(read(&[at("mproxy.toml"), secret.clone()]))
            .unwrap();
        fs::write(&secret, "2").unwrap();
        reload(&mut events).await;
        fs::write(&secret, "3").unwrap();
        reload(&mut events).await;
        task.abort();
    }
}
