//! The editor as a process of its own: both ends of it.

use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use lockstep_business::editor::Pace;
use lockstep_business::setup::edit_folder;

/// The far end: the process that edits. It tells on standard output how many edits it has made, one number a line.
#[derive(Args)]
pub(crate) struct Edit {
    /// The stage's folder.
    #[arg(long)]
    folder: PathBuf,
    /// How many records to edit at least.
    #[arg(long, default_value_t = 200)]
    edits: u64,
    /// What the choice of edits depends on.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Edits a second; as fast as the disk allows unless given.
    #[arg(long)]
    per_second: Option<f64>,
}

impl Edit {
    pub(crate) fn run(&self) -> Result<()> {
        let pace = Pace {
            edits: self.edits,
            seed: self.seed,
            per_second: self.per_second,
        };
        let mut out = io::stdout().lock();
        // A reader that is gone means that the demo is gone: the work ends with the transaction at hand.
        edit_folder(&self.folder, pace, &mut |done| {
            writeln!(out, "{done}").and_then(|()| out.flush()).is_ok()
        })?;
        Ok(())
    }
}

/// The near end: a running editor. Dropping it ends it.
pub(crate) struct Editing {
    child: Child,
    done: Arc<AtomicU64>,
    ended: Option<ExitStatus>,
}

impl Editing {
    /// Starts the editor of a stage.
    pub(crate) fn start(folder: &Path, edits: u64, seed: u64, per_second: f64) -> Result<Editing> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("edit")
            .arg("--folder")
            .arg(folder)
            .args(["--edits", &edits.to_string()])
            .args(["--seed", &seed.to_string()])
            .args(["--per-second", &per_second.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the editor")?;
        let done = Arc::new(AtomicU64::new(0));
        let told = Arc::clone(&done);
        let out = child.stdout.take().context("the editor has no output")?;
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if let Ok(count) = line.trim().parse() {
                    told.store(count, Ordering::Relaxed);
                }
            }
        });
        Ok(Editing {
            child,
            done,
            ended: None,
        })
    }

    /// Edits made so far.
    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Tells whether the editor has ended.
    pub(crate) fn ended(&mut self) -> Result<bool> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait()?;
        }
        Ok(self.ended.is_some())
    }

    /// Waits a moment before looking again.
    pub(crate) fn wait(&self) {
        std::thread::sleep(Duration::from_millis(20));
    }

    /// Makes sure that it ended well.
    pub(crate) fn finish(mut self) -> Result<()> {
        let status = match self.ended {
            Some(status) => status,
            None => self.child.wait()?,
        };
        self.ended = Some(status);
        ensure!(status.success(), "the editor failed ({status})");
        Ok(())
    }
}

impl Drop for Editing {
    fn drop(&mut self) {
        if self.ended.is_none() {
            // It may have ended already, which is all that is wanted.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
