//! Running cargo, and handing over to a program that cargo built.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// The packages that the demo and the benchmarks are made of.
pub(crate) const STAGE: [&str; 2] = ["lockstep", "lockstep-business"];

/// A cargo command, its words parted by spaces, for the very cargo that runs this task.
pub(crate) fn cargo(line: &str) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(line.split(' '));
    command
}

/// Runs a command in view of the person at the terminal and says whether it succeeded.
pub(crate) fn succeeds(command: &mut Command) -> Result<bool> {
    let status = command
        .status()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    Ok(status.success())
}

/// The executables of one build, by name.
#[derive(Debug)]
pub(crate) struct Built(BTreeMap<String, PathBuf>);

impl Built {
    /// Builds the packages; cargo's own messages go to standard error.
    pub(crate) fn build(profile: &str, packages: &[&str]) -> Result<Self> {
        let mut selected = vec!["--profile", profile];
        for package in packages {
            selected.extend(["--package", package]);
        }
        Self::selected(&selected)
    }

    /// Builds everything that tests need, as they are built: a binary of its own would compile the dependencies once more, with other features.
    pub(crate) fn with_tests() -> Result<Self> {
        Self::selected(&["--workspace", "--all-targets"])
    }

    fn selected(args: &[&str]) -> Result<Self> {
        let mut command = cargo("build");
        command.args(args);
        // The place of an executable is cargo's business (target folder, suffix): it tells.
        command.arg("--message-format=json-render-diagnostics");
        let output = command
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run cargo build")?;
        if !output.status.success() {
            bail!("cargo build {} failed", args.join(" "));
        }
        Self::of_messages(&String::from_utf8_lossy(&output.stdout))
    }

    fn of_messages(messages: &str) -> Result<Self> {
        let mut executables = BTreeMap::new();
        for line in messages.lines().filter(|line| line.starts_with('{')) {
            let message: Message =
                serde_json::from_str(line).context("unreadable message of cargo build")?;
            let harness = message.profile.is_some_and(|profile| profile.test);
            match (message.target, message.executable) {
                (Some(target), Some(path)) if !harness => {
                    executables.insert(target.name, path);
                }
                _ => {}
            }
        }
        Ok(Self(executables))
    }

    /// The path of one executable.
    pub(crate) fn path(&self, name: &str) -> Result<&Path> {
        match self.0.get(name) {
            Some(path) => Ok(path),
            None => {
                let known: Vec<&str> = self.0.keys().map(String::as_str).collect();
                bail!(
                    "the build has no binary `{name}`; it has: {}",
                    known.join(", ")
                )
            }
        }
    }
}

/// One line that `cargo build` writes for programs to read.
#[derive(Deserialize)]
struct Message {
    target: Option<Target>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// Whether it is a harness of tests.
#[derive(Deserialize)]
struct Profile {
    test: bool,
}

/// Becomes the program: signals, output and the exit code are its own from here on.
#[cfg(unix)]
pub(crate) fn become_program(command: &mut Command) -> Result<ExitCode> {
    use std::os::unix::process::CommandExt;
    let error = command.exec();
    Err(error).with_context(|| format!("cannot run {}", command.get_program().display()))
}

/// Runs the program and answers as it answered.
#[cfg(not(unix))]
pub(crate) fn become_program(command: &mut Command) -> Result<ExitCode> {
    let status = command
        .status()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(3)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_read_from_cargos_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"lockstep"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"demo"},"profile":{"test":false},"executable":"out/demo"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"name":"demo"},"profile":{"test":true},"executable":"out/demo-1"}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        let built = Built::of_messages(messages).unwrap();
        assert_eq!(built.path("demo").unwrap(), Path::new("out/demo"));
        let error = built.path("bench").unwrap_err().to_string();
        assert_eq!(error, "the build has no binary `bench`; it has: demo");
    }
}
