//! The runtime as a process, with what the operating system counts for it.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// A running runtime; killed when dropped.
pub(super) struct Runtime {
    child: Child,
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
        Ok(Runtime { child })
    }

    /// Fails if it has ended.
    pub(super) fn alive(&mut self, folder: &Path) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let log = fs::read_to_string(folder.join("runtime.txt")).unwrap_or_default();
            bail!("the runtime ended ({status}):\n{log}");
        }
        Ok(())
    }

    /// CPU seconds it has used, user and system.
    pub(super) fn cpu_s(&self) -> Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The name in brackets may hold blanks, so fields are counted from behind it.
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .map(|(_, rest)| rest.split_whitespace().collect())
            .unwrap_or_default();
        let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok());
        let (user, system) = (
            ticks(11).context("no utime")?,
            ticks(12).context("no stime")?,
        );
        // Linux counts in hundredths of a second for user space, whatever the kernel's own tick.
        Ok((user + system) / 100.0)
    }

    /// The most memory it has held, in MB.
    pub(super) fn peak_mb(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
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
}

impl Drop for Runtime {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
