//! The menu of tasks of this repository: `cargo xtask TASK`.
//!
//! One file per task, with the same name; `cargo` and `repository` hold what tasks share.
//! A task answers 0 when all is well and 1 when it found something; 2 is wrong usage, and 3 says
//! that the task could not be done at all (a build broke, a tool is missing).

mod bench;
mod cargo;
mod check;
mod codegen;
mod conformance;
mod demo;
mod new_connector;
mod repository;
mod servers;
mod test;

use std::ffi::OsString;
use std::io::{Write, stderr};
use std::process::ExitCode;

use clap::Parser;

use conformance::Then;

/// The tasks of the Lockstep repository
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
enum Task {
    /// Say what CI would say: format, house rules, licences, generated files, lints and docs
    Check {
        /// Run only these checks
        #[arg(value_name = "NAME", value_parser = check::names())]
        only: Vec<String>,
    },
    /// Run every test: unit, conformance and end-to-end tests, then the examples in the docs
    Test {
        /// Run only tests with this in their name
        filter: Option<String>,
        /// Count a skipped test as failed, as CI does
        #[arg(long)]
        ci: bool,
    },
    /// Say which connector keeps which promise of the conformance kit, by running it
    Conformance {
        /// Write the table into connectors/README.md
        #[arg(long, conflicts_with = "json")]
        write: bool,
        /// Print one JSON object and nothing else
        #[arg(long)]
        json: bool,
    },
    /// Kill, freeze and cut off everything for hundreds of rounds, and count what became of it
    Soak {
        /// Run only tests with this in their name
        filter: Option<String>,
        /// How many rounds each test goes through
        #[arg(long, default_value_t = 300)]
        rounds: u32,
    },
    /// Find or install the servers that tests, demo and benchmarks need: nats-server, PostgreSQL
    Servers,
    /// Make a connector: a crate that builds and passes the conformance kit, to be changed into yours
    NewConnector {
        /// What configurations will call it: lower-case words joined by hyphens
        name: String,
    },
    /// Show four systems kept the same while they are edited; ARGS go to the demo
    #[command(disable_help_flag = true)]
    Demo {
        /// For the demo
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Measure; ARGS go to the benchmark
    Bench {
        /// Which benchmark
        name: bench::Name,
        /// Print one JSON object and nothing else
        #[arg(long)]
        json: bool,
        /// For the benchmark
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Write the files that are generated from types
    Codegen {
        /// Compare instead of writing
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    let done = match Task::parse() {
        Task::Check { only } => check::run(&only),
        Task::Test { filter, ci } => test::run(filter.as_deref(), ci),
        Task::Conformance { write, json } => {
            let then = match (write, json) {
                (true, _) => Then::Write,
                (_, true) => Then::Json,
                _ => Then::Print,
            };
            conformance::run(&then)
        }
        Task::Soak { filter, rounds } => test::soak(rounds, filter.as_deref()),
        Task::Servers => servers::run(),
        Task::NewConnector { name } => new_connector::run(&name),
        Task::Demo { args } => demo::run(&args),
        Task::Bench { name, json, args } => bench::run(name, json, &args),
        Task::Codegen { check } => codegen::run(check),
    };
    done.unwrap_or_else(|error| {
        say(&format!("error: {error:#}"));
        ExitCode::from(3)
    })
}

/// Tells the person at the terminal; standard output is left to results.
fn say(line: &str) {
    // A closed standard error leaves nobody to tell, and the exit code still speaks.
    let _ = writeln!(stderr(), "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_gets_its_arguments_untouched() {
        let line = ["xtask", "demo", "--json", "--kill", "3", "--help"];
        let Task::Demo { args } = Task::try_parse_from(line).unwrap() else {
            panic!("not the demo");
        };
        assert_eq!(args, ["--json", "--kill", "3", "--help"]);
    }

    #[test]
    fn a_benchmark_gets_json_wherever_it_stands() {
        for line in [
            ["xtask", "bench", "pipeline", "--json", "--rows=5"],
            ["xtask", "bench", "pipeline", "--rows=5", "--json"],
            ["xtask", "bench", "--json", "pipeline", "--rows=5"],
        ] {
            let Task::Bench { json, args, .. } = Task::try_parse_from(line).unwrap() else {
                panic!("not a benchmark");
            };
            let all = args.iter().filter(|arg| *arg == "--json").count() + usize::from(json);
            assert_eq!(
                (all, args.contains(&"--rows=5".into())),
                (1, true),
                "{line:?}"
            );
        }
    }

    #[test]
    fn an_unknown_benchmark_is_answered_with_the_known_ones() {
        let error = Task::try_parse_from(["xtask", "bench", "nope"])
            .err()
            .unwrap();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains("pipeline"), "{error}");
    }
}
