//! From the command line to a loaded configuration.

use super::args::{Color, SourceArgs};
use super::streams::say;
use crate::exit::Exit;
use mproxy_config::diagnostics::Report;
use mproxy_config::{Environment, Loaded, Location, Request, load};
use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// The configuration sources of the command line.
///
/// # Errors
///
/// The flags contradict each other; this was reported.
pub(super) fn request(source: &SourceArgs, resolve: bool) -> Result<Request, Exit> {
    // An empty variable counts as not set.
    let config = source
        .config
        .as_ref()
        .filter(|it| !it.as_os_str().is_empty());
    let ad_hoc = source.listen.is_some() || source.upstream.is_some();
    if let (Some(path), true) = (config, ad_hoc) {
        say(format_args!(
            "error: --listen and --upstream are for running without a file, and `{}` is given \
             by --config or MPROXY_CONFIG\n\
             note: use --set listeners.NAME.bind=... and --set upstreams.NAME.address=...\n",
            path.display()
        ));
        return Err(Exit::Usage);
    }
    let location = match config {
        Some(path) => Location::Path(path.clone()),
        None if ad_hoc => Location::BuiltIn,
        None => Location::Default,
    };
    Ok(Request {
        location,
        set: source.set.clone(),
        listen: source.listen.clone(),
        upstream: source.upstream.clone(),
        resolve,
    })
}

/// Loads a configuration, and says so if it is slow.
pub(super) fn load_patiently(request: &Request) -> Loaded {
    let _patience = Patience::start();
    load(request, &Environment::of_process())
}

/// Loads the configuration of the command line.
///
/// # Errors
///
/// The flags contradict each other; this was reported.
pub(super) fn load_source(source: &SourceArgs, resolve: bool) -> Result<Loaded, Exit> {
    Ok(load_patiently(&request(source, resolve)?))
}

/// Says on standard error that loading is slow, if it is. There is no log yet, because its format is in
/// the configuration. Dropped when loading is over.
struct Patience {
    _over: Sender<()>,
}

impl Patience {
    /// How long to stay silent.
    const SILENT: Duration = Duration::from_secs(1);

    fn start() -> Self {
        let (over, waiting) = channel::<()>();
        let thread = thread::Builder::new().name("patience".to_owned());
        // without the thread, there are no notes
        let _ = thread.spawn(move || {
            let since = Instant::now();
            while waiting.recv_timeout(Self::SILENT) == Err(RecvTimeoutError::Timeout) {
                let seconds = since.elapsed().as_secs();
                say(format_args!(
                    "note: still reading and checking the configuration, after {seconds} s\n"
                ));
            }
        });
        Self { _over: over }
    }
}

/// Whether standard error is coloured.
pub(super) fn color(when: Color) -> bool {
    match when {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            let wanted = std::env::var_os("NO_COLOR").is_none_or(|it| it.is_empty());
            wanted && io::stderr().is_terminal()
        }
    }
}

/// Shows the problems, if there are any, with a summary; `Err` when they are fatal.
pub(super) fn tell(report: &Report, source: &SourceArgs) -> Result<(), Exit> {
    say(format_args!("{}", report.render(color(source.color))));
    match report.refusals(false).map(Exit::from).max() {
        None => Ok(()),
        Some(exit) => {
            say(format_args!("{}: configuration refused\n", report.tally()));
            Err(exit)
        }
    }
}

/// The name of the configuration in a summary.
pub(super) fn source_name(source: &SourceArgs) -> String {
    match &source.config {
        Some(path) if path == Path::new("-") => "standard input".to_owned(),
        Some(path) if !path.as_os_str().is_empty() => path.display().to_string(),
        _ => "defaults".to_owned(),
    }
}
