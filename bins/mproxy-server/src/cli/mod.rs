//! The command line.

mod args;
mod check;
mod exit;
mod healthcheck;
mod load;
mod print;
mod probe;
mod run;

pub(crate) use args::Cli;
pub(crate) use exit::Exit;
pub(crate) use run::RunOptions;

use self::args::{Command, ConfigCommand};
use std::process::ExitCode;

/// Does what the command line says.
pub(crate) fn dispatch(cli: Cli) -> ExitCode {
    let Some(command) = cli.command else {
        return match cli.run.test {
            true => check::check(&cli.run.into_check()),
            false => run::run(&cli.run),
        };
    };
    match command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::check(&args),
        #[cfg(feature = "demo")]
        Command::Demo(args) => crate::app::demo(args.into_options()),
        Command::Config(ConfigCommand::Default) => print::default_config(),
        Command::Config(ConfigCommand::Schema) => print::schema(),
        Command::Config(ConfigCommand::Show(source)) => print::show(&source),
        Command::Healthcheck(args) => healthcheck::healthcheck(&args),
        Command::Completions { shell } => print::completions(shell),
        Command::Man { directory } => print::manual(directory.as_deref()),
    }
}
