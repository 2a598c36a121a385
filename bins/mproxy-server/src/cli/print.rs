//! Commands that print something and end.

use super::args::{Cli, SourceArgs};
use super::load::{load_source, report};
use super::streams::{self, failed};
use crate::exit::Exit;
use clap::CommandFactory;
use clap_complete::Shell;
use mproxy_config::{DEFAULT_TOML, explain, schema as config_schema, show as show_config};
use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// `config default`.
pub(super) fn default_config() -> ExitCode {
    print(DEFAULT_TOML.as_bytes())
}

/// `config explain`.
pub(super) fn explained(key: &str) -> ExitCode {
    match explain(key) {
        Ok(text) => print(text.as_bytes()),
        Err(unknown) => {
            streams::say(format_args!("error: {unknown}\n"));
            Exit::Usage.into()
        }
    }
}

/// `config schema`.
pub(super) fn schema() -> ExitCode {
    let text = format!("{:#}\n", config_schema().to_value());
    print(text.as_bytes())
}

/// `config show`.
pub(super) fn show(source: &SourceArgs) -> ExitCode {
    let loaded = match load_source(source, true) {
        Ok(loaded) => loaded,
        Err(exit) => return exit.into(),
    };
    if let Err(exit) = report(&loaded, source) {
        return exit.into();
    }
    match &loaded.config {
        Some(config) => print(show_config(config, &loaded.secrets).as_bytes()),
        None => Exit::Config.into(),
    }
}

/// `completions`.
pub(super) fn completions(shell: Shell) -> ExitCode {
    let mut out = Vec::new();
    let mut command = Cli::command();
    clap_complete::generate(shell, &mut command, "mproxy-server", &mut out);
    print(&out)
}

/// `man`.
pub(super) fn manual(directory: Option<&Path>) -> ExitCode {
    let written = match directory {
        None => {
            let mut out = Vec::new();
            let rendered = clap_mangen::Man::new(Cli::command()).render(&mut out);
            return match rendered {
                Ok(()) => print(&out),
                Err(error) => failed("cannot render the manual", &error).into(),
            };
        }
        Some(directory) => fs::create_dir_all(directory)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), directory)),
    };
    match written {
        Ok(()) => Exit::Success.into(),
        Err(error) => failed("cannot write the manual", &error).into(),
    }
}

fn print(bytes: &[u8]) -> ExitCode {
    let printed = streams::print(bytes);
    printed.err().unwrap_or(Exit::Success).into()
}
