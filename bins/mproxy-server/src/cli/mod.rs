//! The command line.

mod admin;
mod args;
mod bans;
mod check;
mod conns;
mod crls;
#[cfg(feature = "demo")]
mod demo;
mod drain;
mod healthcheck;
mod key_path;
mod load;
mod print;
mod probe;
mod reload;
mod run;
mod streams;
mod table;

use self::args::{Cli, Command, ConfigCommand};
use crate::exit::Exit;
use clap::Parser;
use std::io::{self, Write};
use std::process::ExitCode;

/// Runs the command of the process.
#[must_use]
pub fn dispatch() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => obey(cli).unwrap_or_else(ExitCode::from),
        Err(error) => instead(&error),
    }
}

fn obey(cli: Cli) -> Result<ExitCode, Exit> {
    let command = match cli.command {
        Some(command) => command,
        None if cli.run.test => Command::Check(cli.run.into_check()),
        None => Command::Run(cli.run),
    };
    match command {
        Command::Run(args) => return run::run(&args),
        Command::Check(args) => check::check(&args),
        #[cfg(feature = "demo")]
        Command::Demo(args) => return demo::demo(args.into_options()),
        Command::Config(ConfigCommand::Default) => print::default_config(),
        Command::Config(ConfigCommand::Explain { key }) => print::explained(&key),
        Command::Config(ConfigCommand::Schema) => print::schema(),
        Command::Config(ConfigCommand::Show(source)) => print::show(&source),
        Command::Reload(args) => reload::reload(&args),
        Command::Drain(args) => drain::drain(&args),
        Command::Conns(command) => conns::conns(&command),
        Command::Bans(command) => bans::bans(&command),
        Command::Crls(command) => crls::crls(&command),
        Command::Healthcheck(args) => healthcheck::healthcheck(&args),
        Command::Completions { shell } => print::completions(shell),
        Command::Man { directory } => print::manual(directory.as_deref()),
    }
    .map(|()| ExitCode::SUCCESS)
}

/// Shows help or the version on standard output, or an error of the command line on standard
/// error. `Cli::parse` would ignore write errors.
fn instead(shown: &clap::Error) -> ExitCode {
    let written = shown.print();
    if shown.use_stderr() {
        return Exit::Usage.into();
    }
    let written = written.and_then(|()| io::stdout().flush());
    streams::printed(written)
        .err()
        .unwrap_or(Exit::Success)
        .into()
}
