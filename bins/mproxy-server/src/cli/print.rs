//! Commands that print something and end.

use super::args::{Cli, SourceArgs};
use super::load::{load_source, tell};
use super::streams::{failed, print, say};
use crate::exit::Exit;
use clap::CommandFactory;
use clap_complete::Shell;
use mproxy_config::{DEFAULT_TOML, explain, schema as config_schema, show as show_config};
use std::fs;
use std::path::Path;

/// `config default`.
pub(super) fn default_config() -> Result<(), Exit> {
    print(DEFAULT_TOML.as_bytes())
}

/// `config explain`.
pub(super) fn explained(key: &str) -> Result<(), Exit> {
    match explain(key) {
        Ok(text) => print(text.as_bytes()),
        Err(unknown) => {
            say(format_args!("error: {unknown}\n"));
            Err(Exit::Usage)
        }
    }
}

/// `config schema`.
pub(super) fn schema() -> Result<(), Exit> {
    let text = format!("{:#}\n", config_schema().to_value());
    print(text.as_bytes())
}

/// `config show`.
pub(super) fn show(source: &SourceArgs) -> Result<(), Exit> {
    let loaded = load_source(source, true)?;
    tell(&loaded.report, source)?;
    let config = loaded.config.as_ref().ok_or(Exit::Config)?;
    print(show_config(config, &loaded.secrets).as_bytes())
}

/// `completions`.
pub(super) fn completions(shell: Shell) -> Result<(), Exit> {
    let mut out = Vec::new();
    let mut command = Cli::command();
    clap_complete::generate(shell, &mut command, "mproxy-server", &mut out);
    print(&out)
}

/// `man`.
pub(super) fn manual(directory: Option<&Path>) -> Result<(), Exit> {
    let Some(directory) = directory else {
        let mut out = Vec::new();
        clap_mangen::Man::new(Cli::command())
            .render(&mut out)
            .map_err(|error| failed("cannot render the manual", &error))?;
        return print(&out);
    };
    fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), directory))
        .map_err(|error| failed("cannot write the manual", &error))
}
