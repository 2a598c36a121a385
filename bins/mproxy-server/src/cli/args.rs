//! The arguments of the command line.

use super::bans::BansCommand;
use super::conns::ConnsCommand;
use super::crls::CrlsCommand;
use super::key_path::KeyPath;
use crate::app::TLS_PROVIDER;
use clap::builder::{FalseyValueParser, OsStringValueParser, TypedValueParser};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use mproxy_config::{LogFormat, LogLevel, parse};
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

/// An MQTT proxy for one broker, with access control, WebSocket, metrics and an access log.
///
/// Without a command it runs the proxy; without a configuration it forwards 127.0.0.1:1884
/// to mqtt://127.0.0.1:1883. To see something at once: mproxy-server demo
#[derive(Debug, Parser)]
#[command(
    name = "mproxy-server",
    version,
    long_version = LONG_VERSION.as_str(),
    args_conflicts_with_subcommands = true
)]
#[command(max_term_width = 100, after_help = SEE, after_long_help = LONG)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    #[command(flatten)]
    pub(super) run: RunArgs,
}

/// What `--version` prints behind the name of the program; `-V` prints the first line.
static LONG_VERSION: LazyLock<String> = LazyLock::new(|| {
    format!(
        "{}\nTLS by rustls with {}",
        env!("CARGO_PKG_VERSION"),
        *TLS_PROVIDER
    )
});

const SEE: &str = "More: `mproxy-server --help`. Every key of the configuration: \
`mproxy-server config default`, and `config explain KEY`.";

const LONG: &str = "\
Configuration:
  A TOML file, or a directory whose *.toml files are merged in the order of their names.
  Every key can be overridden; the later of these wins:
    environment   MPROXY_ADMIN__BIND=0.0.0.0:9883   MPROXY_LISTENERS__MQTT__BIND=0.0.0.0:1883
    flag          --set admin.bind=0.0.0.0:9883     --set listeners.mqtt.bind=0.0.0.0:1883
  Listeners are addressed by name or index. Strings may contain ${env:NAME},
  ${env:NAME:-default} and ${file:/run/secrets/name}.

Logs:
  Text on standard error if that is a terminal, JSON on standard output otherwise.
  The level is the first of --log-level, MPROXY_LOG, RUST_LOG and the key `log.level`.

Signals:
  TERM, INT, QUIT    stop accepting, close all sessions within server.drain_timeout, exit;
                     a second one exits at once
  HUP                reload the configuration; if it is refused, the old one stays in effect
  USR1, USR2         ignored, with a line in the log

Exit codes:
  0 ok   1 failure; not ready (healthcheck)   2 usage
  69 broker does not answer, with --require-upstream; `check`: an address cannot be used, a broker
     refuses the handshake, or with --deny-warnings a broker does not answer or a port is in use
  77 no permission to bind   78 configuration refused
  130, 131, 143 exited at once by INT, QUIT, TERM

Examples:
  mproxy-server demo
  mproxy-server --listen 0.0.0.0:1884 --upstream mqtt://broker:1883
  mproxy-server config default > mproxy.toml
  mproxy-server check --config mproxy.toml && mproxy-server --config mproxy.toml";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the proxy (the default command)
    Run(RunArgs),
    /// Check a configuration (syntax, keys, ACLs, ports, brokers) and exit
    #[command(alias = "validate")]
    Check(CheckArgs),
    /// Run an embedded broker, the proxy and simulated devices; needs no configuration
    #[cfg(feature = "demo")]
    Demo(DemoArgs),
    /// Print or explain a configuration or its schema
    #[command(subcommand, arg_required_else_help = true)]
    Config(ConfigCommand),
    /// Reload the configuration of the running proxy: all of it takes effect, or none
    Reload(ReloadArgs),
    /// List, show or end the client connections of the running proxy
    #[command(subcommand, arg_required_else_help = true)]
    Conns(ConnsCommand),
    /// Send all clients of the running proxy away and let no more in, until it is stopped or this is undone
    ///
    /// For maintenance, and for preStop of Kubernetes: mproxy-server drain --wait 25s. The process goes on; a
    /// signal ends it.
    Drain(DrainArgs),
    /// List, make or lift the bans of the running proxy
    #[command(subcommand, arg_required_else_help = true)]
    Bans(BansCommand),
    /// List the revocation lists of the running proxy, or fetch them now
    #[command(subcommand, arg_required_else_help = true)]
    Crls(CrlsCommand),
    /// Exit 0 when the running proxy is ready, 1 otherwise
    ///
    /// For HEALTHCHECK in images without curl: queries /readyz of the admin port.
    Healthcheck(AdminArgs),
    /// Print completions for a shell
    ///
    /// For example: mproxy-server completions bash > /etc/bash_completion.d/mproxy-server
    Completions {
        /// Name of the shell
        shell: Shell,
    },
    /// Print the manual page, or write the pages of all commands into a directory
    Man {
        /// Where to write mproxy-server.1, mproxy-server-run.1 and so on
        directory: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print the default configuration: every key, with one line of explanation
    Default,
    /// Explain a key or a section of the configuration: type, default, effect, example
    ///
    /// For example: listeners.limits.max_pending, acl.default, or max_pending alone. It may contain
    /// names that you chose: listeners.mqtt.bind. Without a key: lists the sections.
    Explain {
        /// Path of the key
        #[arg(value_parser = KeyPath, hide_possible_values = true, default_value = "")]
        key: String,
    },
    /// Print the JSON schema, for editors: `#:schema ./mproxy.schema.json`
    Schema,
    /// Print the effective configuration as TOML: files, environment, flags and defaults
    ///
    /// Values that came from ${file:...} are shown as "***".
    Show(SourceArgs),
}

/// Where the configuration comes from.
#[derive(Clone, Debug, Args)]
pub(super) struct SourceArgs {
    /// Configuration file, directory of *.toml files, or - for standard input
    ///
    /// Default: /etc/mproxy/mproxy.toml if it exists, else built-in defaults.
    #[arg(
        short,
        long,
        value_name = "FILE|DIR",
        env = "MPROXY_CONFIG", value_parser = OsStringValueParser::new().map(PathBuf::from),
        hide_env_values = true
    )]
    pub(super) config: Option<PathBuf>,
    /// Override one key of the configuration; repeatable
    ///
    /// For example: --set listeners.mqtt.bind=0.0.0.0:1883. Arrays as in TOML, or a,b,c.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
    /// Without a file: listen here, IP:PORT or unix:/path [default: 127.0.0.1:1884]
    #[arg(long, value_name = "ADDR")]
    pub(super) listen: Option<String>,
    /// Without a file: forward there [default: mqtt://127.0.0.1:1883]
    #[arg(long, value_name = "URL")]
    pub(super) upstream: Option<String>,
    /// Colours in messages
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub(super) color: Color,
}

#[derive(Clone, Debug, Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,
    /// Reload when a configuration file changes
    #[arg(short, long, env = "MPROXY_WATCH", value_parser = FalseyValueParser::new())]
    pub(super) watch: bool,
    /// Exit 69 if the broker does not answer at the start
    #[arg(long)]
    pub(super) require_upstream: bool,
    /// Log level: error, warn, info, debug, trace, or directives
    /// [env: MPROXY_LOG, RUST_LOG]
    ///
    /// Directives set levels per target: info,mproxy::session=debug. docs/logs.md lists the
    /// targets. Default: log.level.
    #[arg(long, value_name = "FILTER", value_parser = parse::<LogLevel>)]
    pub(super) log_level: Option<String>,
    /// Log format: auto, text or json [env: MPROXY_LOG_FORMAT]
    ///
    /// Default: log.format.
    #[arg(long, value_name = "FMT", value_parser = parse::<LogFormat>)]
    pub(super) log_format: Option<LogFormat>,
    /// Log more; repeatable
    #[arg(short, long, action = ArgAction::Count)]
    pub(super) verbose: u8,
    /// Log less; repeatable
    #[arg(short, long, action = ArgAction::Count, conflicts_with = "verbose")]
    pub(super) quiet: u8,
    /// Like the command `check`
    #[arg(short = 't', long = "test", hide = true)]
    pub(super) test: bool,
}

#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,
    /// Check the configuration only, not ports and brokers; inserted environment variables and
    /// files may be missing
    #[arg(long)]
    pub(super) no_environment: bool,
    /// Fail if there are warnings
    #[arg(long)]
    pub(super) deny_warnings: bool,
    /// Output format
    #[arg(long, value_name = "FMT", default_value = "text")]
    pub(super) format: ReportFormat,
}

#[cfg(feature = "demo")]
#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// Port of the proxy, 0 = any free one [default: 1884]
    #[arg(long)]
    port: Option<u16>,
    /// Port of health and metrics, 0 = any free one [default: 9883]
    #[arg(long)]
    admin_port: Option<u16>,
    /// Use this broker instead of the embedded one
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// Do not start the simulated devices
    #[arg(long)]
    no_devices: bool,
    /// Also listen for TLS, with a CA and certificates made for the demo
    #[arg(long)]
    tls: bool,
    /// Print the configuration of the demo and exit
    #[arg(long)]
    print_config: bool,
}

/// The running proxy.
#[derive(Debug, Args)]
pub(super) struct AdminArgs {
    /// URL of the running proxy's admin port
    #[arg(
        long,
        env = "MPROXY_ADMIN_URL",
        default_value = "http://127.0.0.1:9883"
    )]
    pub(super) url: String,
    /// File with the bearer token, if the proxy has admin.token_file
    #[arg(long, value_name = "FILE", env = "MPROXY_ADMIN_TOKEN_FILE")]
    pub(super) token_file: Option<PathBuf>,
    /// How long to wait for the answer [default: 2s for healthcheck, else 1m]
    #[arg(long, value_name = "DURATION", value_parser = parse::<Duration>)]
    pub(super) timeout: Option<Duration>,
}

#[derive(Debug, Args)]
pub(super) struct DrainArgs {
    #[command(flatten)]
    pub(super) admin: AdminArgs,
    /// Drain within this time, server.ready_delay included, and wait until no session is left
    #[arg(long, value_name = "DURATION", value_parser = parse::<Duration>)]
    pub(super) wait: Option<Duration>,
    /// Let clients in again
    #[arg(long, conflicts_with = "wait")]
    pub(super) undo: bool,
}

#[derive(Debug, Args)]
pub(super) struct ReloadArgs {
    #[command(flatten)]
    pub(super) admin: AdminArgs,
    /// Fail, and change nothing, if a change needs a restart
    #[arg(long)]
    pub(super) strict: bool,
    /// Output format
    #[arg(long, value_name = "FMT", default_value = "text")]
    pub(super) format: ReportFormat,
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// The output format of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ReportFormat {
    /// For people
    Text,
    /// For programs
    Json,
}

impl RunArgs {
    /// The same configuration, for `check`.
    pub(super) fn into_check(self) -> CheckArgs {
        CheckArgs {
            source: self.source,
            no_environment: false,
            deny_warnings: false,
            format: ReportFormat::Text,
        }
    }
}

#[cfg(feature = "demo")]
impl DemoArgs {
    /// The options of the demo.
    pub(super) fn into_options(self) -> mproxy_demo::Options {
        mproxy_demo::Options {
            port: self.port,
            admin_port: self.admin_port,
            upstream: self.upstream,
            devices: !self.no_devices,
            tls: self.tls,
            print_config: self.print_config,
        }
    }
}
