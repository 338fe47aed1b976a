//! One server process at a time, which dies with its owner.
//!
//! A [`Supervised`] owns a folder and the process that works in it.
//! Beside it runs a shell, the guard, that reads a pipe only this process can write to: when this process ends, however it ends,
//! the pipe closes, and the guard kills the server by its pid and removes the folder.
//!
//! Invariants: at most one process works in the folder; the guard is told its pid as soon as there is one.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::chown;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::wait;

/// How long a process that was asked to end may take before it is killed.
const STOP_DEADLINE: Duration = Duration::from_secs(15);

/// Reads pids, one a line, `-` for none; at the end kills the last one with all its children and removes the folder `$1`.
///
/// The children are listed first, because without their parent nobody could tell whose they were.
const GUARD: &str = r#"
while read -r line; do pid=$line; done
if [ -n "$pid" ] && [ "$pid" != - ]; then
    children=$(cat "/proc/$pid/task/$pid/children" 2>/dev/null ||
        ps -A -o pid= -o ppid= | while read -r child parent; do
            [ "$parent" = "$pid" ] && echo "$child"
        done)
    kill -9 "$pid" $children 2>/dev/null
fi
for again in 1 2 3 4 5 6 7 8 9 10; do rm -rf "$1" 2>/dev/null && break; sleep 0.2; done
"#;

/// Whom a server runs as.
#[derive(Clone, Copy, Debug)]
pub(crate) struct User {
    uid: u32,
    gid: u32,
}

impl User {
    /// Somebody else than root, when we are root; PostgreSQL refuses to run as root.
    pub(crate) fn instead_of_root() -> Result<Option<User>> {
        let output = Command::new("id")
            .arg("-u")
            .output()
            .context("cannot run id")?;
        if String::from_utf8_lossy(&output.stdout).trim() != "0" {
            return Ok(None);
        }
        let users = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
        let user = ["postgres", "nobody"]
            .iter()
            .find_map(|name| User::named(name, &users));
        Ok(Some(user.context(
            "a server cannot run as root, and there is no user `postgres` or `nobody`",
        )?))
    }

    fn named(name: &str, users: &str) -> Option<User> {
        let line = users
            .lines()
            .find(|line| line.split(':').next() == Some(name))?;
        let fields: Vec<&str> = line.split(':').collect();
        Some(User {
            uid: fields.get(2)?.parse().ok()?,
            gid: fields.get(3)?.parse().ok()?,
        })
    }

    /// Lets the command run as this user.
    pub(crate) fn runs(self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }

    /// Hands a file or folder over.
    pub(crate) fn owns(self, path: &Path) -> Result<()> {
        chown(path, Some(self.uid), Some(self.gid))
            .with_context(|| format!("cannot hand over {}", path.display()))
    }
}

/// A folder and the process that works in it.
#[derive(Debug)]
pub(crate) struct Supervised {
    name: &'static str,
    child: Option<Child>,
    /// Closing it ends the guard, which removes the folder; so the guard is the last to go.
    pipe: Option<ChildStdin>,
    guard: Child,
    folder: PathBuf,
}

impl Supervised {
    /// A new folder without a process.
    pub(crate) fn new(name: &'static str, user: Option<User>) -> Result<Supervised> {
        let folder = TempDir::with_prefix(format!("lockstep-{name}-"))?;
        if let Some(user) = user {
            user.owns(folder.path())?;
        }
        let mut guard = Command::new("sh")
            .args(["-c", GUARD, "guard"])
            .arg(folder.path())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A signal to our process group, such as Ctrl-C, must not end the guard before its work.
            .process_group(0)
            .spawn()
            .context("cannot run sh")?;
        let pipe = guard.stdin.take();
        Ok(Supervised {
            name,
            child: None,
            pipe,
            guard,
            folder: folder.keep(),
        })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file that everything the process says goes to.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("log.txt")
    }

    /// What the process has said so far, starts before this one included.
    pub(crate) fn said(&self) -> String {
        let bytes = fs::read(self.log()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Starts the command as the process of this folder.
    pub(crate) fn start(&mut self, command: &mut Command) -> Result<()> {
        if self.is_running()? {
            bail!("{} runs already", self.name);
        }
        let log = File::options().create(true).append(true).open(self.log())?;
        let child = command
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot run {}", command.get_program().display()))?;
        let pid = child.id();
        self.child = Some(child);
        self.tell(&pid.to_string())
    }

    fn tell(&mut self, line: &str) -> Result<()> {
        let pipe = self.pipe.as_mut().context("the guard is gone")?;
        writeln!(pipe, "{line}").context("the guard is gone")
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Whether the process is there; one that has ended by itself is forgotten.
    pub(crate) fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.is_some() && self.ended()?.is_none())
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let Some(child) = &mut self.child else {
            return Ok(None);
        };
        let status = child.try_wait()?;
        if status.is_some() {
            self.child = None;
            self.tell("-")?;
        }
        Ok(status)
    }

    /// Waits until the process is ready, and fails when it ends before that.
    pub(crate) fn until_ready(
        &mut self,
        deadline: Duration,
        mut ready: impl FnMut(&Supervised) -> bool,
    ) -> Result<()> {
        let started = Instant::now();
        while !ready(self) {
            if let Some(status) = self.ended()? {
                bail!(
                    "{} ended with {} before it was ready; it said:\n{}",
                    self.name,
                    status.code().or(status.signal()).unwrap_or_default(),
                    self.said()
                );
            }
            if started.elapsed() > deadline {
                bail!(
                    "{} is not ready after {} s; it said:\n{}",
                    self.name,
                    deadline.as_secs(),
                    self.said()
                );
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Sends a signal, `TERM` or `HUP` or another, to the process.
    pub(crate) fn signal(&self, signal: &str) -> Result<()> {
        let pid = self
            .pid()
            .with_context(|| format!("{} does not run", self.name))?;
        signal_all(signal, &[pid])
    }

    /// Stops the process and its children in their tracks: connections stay open and nobody answers.
    pub(crate) fn freeze(&self) -> Result<()> {
        // First the parent, so that it has no more children than those that are seen.
        self.signal("STOP")?;
        self.signal_children("STOP")
    }

    /// Lets a frozen process and its children go on.
    pub(crate) fn thaw(&self) -> Result<()> {
        self.signal_children("CONT")?;
        self.signal("CONT")
    }

    fn signal_children(&self, signal: &str) -> Result<()> {
        let children = self.pid().map(children).transpose()?.unwrap_or_default();
        for child in children {
            // One that has ended since is no fault; one that lives hears it.
            let _ = signal_all(signal, &[child]);
        }
        Ok(())
    }

    /// Ends the process with SIGKILL, and its children with it; done when all of them are gone.
    pub(crate) fn kill(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let children = children(child.id())?;
        child.kill()?;
        child.wait()?;
        if !children.is_empty() {
            // Most of them end by themselves once their parent is gone; a failure means that all did.
            let _ = signal_all("KILL", &children);
            wait::until("the end of the children", STOP_DEADLINE, || {
                Ok((!any_alive(&children)?).then_some(()))
            })?;
        }
        self.tell("-")
    }

    /// Asks the process to end with a signal, waits for it, and kills it when it takes too long.
    pub(crate) fn stop(&mut self, signal: &str) -> Result<()> {
        if !self.is_running()? {
            return Ok(());
        }
        self.signal(signal)?;
        let started = Instant::now();
        while self.is_running()? {
            if started.elapsed() > STOP_DEADLINE {
                return self.kill();
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        // The guard does the rest, and does it again where this failed.
        let _ = self.kill();
        drop(self.pipe.take());
        let _ = self.guard.wait();
    }
}

/// Signals processes by their pids.
fn signal_all(signal: &str, pids: &[u32]) -> Result<()> {
    let status = Command::new("sh")
        .args(["-c", "kill -s \"$@\"", "kill", signal])
        .args(pids.iter().map(u32::to_string))
        .stderr(Stdio::null())
        .status()
        .context("cannot run sh")?;
    if !status.success() {
        bail!("cannot send {signal} to {pids:?}");
    }
    Ok(())
}

/// The children of a process.
fn children(parent: u32) -> Result<Vec<u32>> {
    let all = processes()?;
    let of = |(pid, ppid, _): &(u32, u32, bool)| (*ppid == parent).then_some(*pid);
    Ok(all.iter().filter_map(of).collect())
}

fn any_alive(pids: &[u32]) -> Result<bool> {
    let all = processes()?;
    Ok(all
        .iter()
        .any(|(pid, _, alive)| *alive && pids.contains(pid)))
}

/// Every process: its pid, its parent's, and whether it is more than a zombie.
fn processes() -> Result<Vec<(u32, u32, bool)>> {
    // Small machines of CI have no `ps`, and other systems than Linux have no `/proc`.
    let Ok(entries) = fs::read_dir("/proc/self/task").and_then(|_| fs::read_dir("/proc")) else {
        return listed();
    };
    let read = |entry: std::io::Result<fs::DirEntry>| {
        let stat = fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
        let pid = stat.split(' ').next()?.parse().ok()?;
        // The name in brackets may hold blanks, so fields are counted from behind it.
        let mut words = stat.rsplit_once(')')?.1.split_whitespace();
        let alive = words.next()? != "Z";
        Some((pid, words.next()?.parse().ok()?, alive))
    };
    Ok(entries.filter_map(read).collect())
}

fn listed() -> Result<Vec<(u32, u32, bool)>> {
    let output = Command::new("ps")
        .args(["-A", "-o", "pid=", "-o", "ppid=", "-o", "stat="])
        .output()
        .context("cannot run ps")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let read = |line: &str| {
        let mut words = line.split_whitespace();
        let (pid, ppid) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some((pid, ppid, !words.next()?.starts_with('Z')))
    };
    Ok(text.lines().filter_map(read).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_name() {
        let users = "root:x:0:0::/root:/bin/sh\nnobody:x:65534:65533:nobody:/:/bin/false\n";
        let user = User::named("nobody", users).unwrap();
        assert_eq!((user.uid, user.gid), (65534, 65533));
        assert!(User::named("postgres", users).is_none());
    }

    #[test]
    fn processes_are_found_with_and_without_ps() {
        let me = std::process::id();
        let mine = |all: Vec<(u32, u32, bool)>| all.into_iter().find(|(pid, ..)| *pid == me);
        let found = mine(processes().unwrap());
        assert_eq!(found.map(|(.., alive)| alive), Some(true));
        assert_eq!(found, mine(listed().unwrap()));
    }

    #[test]
    fn a_killed_process_takes_its_children_along_and_leaves_no_folder() {
        let mut supervised = Supervised::new("test", None).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 600 & sleep 600 & echo started; wait"]);
        supervised.start(&mut command).unwrap();
        let ready = |it: &Supervised| it.said().contains("started");
        supervised
            .until_ready(Duration::from_secs(10), ready)
            .unwrap();
        let sleepers = children(supervised.pid().unwrap()).unwrap();
        assert_eq!(sleepers.len(), 2);
        supervised.kill().unwrap();
        assert!(!any_alive(&sleepers).unwrap());
        let folder = supervised.folder().to_owned();
        drop(supervised);
        assert!(!folder.exists());
    }

    #[test]
    fn a_process_that_ends_too_early_is_quoted() {
        let mut supervised = Supervised::new("test", None).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such port; exit 7"]);
        supervised.start(&mut command).unwrap();
        let error = supervised
            .until_ready(Duration::from_secs(10), |_| false)
            .unwrap_err()
            .to_string();
        let expected = "test ended with 7 before it was ready; it said:\nno such port\n";
        assert_eq!(error, expected);
    }
}
