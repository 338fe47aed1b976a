//! The demo: four business systems are loaded, kept in step while people edit them and the runtime and its servers are killed, and judged by an oracle of their own.
//!
//! Standard output carries the result (a table, or one JSON object with `--json`), standard error the progress.
//! Exit codes: 0 everything converged, 1 it did not, 2 wrong usage, 3 the environment is not up to it.

mod editing;
mod interrupt;
mod progress;
mod show;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand, ValueEnum};
use lockstep_business::quarantine::Entries;
use lockstep_business::{Report, Servers, Setup, Stage, Victim, runtime, setup};

use editing::Editing;
use progress::Progress;

/// How long the initial load, and the rest after the edits, may take each.
const IDLE_DEADLINE: Duration = Duration::from_secs(300);
/// How long the edits are spread over, unless --seconds says otherwise.
const EDIT_SECONDS: f64 = 25.0;
/// Most time between a kill and the next start.
const DOWN_MAX: Duration = Duration::from_millis(1_500);

/// How often a stage that is kept is looked after.
const KEPT_POLL: Duration = Duration::from_millis(100);

/// Four business systems kept in step, while people edit them and the runtime is killed.
#[derive(Parser)]
#[command(name = "demo", version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    demo: Demo,
}

#[derive(Subcommand)]
enum Command {
    /// Edits the systems of a stage with plain SQL; what the demo runs as its own process.
    Edit(editing::Edit),
}

/// What the log is made of.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Engine {
    /// A file.
    Embedded,
    /// A nats-server of the demo's own.
    Nats,
}

#[derive(Args)]
struct Demo {
    /// Where the log is.
    #[arg(long, value_enum, default_value_t = Engine::Embedded)]
    log: Engine,
    /// Let ERP and warehouse be PostgreSQL databases, on servers of the demo's own.
    #[arg(long)]
    postgres: bool,
    /// Print the result as one JSON object.
    #[arg(long)]
    json: bool,
    /// Leave systems and runtime running, in ./demo unless --folder names another folder.
    #[arg(long)]
    keep: bool,
    /// How many records to edit at least.
    #[arg(long, default_value_t = 2000)]
    edits: u64,
    /// How many seconds to spread the edits over.
    #[arg(long, default_value_t = EDIT_SECONDS)]
    seconds: f64,
    /// What the derived data and the edits depend on.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How often to kill something while the systems are edited, in turn the runtime, nats-server and the databases, as far as they are there; each once unless given.
    #[arg(long)]
    kills: Option<u64>,
    /// Only so many customers, with all that is theirs; everything unless given.
    #[arg(long)]
    customers: Option<usize>,
    /// How many seconds idle flows may take to be right after all before they are judged as they are.
    #[arg(long, default_value_t = 15)]
    grace: u64,
    /// The folder of the stage; a temporary one unless given.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// The runtime's binary; otherwise LOCKSTEP_BIN, or `lockstep` beside this program.
    #[arg(long)]
    lockstep: Option<PathBuf>,
    /// The folder of the contracts.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/contracts"))]
    contracts: PathBuf,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Some(Command::Edit(edit)) => match edit.run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                say(&format!("error: {error:#}"));
                ExitCode::from(3)
            }
        },
        None => cli.demo.perform(),
    }
}

/// One line on standard error.
fn say(line: &str) {
    // Nobody is left to tell if standard error is gone.
    let _ = writeln!(io::stderr(), "{line}");
}

impl Demo {
    fn perform(&self) -> ExitCode {
        let begun = Instant::now();
        let (mut stage, guard) = match self.stage() {
            Ok(made) => made,
            Err(error) => {
                let report = Report::failed(format!("{error:#}"), 0, begun.elapsed());
                return self.print(&report, 3);
            }
        };
        let played = self.play(&mut stage);
        let code = match &played {
            Ok(report) if report.converged => 0,
            _ => 1,
        };
        let report = played.unwrap_or_else(|error| broken_off(&stage, &error));
        // Before anything is kept, because that may last.
        let code = self.print(&report, code);
        self.keep_or_end(stage);
        // The folder goes last: nobody may work in it any more.
        drop(guard);
        code
    }

    fn print(&self, report: &Report, code: u8) -> ExitCode {
        let printed = if self.json {
            show::json(report)
        } else {
            show::tables(report)
        };
        match printed {
            Ok(()) => ExitCode::from(code),
            Err(_) => ExitCode::from(3),
        }
    }

    /// Makes the stage; the guard is the temporary folder, if it is one.
    fn stage(&self) -> Result<(Stage, Option<tempfile::TempDir>)> {
        ensure!(
            self.seconds.is_finite() && self.seconds > 0.0,
            "--seconds {} is no time to edit in",
            self.seconds
        );
        let binary = match &self.lockstep {
            Some(binary) => binary
                .canonicalize()
                .with_context(|| format!("no runtime at `{}` (--lockstep)", binary.display()))?,
            None => runtime::find()?,
        };
        let contracts = setup::contracts(&self.contracts)?;
        let mut setup =
            Setup::with(binary, self.seed, contracts).grace(Duration::from_secs(self.grace));
        if let Some(customers) = self.customers {
            setup = setup.customers(customers);
        }
        let named = match &self.folder {
            None if self.keep => Some(PathBuf::from("demo")),
            folder => folder.clone(),
        };
        let (folder, guard) = match named {
            Some(folder) => (folder, None),
            None => {
                let guard = tempfile::Builder::new()
                    .prefix("lockstep-demo-")
                    .tempdir()?;
                (guard.path().to_owned(), Some(guard))
            }
        };
        let servers = Servers::launch(self.log == Engine::Nats, self.postgres)?;
        say("loading four systems with real orders");
        let stage = Stage::create_on(&folder, &setup, servers).with_context(|| {
            format!(
                "the stage in `{}` cannot be made; remove the folder or name another with --folder",
                folder.display()
            )
        })?;
        interrupt::listen(stage.stop_flag());
        Ok((stage, guard))
    }

    /// The play in four acts: load, edit and kill, settle, judge.
    fn play(&self, stage: &mut Stage) -> Result<Report> {
        let mut progress = Progress::new(stage)?;
        progress.phase("checking the configuration");
        stage.check()?;

        progress.phase("starting the runtime: the initial load");
        stage.start()?;
        let mut settled = Instant::now();
        stage.settle_with(IDLE_DEADLINE, &mut |status| {
            progress.show(status, &mut settled);
        })?;

        let mut editing = Editing::start(stage.folder(), self.edits, self.seed, self.per_second())?;
        progress.phase(&format!("people edit the systems: {} edits", self.edits));
        let victims = stage.victims();
        let kills = self.kills.unwrap_or(victims.len() as u64);
        for (kill, victim) in (1..=kills).zip(victims.iter().cycle()) {
            let due = self.edits * kill / (kills + 1);
            self.edit_until(stage, &mut editing, &mut progress, due)?;
            self.bring_down(stage, &mut editing, &progress, *victim)?;
        }
        self.edit_until(stage, &mut editing, &mut progress, u64::MAX)?;
        editing.finish()?;

        progress.phase("waiting until everything has arrived");
        progress.expect(stage)?;
        stage.settle_with(IDLE_DEADLINE, &mut |status| {
            progress.show(status, &mut settled);
        })?;
        progress.phase("verifying and judging");
        let report = stage.report()?;
        progress.end();
        Ok(report)
    }

    fn per_second(&self) -> f64 {
        self.edits as f64 / self.seconds
    }

    /// Kills something, lets it lie for a moment and starts it again.
    fn bring_down(
        &self,
        stage: &mut Stage,
        editing: &mut Editing,
        progress: &Progress,
        victim: Victim,
    ) -> Result<()> {
        stage.kill_one(victim)?;
        progress.phase(&format!("killed {victim} after {} edits", editing.done()));
        self.stay_down(stage, editing, progress)?;
        stage.restart_one(victim)?;
        progress.phase(&format!("started {victim} again"));
        Ok(())
    }

    fn edit_until(
        &self,
        stage: &mut Stage,
        editing: &mut Editing,
        progress: &mut Progress,
        due: u64,
    ) -> Result<()> {
        while editing.done() < due && !editing.ended()? {
            stage.look()?;
            progress.edited(editing.done(), self.edits);
            editing.wait();
        }
        Ok(())
    }

    /// Stays down long enough for some edits to be made meanwhile.
    fn stay_down(
        &self,
        stage: &mut Stage,
        editing: &mut Editing,
        progress: &Progress,
    ) -> Result<()> {
        let since = Instant::now();
        let enough = editing.done() + self.edits / 25;
        while editing.done() < enough && since.elapsed() < DOWN_MAX && !editing.ended()? {
            stage.look()?;
            progress.edited(editing.done(), self.edits);
            editing.wait();
        }
        Ok(())
    }

    /// Ends everything, or leaves it running and says how to look around, if that was asked for and nobody interrupted.
    fn keep_or_end(&self, mut stage: Stage) {
        if !self.keep {
            return;
        }
        let alive = stage.look().is_ok();
        let look_around = show::look_around(&stage, self.binary().as_deref(), alive);
        if stage.servers().is_empty() {
            if alive {
                stage.release();
            }
            say(&look_around);
            return;
        }
        // Servers end with the program that started them, so it stays.
        say(&look_around);
        while stage.look().is_ok() {
            std::thread::sleep(KEPT_POLL);
        }
    }

    fn binary(&self) -> Option<PathBuf> {
        self.lockstep.clone().or_else(|| runtime::find().ok())
    }
}

/// The report of a play that was broken off: what the oracle can say of the stage as it stands, and why.
fn broken_off(stage: &Stage, error: &anyhow::Error) -> Report {
    let told = format!("{error:#}");
    say(&format!("error: {told}"));
    let judged = stage.judge().map(|judgement| {
        let none = Entries::new();
        let (kills, wall) = (stage.kills(), stage.elapsed());
        Report {
            converged: false,
            // Why it was broken off says more than what is not there yet.
            error: Some(told.clone()),
            ..Report::of(stage.folder(), &judgement, &none, Vec::new(), kills, wall)
        }
    });
    judged.unwrap_or_else(|_| Report::failed(told, stage.kills(), stage.elapsed()))
}
