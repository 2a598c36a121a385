//! A reload: all of a new configuration takes effect, or none.
//!
//! ```text
//! load ----> Plan ----> sockets ----> apply
//!  files,     layers     new ones      services, limits, brokers are swapped; this cannot fail
//!  values     compiled   are opened
//! ```
//! Each step can refuse; the old configuration then stays in effect, unchanged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use mproxy_admin::{Metrics, Reloaded};
use mproxy_config::diagnostics::{Diagnostic, Report};
use mproxy_config::{Changes, Config, diff};
use mproxy_session::BoxError;
use mproxy_transport::ListenAddr;
use rustix::process::nice;
use tokio::sync::oneshot;

use super::certificates;
use super::event::{Asker, Events, Reload, ReloadError};
use super::lists::Lists;
use super::plan::Plan;
use super::service_manager;
use super::sockets::BindError;
use super::supervisor::Supervisor;
use super::tls_files;
use crate::telemetry::log_problems;

impl Supervisor {
    /// Reads the configuration again, and applies it if it is valid. Stops when the
    /// process must stop meanwhile: nothing has changed by then.
    pub(super) async fn reload(&mut self, reload: Reload, events: &mut Events) {
        let begun = Instant::now();
        service_manager::reloading();
        let outcome = tokio::select! {
            // stopping comes first, however long a configuration takes
            biased;
            () = events.stop() => return reload.refuse_because_of_drain(),
            ready = self.prepare(reload.by) => ready.and_then(|ready| self.commit(ready, reload.is_strict)),
        };
        self.tell(&reload, &outcome, begun.elapsed());
        service_manager::ready();
        reload.answer(outcome);
    }

    /// Loads and plans on a separate thread of [low priority](NICE): a large configuration takes seconds,
    /// during which packets must be forwarded and health checks answered.
    async fn prepare(&self, by: Asker) -> Result<Ready, ReloadError> {
        // of files of TLS that have changed, only these are read again
        let is_same = matches!(by, Asker::Certificates | Asker::Lists);
        let same = is_same.then(|| (self.config.clone(), self.excerpt.clone()));
        let (loader, metrics) = (Arc::clone(&self.loader), self.metrics.clone());
        let lists = self.fetchers.lists.clone();
        let before = Arc::clone(&self.plan);
        let work = move || {
            let (config, report) = match same {
                Some((config, excerpt)) => {
                    let mut report = Report::default();
                    report.sources = excerpt;
                    (Some(config), report)
                }
                None => {
                    let loaded = loader();
                    (loaded.config, loaded.report)
                }
            };
            Ready::from(config, report, &before, &lists, &metrics)
        };
        match aside(work).await {
            Ok(ready) => ready.map_err(ReloadError::Refused),
            Err(error) => {
                let mut report = Report::default();
                let message = format!("the configuration could not be read: {error}");
                report.push(Diagnostic::error(message).note("please report it"));
                Err(ReloadError::Refused(report.into()))
            }
        }
    }

    /// Opens new sockets, and then swaps everything.
    fn commit(&mut self, ready: Ready, is_strict: bool) -> Result<Reloaded, ReloadError> {
        let mut changes = diff(&self.config, &ready.config);
        // compared with the start: keys that need a restart still do, and keys set back do not
        changes.restart_required = diff(&self.started, &ready.config).restart_required;
        for key in self.sockets.fixed(&ready.plan.listeners) {
            changes.applied.retain(|it| *it != key);
            changes.restart_required.push(key);
        }
        if is_strict && !changes.restart_required.is_empty() {
            return Err(ReloadError::RestartRequired(changes.restart_required));
        }
        let workers = self.workers.len();
        let opened = match self.sockets.open_missing(&ready.plan.listeners, workers) {
            Ok(opened) => opened,
            Err(error) => {
                let own = self.sockets.at_port_of(&error.address);
                return Err(not_bound(ready.report, &error, own));
            }
        };
        if ready.report.warnings() > 0 {
            log_problems(&ready.report);
        }
        let overridden = (self.on_log)(&ready.config.log);
        let reloaded = reloaded(changes, overridden, &ready, &self.plan);
        self.excerpt = ready.report.sources.excerpt(ready.config.places());
        self.config = ready.config;
        self.plan = Arc::new(ready.plan);
        self.apply(opened);
        self.watch_upstreams();
        Ok(reloaded)
    }

    /// Writes the result to the log and the metrics.
    fn tell(&self, reload: &Reload, outcome: &Result<Reloaded, ReloadError>, took: Duration) {
        let by = reload.by.as_str();
        let took_s = took.as_secs_f64();
        self.metrics.reloaded(outcome.is_ok());
        match outcome {
            Ok(changes) => {
                tracing::info!(
                    target: "mproxy::server",
                    event = "reload",
                    by,
                    applied = list(&changes.applied),
                    restart_required = list(&changes.restart_required),
                    duration_s = took_s,
                    "configuration reloaded"
                );
            }
            Err(error) => {
                if let ReloadError::Refused(report) = error {
                    log_problems(report);
                }
                tracing::error!(
                    target: "mproxy::server",
                    event = "reload",
                    by,
                    detail = %error,
                    remedy = error.remedy(),
                    duration_s = took_s,
                    "not reloaded: the old configuration stays in effect"
                );
            }
        }
    }
}

/// What is added to the nice value of the thread that reads a configuration: it has a tenth of the weight
/// of a worker. Where the cores are few and busy, packets go first.
const NICE: i32 = 10;

/// Runs work on a thread of its own that gives way to the workers. Not one of the runtime's: a thread
/// without privileges cannot raise its priority again.
///
/// # Errors
/// The thread cannot be started, or has panicked.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, BoxError> {
    let (sender, done) = oneshot::channel();
    thread::Builder::new()
        .name("reload".into())
        .spawn(move || {
            // where it cannot be lowered, the reload only disturbs more
            let _ = nice(NICE);
            // nobody waits any more if the process is to end
            let _ = sender.send(work());
        })?;
    Ok(done.await?)
}

/// Changes of a reload beyond the differences between the two configurations.
fn reloaded(
    mut changes: Changes,
    level_is_set_by: Option<&str>,
    new: &Ready,
    old: &Plan,
) -> Reloaded {
    const LEVEL: &str = "log.level";
    // the same files with other contents
    for table in tls_files::changed(&new.config, &old.tls_files, &new.plan.tls_files) {
        changes.note(&table);
    }
    for listener in new.plan.distrusting(old) {
        changes.note(&format!("listeners.{listener}.tls"));
    }
    if new.plan.token != old.token {
        changes.note("admin.token_file");
    }
    let mut overridden = BTreeMap::new();
    if let Some(by) = level_is_set_by
        && let Some(at) = changes.applied.iter().position(|it| it == LEVEL)
    {
        overridden.insert(changes.applied.remove(at), by.to_owned());
    }
    Reloaded {
        applied: changes.applied,
        unchanged: changes.unchanged,
        restart_required: changes.restart_required,
        overridden,
        report: (new.report.warnings() > 0).then(|| new.report.to_json(false)),
    }
}

/// A new configuration with an address on which mproxy cannot listen.
fn not_bound(mut report: Report, error: &BindError, own: Option<&ListenAddr>) -> ReloadError {
    let diagnostic = Diagnostic::error(error.to_string());
    let remedy = match own {
        Some(own) => Some(format!(
            "mproxy itself listens at {own}, and cannot listen at both: restart it, or reload twice, \
             the first time with another port"
        )),
        None => error.remedy(),
    };
    let diagnostic = match remedy {
        Some(remedy) => diagnostic.note(remedy),
        None => diagnostic,
    };
    report.push(diagnostic);
    ReloadError::Refused(report.into())
}

fn list(keys: &[String]) -> Option<String> {
    (!keys.is_empty()).then(|| keys.join(", "))
}

/// A configuration that was read and compiled, and its warnings.
struct Ready {
    config: Config,
    plan: Plan,
    report: Report,
}

impl Ready {
    /// Compiles a loaded configuration.
    ///
    /// # Errors
    /// Its errors.
    fn from(
        config: Option<Config>,
        mut report: Report,
        before: &Plan,
        lists: &Lists,
        metrics: &Metrics,
    ) -> Result<Self, Box<Report>> {
        let Some(config) = config else {
            return Err(report.into());
        };
        match Plan::build(&config, Some(before), lists, metrics) {
            Ok(plan) => {
                report.extend(certificates::warnings(&config, &plan));
                Ok(Self {
                    config,
                    plan,
                    report,
                })
            }
            Err(problems) => {
                report.extend(problems);
                Err(report.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_reads_a_configuration_gives_way_to_the_workers() {
        // in Linux, of the thread
        let value = || nice(0).unwrap();
        let before = value();
        assert_eq!(aside(value).await.unwrap(), (before + NICE).min(19));
        assert_eq!(value(), before, "of the supervisor");
        aside(|| panic!("a bug")).await.unwrap_err();
    }
}
