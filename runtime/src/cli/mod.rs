//! The command line: one module a command, one place that writes ([`output`]), one way of ending ([`Exit`]).
//!
//! A deployer's own binary is `fn main() -> ExitCode { lockstep::cli::main(registry) }` with the connectors it wants.
//! A new command is a variant of `Command` and its arm in `Command::run`.

mod backfill;
mod check;
mod completions;
mod connectors;
mod contract;
mod explain;
mod logging;
mod map;
pub mod output;
mod quarantine;
mod run;
mod schemas;
mod status;
mod steer;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand, ValueEnum};
use lockstep_core::connector::Registry;
use lockstep_core::diagnostic::{Diagnostic, Severity, suggestion};
use lockstep_core::error::Error;

use crate::api::Reach;
use crate::config::{self, Config};
use crate::versions::Known;
use output::Output;

pub(crate) use self::check::count;
pub use self::schemas::schemas;

/// Code → page, for wrong usage.
pub const CODES: &[(&str, &str)] = &[
    (
        "LS-U001",
        "An argument names something that does not exist: a system, an entity, a connector, a code.\n\
         Check: the help line names what is known.\n\
         Safe: run the command again with another name; nothing was done.",
    ),
    (
        "LS-U003",
        "Something outside stood in the way: a system, the log, the running process.\n\
         Check: the message names it, from the outside in.\n\
         Safe: mend it and run the command again; what was under way is not lost.",
    ),
    (
        "LS-U010",
        "Data to be tested or profiled cannot be read as records.\n\
         Check: the message names the file, the line and what stands in the way; data is read from .jsonl, .ndjson, .json and .csv.\n\
         Safe: mend the file or write it in another of these forms; nothing was done.",
    ),
    (
        "LS-U002",
        "The command could not be started at all: the process could not get threads or timers from the operating system.\n\
         Check: limits on processes and open files of the user that runs Lockstep.\n\
         Safe: nothing was done; raise the limits and run it again.",
    ),
];

/// Keeps the same business facts the same in every system that holds them.
#[derive(Debug, Parser)]
#[command(
    name = "lockstep",
    version,
    arg_required_else_help = true,
    after_help = "Examples:\n  \
        lockstep check                       look at everything before the start, changing nothing\n  \
        lockstep -c prod.toml check --json   the same for machines\n  \
        lockstep run                         keep the systems in step\n  \
        lockstep status                      see what every flow is doing\n  \
        lockstep pause crm.accounts          let a flow, system or table rest\n  \
        lockstep verify                      compare the systems\n  \
        lockstep map try crm customer        see a mapping on live rows\n  \
        lockstep explain LS-G014             what a code means\n\n\
        Exit codes: 0 clean, 1 findings, 2 unreadable input or wrong usage, 3 environment."
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, clap::Args)]
struct Global {
    /// The configuration file
    #[arg(
        short,
        long,
        global = true,
        value_name = "FILE",
        default_value = "lockstep.toml"
    )]
    #[arg(env = "LOCKSTEP_CONFIG")]
    config: PathBuf,
    /// Write one JSON object to standard output
    #[arg(long, global = true)]
    json: bool,
    /// The form of the log on standard error
    #[arg(long, global = true, value_name = "FORM", default_value = "text")]
    log_format: LogFormat,
    /// Say more in the log; twice for everything (LOCKSTEP_LOG filters by module)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

/// The form of the log on standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    /// For people
    Text,
    /// One object a line
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Args),
    Run(run::Args),
    Status(status::Args),
    Pause(steer::Pause),
    Resume(steer::Resume),
    Retry(steer::Retry),
    Skip(steer::Skip),
    Backfill(backfill::Args),
    Verify(verify::Args),
    Quarantine(quarantine::Args),
    Map(map::Args),
    Connectors(connectors::Args),
    Contract(Box<contract::Args>),
    Explain(explain::Args),
    Completions(completions::Args),
}

impl Command {
    async fn run(self, cx: &Context) -> Exit {
        match self {
            Command::Check(args) => args.run(cx).await,
            Command::Run(args) => args.run(cx).await,
            Command::Status(args) => args.run(cx).await,
            Command::Pause(args) => args.run(cx).await,
            Command::Resume(args) => args.run(cx).await,
            Command::Retry(args) => args.run(cx).await,
            Command::Skip(args) => args.run(cx).await,
            Command::Backfill(args) => args.run(cx).await,
            Command::Verify(args) => args.run(cx).await,
            Command::Quarantine(args) => args.run(cx).await,
            Command::Map(args) => args.run(cx).await,
            Command::Connectors(args) => args.run(cx).await,
            Command::Contract(args) => args.run(cx).await,
            Command::Explain(args) => args.run(cx),
            Command::Completions(args) => args.run(cx),
        }
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, and nothing was found.
    Clean,
    /// Done, and something was found.
    Findings,
    /// The input cannot be read, or the command was used wrongly.
    Usage,
    /// A server, the network, a file or a permission stood in the way.
    Environment,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(match exit {
            Exit::Clean => 0,
            Exit::Findings => 1,
            Exit::Usage => 2,
            Exit::Environment => 3,
        })
    }
}

/// What every command works with.
pub struct Context {
    /// The connectors of this binary.
    pub registry: Arc<Registry>,
    /// The configuration file as the user gave it.
    pub file: PathBuf,
    /// Where results and findings go.
    pub output: Output,
}

impl Context {
    /// Loads the configuration for a command that needs a sound one; warnings go to standard error.
    ///
    /// # Errors
    /// What to end with: the findings are shown already.
    pub fn load(&self) -> Result<Config, Exit> {
        self.loaded(config::load(&self.file, &self.registry))
    }

    /// Loads one system of the configuration; contracts and flows need not be there yet.
    ///
    /// # Errors
    /// How to end the command; what is wrong has been shown.
    pub fn load_system(&self, system: &str) -> Result<Config, Exit> {
        let config = self.loaded(config::load_system(&self.file, system, &self.registry))?;
        if config.systems.contains_key(system) {
            return Ok(config);
        }
        let known = config.systems.keys().map(String::as_str);
        Err(self.unknown(
            format!("there is no system `{system}`"),
            suggestion(system, known),
        ))
    }

    fn loaded(
        &self,
        loaded: Result<(Config, Vec<Diagnostic>), Vec<Diagnostic>>,
    ) -> Result<Config, Exit> {
        match loaded {
            Ok((config, warnings)) => {
                self.output.findings(&warnings);
                Ok(config)
            }
            Err(findings) => Err(self.fail(&findings, Exit::Usage)),
        }
    }

    /// Loads the configuration as the log knows it: with what was taken along from sources, and the versions that ran.
    ///
    /// # Errors
    /// How to end the command; what is wrong has been shown.
    pub async fn load_as_known(&self) -> Result<Config, Exit> {
        let mut config = self.load()?;
        Known::reach(&config).await.apply(&mut config);
        Ok(config)
    }

    /// Loads what it takes to operate a run, with the first mistake in the rest of what is on disk: whatever runs goes on with what it began with.
    ///
    /// # Errors
    /// What to end with: what is wrong is shown already.
    fn load_to_operate(&self) -> Result<(Config, Option<Diagnostic>), Exit> {
        match config::load_to_operate(&self.file, &self.registry) {
            Ok((config, beside)) => {
                if !any_error(&beside) {
                    self.output.findings(&beside);
                }
                let mut errors = beside.into_iter();
                let mistake = errors.find(|finding| finding.severity == Severity::Error);
                Ok((config, mistake.map(unloadable)))
            }
            Err(findings) => Err(self.fail(&findings, Exit::Usage)),
        }
    }

    /// Finds the running process, or its log where none runs, whatever is wrong with the contracts on disk, which is told.
    ///
    /// # Errors
    /// What to end with: what is wrong is shown already.
    async fn reach(&self) -> Result<(Config, Reach), Exit> {
        let (config, mistake) = self.load_to_operate()?;
        self.output.findings(mistake.as_slice());
        let reach = Reach::find(&config).await;
        reach
            .map(|reach| (config, reach))
            .map_err(|error| self.failed(&error))
    }

    /// Shows findings, as JSON where that was asked for, and gives `exit` back.
    pub fn fail(&self, findings: &[Diagnostic], exit: Exit) -> Exit {
        if self.output.is_json() {
            self.output.json(&check::Checked::of(findings));
        } else {
            self.output.findings(findings);
        }
        exit
    }

    /// Shows an error that ended the command.
    pub fn failed(&self, error: &Error) -> Exit {
        let code = error.error_code().unwrap_or("LS-U003");
        let mut finding = Diagnostic::error(code, error.chain());
        finding.help = error.help_text().map(str::to_owned);
        self.fail(&[finding], Exit::Environment)
    }

    /// Says that an argument names nothing that is known.
    pub fn unknown(&self, message: String, help: String) -> Exit {
        self.fail(
            &[Diagnostic::error("LS-U001", message).help(help)],
            Exit::Usage,
        )
    }
}

/// The first mistake that keeps what is on disk from being loaded, as a warning: it stops nothing that runs.
fn unloadable(mistake: Diagnostic) -> Diagnostic {
    let own = mistake
        .place
        .as_ref()
        .is_some_and(|place| place.file.ends_with(".toml"));
    let (what, ask) = if own && mistake.code != "LS-G023" {
        ("the configuration on disk does not load", "lockstep check")
    } else {
        (
            "the contracts on disk do not load",
            "lockstep contract lint",
        )
    };
    Diagnostic {
        severity: Severity::Warning,
        message: format!("{what}, so the next start would fail: {}", mistake.message),
        help: Some(format!(
            "what runs goes on as it began; `{ask}` names every mistake"
        )),
        ..mistake
    }
}

/// Who decides: as they say, or as the operating system knows them.
fn who(by: Option<String>) -> String {
    let known = || std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
    by.or_else(|| known().ok())
        .unwrap_or_else(|| "unknown".to_owned())
}

/// Tells whether one of the findings is an error.
pub(crate) fn any_error(findings: &[Diagnostic]) -> bool {
    findings
        .iter()
        .any(|finding| finding.severity == Severity::Error)
}

/// Runs the command line with these connectors and the inbox, which the runtime brings itself: the whole of a deployer's `main`.
#[must_use]
pub fn main(registry: Registry) -> ExitCode {
    let cli = Cli::parse();
    logging::start(cli.global.log_format, cli.global.verbose);
    let cx = Context {
        registry: Arc::new(registry.with(crate::inbox::connector())),
        file: cli.global.config,
        output: Output::new(cli.global.json),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let exit = match runtime {
        Ok(runtime) => runtime.block_on(cli.command.run(&cx)),
        Err(error) => {
            let finding =
                Diagnostic::error("LS-U002", format!("the command cannot start: {error}"));
            cx.fail(&[finding], Exit::Environment)
        }
    };
    exit.into()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_stand_before_and_after_the_command() {
        for line in [
            "lockstep -c x.toml --json check",
            "lockstep check --json -c x.toml",
        ] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            assert_eq!(cli.global.config, PathBuf::from("x.toml"));
            assert!(cli.global.json);
        }
    }
}
