//! `demo`.

use super::streams::{failed, say};
use crate::app;
use crate::exit::Exit;
use mproxy_config::{from_text, load_text};
use mproxy_demo::{Options, Running};
use std::error::Error;
use std::iter::successors;
use std::process::ExitCode;
use std::sync::Arc;

/// Runs the demo: its broker and devices, and the proxy from the configuration that it writes.
pub(super) fn demo(options: Options) -> Result<ExitCode, Exit> {
    let start = |toml: String| async move {
        let config = from_text(&toml).map_err(Box::<dyn Error + Send + Sync>::from)?;
        let loader = move || load_text(&toml);
        let running = app::start(config, Arc::new(loader)).await?;
        Ok(Running {
            proxy: running.listener.ok_or("the demo has no listener")?,
            admin: running.admin,
            finished: running.finished,
        })
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| failed("cannot start the runtime", &error))?;
    let demo = mproxy_demo::run(options, std::io::stdout(), start);
    runtime.block_on(demo).or_else(|error| {
        if error.has_seen_enough() {
            return Ok(ExitCode::SUCCESS);
        }
        let causes = successors(error.source(), |error| (*error).source());
        let causes: String = causes.map(|cause| format!(": {cause}")).collect();
        say(format_args!("error: {error}{causes}\n"));
        Err(Exit::Failure)
    })
}
