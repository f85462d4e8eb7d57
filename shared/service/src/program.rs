//! What every program needs besides its work: arguments, configuration, telemetry, signals.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Arg, ArgAction, Command, value_parser};
use event_log::crypto;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{self, Environment, Telemetry};
use crate::telemetry;

/// Makes a text that the program prints instead of doing its work.
type Text = fn() -> anyhow::Result<String>;

/// A program that is controlled by its configuration.
#[derive(Debug)]
pub struct Program {
    name: &'static str,
    command: Command,
    prints: Vec<(&'static str, Text)>,
}

impl Program {
    /// `about` is the description for `--help`.
    pub fn new(name: &'static str, version: &'static str, about: &'static str) -> Self {
        let command = Command::new(name)
            .version(version)
            .about(about)
            .arg(
                Arg::new("config")
                    .long("config")
                    .value_name("FILE")
                    .value_parser(value_parser!(PathBuf))
                    .help("A configuration file (TOML or YAML) [env: MICROBLOG_CONFIG]; MICROBLOG__SECTION__KEY takes precedence"),
            )
            .arg(
                Arg::new("print_config")
                    .long("print-config")
                    .action(ArgAction::SetTrue)
                    .help("Print the effective configuration, with secrets masked, and exit"),
            );
        Self {
            name,
            command,
            prints: Vec::new(),
        }
    }

    /// A flag that makes the program print a text and exit.
    #[must_use]
    pub fn printing(mut self, flag: &'static str, help: &'static str, text: Text) -> Self {
        let argument = Arg::new(flag).long(flag).action(ArgAction::SetTrue).help(help);
        self.command = self.command.arg(argument);
        self.prints.push((flag, text));
        self
    }

    /// A subcommand that makes the program print a text and exit.
    #[must_use]
    pub fn printing_by_command(mut self, name: &'static str, help: &'static str, text: Text) -> Self {
        self.command = self.command.subcommand(Command::new(name).about(help));
        self.prints.push((name, text));
        self
    }

    /// Reads arguments and configuration, starts telemetry, and does the work.
    ///
    /// # Errors
    /// An error that keeps the program from starting, or the error of its work.
    pub async fn run<C: DeserializeOwned + Serialize>(
        self,
        telemetry: fn(&C) -> &Telemetry,
        work: impl AsyncFnOnce(C) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        crypto::install_provider();
        let arguments = self.command.get_matches();
        for (name, text) in self.prints {
            if arguments.subcommand_name() == Some(name) || matches!(arguments.try_get_one(name), Ok(Some(true))) {
                return print(&text()?);
            }
        }
        let file = arguments.get_one::<PathBuf>("config").map(PathBuf::as_path);
        let config: C = config::load(file, &Environment::of_process())?;
        if arguments.get_flag("print_config") {
            return print(&config::print_config(&config)?);
        }
        let guard = telemetry::init(telemetry(&config), self.name)?;
        let outcome = work(config).await;
        guard.shutdown().await;
        outcome
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(io::stdout(), "{}", text.trim_end())?)
}

/// A token that SIGTERM and Ctrl-C cancel. Before this is called, both signals end the process at once.
///
/// # Errors
///
/// If the process can't listen for signals.
pub fn stop_signal() -> io::Result<CancellationToken> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stopped.cancel();
    });
    Ok(stop)
}
