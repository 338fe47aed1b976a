//! `cargo xtask demo`: builds the runtime and the demo and becomes the demo.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::cargo::{Built, STAGE, become_program};
use crate::servers::{self, Tool};

pub(crate) fn run(args: &[OsString]) -> Result<ExitCode> {
    let variables = servers::provide(&needed(args), true)?;
    let built = Built::build("quick", &STAGE)?;
    become_program(
        Command::new(built.path("demo")?)
            .arg("--lockstep")
            .arg(built.path("lockstep")?)
            .args(args)
            .envs(variables),
    )
}

/// The servers that the demo starts with these arguments; judging the arguments is the demo's business.
fn needed(args: &[OsString]) -> Vec<Tool> {
    let mut tools = Vec::new();
    let words: Vec<&str> = args.iter().filter_map(|arg| arg.to_str()).collect();
    if words.contains(&"--log=nats") || words.windows(2).any(|pair| pair == ["--log", "nats"]) {
        tools.push(Tool::NatsServer);
    }
    if words.contains(&"--postgres") {
        tools.push(Tool::Postgres);
    }
    tools
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_servers_that_are_asked_for_are_needed() {
        let table: [(&[&str], &[Tool]); 6] = [
            (&[], &[]),
            (&["--log", "embedded", "--json"], &[]),
            (&["--log", "nats"], &[Tool::NatsServer]),
            (&["--log=nats", "--kills", "3"], &[Tool::NatsServer]),
            (&["--postgres"], &[Tool::Postgres]),
            (
                &["--postgres", "--log", "nats"],
                &[Tool::NatsServer, Tool::Postgres],
            ),
        ];
        for (args, tools) in table {
            let args: Vec<OsString> = args.iter().map(OsString::from).collect();
            assert_eq!(needed(&args), tools, "{args:?}");
        }
    }
}
