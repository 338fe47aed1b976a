//! The runtime as a process: starting it, asking it, killing it.
//!
//! It knows the command line of `lockstep` and nothing of what happens inside.
//! A [`Runtime`] that is dropped is killed, unless it was released; nothing here waits without a deadline.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

/// How long one command such as `status` may take.
const COMMAND_DEADLINE: Duration = Duration::from_secs(60);
/// How often a command is looked at.
const COMMAND_POLL: Duration = Duration::from_millis(5);
/// How much of the log is shown when something went wrong.
const TAIL_BYTES: u64 = 6_000;

/// Where the runtime's binary and configuration are.
#[derive(Clone, Debug)]
pub struct Lockstep {
    binary: PathBuf,
    folder: PathBuf,
}

/// What a command said.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// The answer of `lockstep status --json`, as far as the stage needs it.
#[derive(Clone, Debug, Deserialize)]
pub struct Status {
    /// Whether a runtime gave the answer; without one the command looks for itself.
    #[serde(default)]
    pub running: bool,
    /// One entry for each flow and target, or for each flow.
    pub flows: Vec<FlowStatus>,
}

/// How one flow is.
#[derive(Clone, Debug, Deserialize)]
pub struct FlowStatus {
    /// Its name.
    pub flow: String,
    /// Its entity.
    pub entity: String,
    /// The target, or targets.
    #[serde(default)]
    pub to: Value,
    /// `idle`, `behind`, `stalled`, `held` or `paused`.
    pub state: String,
    /// How far behind it is.
    #[serde(default)]
    pub lag_ms: Option<f64>,
    /// Why it is not well.
    #[serde(default)]
    pub reason: Option<String>,
}

/// A running runtime.
#[derive(Debug)]
pub struct Runtime {
    child: Option<Child>,
    log: PathBuf,
}

impl Lockstep {
    /// The runtime of this binary, with the configuration of a folder.
    #[must_use]
    pub fn new(binary: &Path, folder: &Path) -> Lockstep {
        Lockstep {
            binary: binary.to_owned(),
            folder: folder.to_owned(),
        }
    }

    /// The file that the runtime's output goes to.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.join("runtime.log")
    }

    /// Starts `lockstep run` as a process of its own.
    ///
    /// # Errors
    /// The binary cannot be started or the log not be written.
    pub fn run(&self) -> Result<Runtime> {
        let log = self.log();
        let file = OpenOptions::new().create(true).append(true).open(&log);
        let file = file.with_context(|| format!("cannot write `{}`", log.display()))?;
        let mut command = self.command(&["run"]);
        command.stdout(file.try_clone()?).stderr(file);
        // A group of its own: an interrupt on the terminal is the stage's to handle.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = command.spawn().with_context(|| self.cannot_start())?;
        Ok(Runtime {
            child: Some(child),
            log,
        })
    }

    /// Runs one command to its end.
    ///
    /// # Errors
    /// It cannot be started, or takes longer than a minute.
    pub fn ask(&self, arguments: &[&str]) -> Result<Answer> {
        let mut command = self.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| self.cannot_start())?;
        let stdout = drain(child.stdout.take());
        let stderr = drain(child.stderr.take());
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if begin.elapsed() > COMMAND_DEADLINE {
                child.kill()?;
                child.wait()?;
                bail!(
                    "`lockstep {}` did not end within {} s",
                    arguments.join(" "),
                    COMMAND_DEADLINE.as_secs()
                );
            }
            sleep(COMMAND_POLL);
        };
        Ok(Answer {
            code: status.code(),
            stdout: stdout.join().unwrap_or_default(),
            stderr: stderr.join().unwrap_or_default(),
        })
    }

    /// Runs one command with `--json` and reads its answer, whether it found something (exit code 1) or not.
    ///
    /// # Errors
    /// The command failed, or its answer is not JSON.
    pub fn ask_json(&self, arguments: &[&str]) -> Result<Value> {
        let arguments = [arguments, &["--json"]].concat();
        let told = arguments.join(" ");
        let answer = self.ask(&arguments)?;
        ensure!(
            matches!(answer.code, Some(0 | 1)),
            "`lockstep {told}` failed with {}: {}",
            answer.told_code(),
            answer.stderr.trim()
        );
        serde_json::from_str(&answer.stdout)
            .with_context(|| format!("`lockstep {told}` answered `{}`", answer.stdout.trim()))
    }

    /// Asks for the state of all flows.
    ///
    /// # Errors
    /// The command failed, or answers in another shape.
    pub fn status(&self) -> Result<Status> {
        let answer = self.ask_json(&["status"])?;
        serde_json::from_value(answer).context("`lockstep status` answered in an unknown shape")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("-c").arg(self.folder.join("lockstep.toml"));
        command.args(arguments).stdin(Stdio::null());
        command
    }

    fn cannot_start(&self) -> String {
        format!("cannot start `{}`", self.binary.display())
    }
}

impl Answer {
    /// The exit code in words.
    #[must_use]
    pub fn told_code(&self) -> String {
        self.code
            .map_or_else(|| "a signal".to_owned(), |code| format!("exit code {code}"))
    }
}

impl FlowStatus {
    /// One line for a person: what is the matter with the flow.
    #[must_use]
    pub fn told(&self) -> String {
        let to = match &self.to {
            Value::Null => String::new(),
            Value::Array(targets) => {
                let names: Vec<String> = targets.iter().map(crate::record::plain).collect();
                format!(" → {}", names.join(", "))
            }
            other => format!(" → {}", crate::record::plain(other)),
        };
        let reason = self.reason.as_deref().unwrap_or("no reason given");
        format!("{}{to} is {} ({reason})", self.flow, self.state)
    }
}

impl Runtime {
    /// The process id, while it is held.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Makes sure that it still runs.
    ///
    /// # Errors
    /// It ended by itself; the error says how and shows the end of its log.
    pub fn alive(&mut self) -> Result<()> {
        let Some(child) = &mut self.child else {
            return Ok(());
        };
        if let Some(status) = child.try_wait()? {
            self.child = None;
            bail!("the runtime ended by itself ({status})");
        }
        Ok(())
    }

    /// Kills it without a warning (SIGKILL on Unix) and waits until it is gone.
    ///
    /// # Errors
    /// The process cannot be killed.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().context("cannot kill the runtime")?;
            child.wait()?;
        }
        Ok(())
    }

    /// Lets it run on when this value is dropped.
    pub fn release(mut self) {
        self.child = None;
    }

    /// The end of its log.
    #[must_use]
    pub fn tail(&self) -> String {
        tail(&self.log)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may be gone already, which is all that is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The last lines of a file; empty where there is none.
#[must_use]
pub fn tail(path: &Path) -> String {
    let read = || -> std::io::Result<Vec<u8>> {
        use std::io::{Seek, SeekFrom};
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
}

/// Reads a pipe to its end on a thread, so that a full pipe never blocks the process behind it.
fn drain(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What could be read until the pipe broke is the best answer there is.
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Looks for the runtime's binary: `LOCKSTEP_BIN`, then beside this program or above it, as cargo lays programs and tests out.
///
/// # Errors
/// There is none; the message says how to build it.
pub fn find() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("LOCKSTEP_BIN") {
        return Ok(path.into());
    }
    let name = format!("lockstep{}", std::env::consts::EXE_SUFFIX);
    let here = std::env::current_exe()?;
    let found = here
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(&name));
    found.into_iter().find(|path| path.is_file()).with_context(|| {
        "no `lockstep` beside this program: build it with `cargo build --package lockstep`, or name it with --lockstep or LOCKSTEP_BIN"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_binary_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("no-such-lockstep");
        let lockstep = Lockstep::new(&missing, folder.path());
        let error = lockstep.run().unwrap_err().to_string();
        assert!(error.contains("no-such-lockstep"), "{error}");
    }

    #[test]
    fn the_tail_is_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        assert_eq!(tail(&log), "");
        std::fs::write(&log, format!("{}last words", "x".repeat(10_000))).unwrap();
        let tail = tail(&log);
        assert!(tail.ends_with("last words") && tail.len() == 6_000);
    }

    #[test]
    fn targets_come_as_a_name_or_as_a_list() {
        for (to, told) in [(r#""erp""#, "erp"), (r#"["erp","crm"]"#, "erp, crm")] {
            let text = format!(
                r#"{{"running":true,"flows":[{{"flow":"a","entity":"order","to":{to},"state":"behind","lag_ms":3}}]}}"#
            );
            let status: Status = serde_json::from_str(&text).unwrap();
            assert!(status.flows[0].told().contains(told));
        }
    }
}
