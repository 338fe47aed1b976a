//! Processes, with what the operating system counts for them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// How long the runtime may take to end when asked to.
const STOP_DEADLINE: Duration = Duration::from_secs(30);

/// Lines of the runtime's log that go into an error.
const LINES_MAX: usize = 20;

/// Linux counts in hundredths of a second for user space, whatever the kernel's own tick.
const TICKS_PER_S: f64 = 100.0;

/// A running runtime; killed when dropped.
pub(super) struct Runtime {
    child: Child,
    folder: PathBuf,
}

impl Runtime {
    /// Starts it on a folder's configuration; its log goes to a file there.
    pub(super) fn start(binary: &Path, folder: &Path) -> Result<Runtime> {
        let log = File::create(folder.join("runtime.txt"))?;
        let child = Command::new(binary)
            .arg("run")
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", binary.display()))?;
        Ok(Runtime {
            child,
            folder: folder.to_owned(),
        })
    }

    /// Fails if it has ended.
    pub(super) fn alive(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the runtime ended ({status}):\n{}", self.log());
        }
        Ok(())
    }

    /// The last of what it has said.
    pub(super) fn log(&self) -> String {
        let said = fs::read_to_string(self.folder.join("runtime.txt")).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(LINES_MAX)..].join("\n")
    }

    /// CPU seconds it has used, user and system.
    pub(super) fn cpu_s(&self) -> Result<f64> {
        Ok(Usage::of(self.child.id())?.own_s)
    }

    /// The most memory it has held, in MB.
    pub(super) fn peak_mb(&self) -> Result<f64> {
        peak_mb(self.child.id())
    }

    /// Asks it to end and waits for it.
    pub(super) fn stop(mut self) -> Result<()> {
        let pid = self.child.id().to_string();
        Command::new("sh")
            .args(["-c", "kill -s TERM \"$1\"", "kill", &pid])
            .status()?;
        let started = Instant::now();
        while self.child.try_wait()?.is_none() {
            if started.elapsed() > STOP_DEADLINE {
                bail!("the runtime does not end when asked to:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until a child ends by itself and gives the CPU seconds it used.
pub(super) fn finish(child: &mut Child, deadline: Duration) -> Result<f64> {
    let started = Instant::now();
    loop {
        // Its figures stand there until somebody waits for it, even when it has ended.
        let usage = Usage::of(child.id())?;
        if usage.ended {
            let status = child.wait()?;
            if !status.success() {
                bail!("it ended with {status}");
            }
            return Ok(usage.own_s);
        }
        if started.elapsed() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            bail!("it did not end within {} s", deadline.as_secs());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// CPU seconds of a child that has ended and that nobody has waited for yet; none while it runs.
pub(super) fn ended_cpu_s(pid: u32) -> Result<Option<f64>> {
    let usage = Usage::of(pid)?;
    Ok(usage.ended.then_some(usage.own_s))
}

/// CPU seconds of a process, its children, and the children that it has outlived.
pub(super) fn tree_cpu_s(pid: u32) -> Result<f64> {
    loop {
        let parent = Usage::of(pid)?;
        let sum = parent.own_s + parent.reaped_s + children_cpu_s(pid)?;
        // A child that was reaped meanwhile would be in neither figure.
        if Usage::of(pid)?.reaped_s == parent.reaped_s {
            return Ok(sum);
        }
    }
}

fn children_cpu_s(pid: u32) -> Result<f64> {
    let mut sum = 0.0;
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(child) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // One that is gone by now has been added to its parent's figure.
        if let Ok(usage) = Usage::of(child)
            && usage.parent == pid
        {
            sum += usage.own_s + usage.reaped_s;
        }
    }
    Ok(sum)
}

/// The most memory that a process has held, in MB.
pub(super) fn peak_mb(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .context("no VmHWM")?;
    let kb: f64 = line
        .split_whitespace()
        .nth(1)
        .context("no figure")?
        .parse()?;
    Ok(kb / 1024.0)
}

/// What `/proc/PID/stat` says.
struct Usage {
    ended: bool,
    parent: u32,
    /// CPU seconds of its own.
    own_s: f64,
    /// CPU seconds of children that have ended.
    reaped_s: f64,
}

impl Usage {
    fn of(pid: u32) -> Result<Usage> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        Usage::read(&stat).context("unreadable figures of a process")
    }

    fn read(stat: &str) -> Option<Usage> {
        // The name in brackets may hold blanks, so fields are counted from behind it.
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let seconds = |at: usize| Some(fields.get(at)?.parse::<f64>().ok()? / TICKS_PER_S);
        Some(Usage {
            ended: *fields.first()? == "Z",
            parent: fields.get(1)?.parse().ok()?,
            own_s: seconds(11)? + seconds(12)?,
            reaped_s: seconds(13)? + seconds(14)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_counted_from_behind_the_name() {
        let stat = "42 (a ) b) S 7 1 1 0 -1 0 0 0 0 0 150 50 20 5 20 0 1 0 0 0 0";
        let usage = Usage::read(stat).unwrap();
        assert_eq!((usage.parent, usage.ended), (7, false));
        assert_eq!((usage.own_s, usage.reaped_s), (2.0, 0.25));
        assert!(Usage::read("42 (x) Z").is_none());
    }
}
