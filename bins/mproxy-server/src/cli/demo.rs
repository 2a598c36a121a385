//! `demo`.

use super::streams::say;
use crate::app;
use crate::exit::Exit;
use mproxy_config::{from_text, load_text};
use mproxy_demo::{Options, Running};
use std::error::Error;
use std::iter::successors;
use std::process::ExitCode;
use std::sync::Arc;

/// Runs the demo: its broker and devices, and the proxy from the configuration that it writes.
pub(super) fn demo(options: Options) -> ExitCode {
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
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(mproxy_demo::run(options, std::io::stdout(), start)),
        Err(error) => {
            say(format_args!("error: cannot start the runtime: {error}\n"));
            return Exit::Failure.into();
        }
    };
    outcome.unwrap_or_else(|error| {
        if error.has_seen_enough() {
            return Exit::Success.into();
        }
        let causes = successors(error.source(), |error| (*error).source());
        let causes: String = causes.map(|cause| format!(": {cause}")).collect();
        say(format_args!("error: {error}{causes}\n"));
        Exit::Failure.into()
    })
}
