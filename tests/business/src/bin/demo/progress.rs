//! Live progress on standard error: one bar an entity, and what is being done.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use lockstep_business::db::Db;
use lockstep_business::record::Entity;
use lockstep_business::runtime::Status;
use lockstep_business::stage::Stage;
use lockstep_business::{oracle, systems};

/// How often the bars are counted anew.
const COUNT_EVERY: Duration = Duration::from_millis(400);

/// The bars of a stage.
pub(crate) struct Progress {
    systems: BTreeMap<&'static str, Db>,
    begun: Instant,
    drawn: bool,
    all: MultiProgress,
    bars: BTreeMap<Entity, ProgressBar>,
    edits: ProgressBar,
}

impl Progress {
    pub(crate) fn new(stage: &Stage) -> Result<Progress> {
        let all = MultiProgress::new();
        let style = ProgressStyle::with_template("{prefix:>12} {bar:30} {pos:>6}/{len:<6} {msg}")?;
        let bar = |prefix: &str| {
            let bar = ProgressBar::new(0).with_style(style.clone());
            let bar = all.add(bar);
            bar.set_prefix(prefix.to_owned());
            bar
        };
        let bars = Entity::ALL.into_iter();
        let mut progress = Progress {
            systems: systems::look_at_all(stage.folder())?,
            begun: Instant::now(),
            drawn: std::io::stderr().is_terminal(),
            bars: bars.map(|entity| (entity, bar(entity.name()))).collect(),
            edits: bar("edits"),
            all: all.clone(),
        };
        progress.expect(stage)?;
        Ok(progress)
    }

    /// Sets the bars' ends to what the targets should hold by now.
    pub(crate) fn expect(&mut self, stage: &Stage) -> Result<()> {
        let stories = oracle::told(stage.folder(), stage.world())?;
        for (entity, bar) in &self.bars {
            let targets = entity.targets().len() as u64;
            bar.set_length(stories.count(*entity) * targets);
        }
        Ok(())
    }

    /// Says what begins now.
    pub(crate) fn phase(&self, what: &str) {
        let line = format!("{:6.1} s  {what}", self.begun.elapsed().as_secs_f64());
        if self.drawn {
            // Nobody is left to tell if the terminal is gone.
            let _ = self.all.println(line);
        } else {
            super::say(&line);
        }
    }

    /// Shows how many edits have been made.
    pub(crate) fn edited(&self, done: u64, of: u64) {
        self.edits.set_length(of);
        self.edits.set_position(done);
    }

    /// Shows what the targets hold and how the flows are, unless that was shown a moment ago.
    pub(crate) fn show(&mut self, status: &Status, last: &mut Instant) {
        if !self.drawn || last.elapsed() < COUNT_EVERY {
            return;
        }
        *last = Instant::now();
        for entity in Entity::ALL {
            let count = self.count(entity);
            let Some(bar) = self.bars.get(&entity) else {
                continue;
            };
            bar.set_position(count);
            let flows = status.flows.iter();
            let told: Vec<String> = flows
                .filter(|flow| flow.entity == entity.name() && flow.state != "idle")
                .map(|flow| match flow.lag_ms {
                    Some(lag) => format!("{} {lag:.0} ms", flow.state),
                    None => flow.state.clone(),
                })
                .collect();
            let told = if told.is_empty() {
                "idle".to_owned()
            } else {
                told.join(", ")
            };
            bar.set_message(told);
        }
    }

    /// Takes the bars away.
    pub(crate) fn end(&self) {
        // They are only decoration.
        let _ = self.all.clear();
    }

    fn count(&mut self, entity: Entity) -> u64 {
        let tables = oracle::targets().filter(|(of, _)| *of == entity);
        // A system that is busy or away is counted next time.
        tables
            .map(|(_, table)| {
                let db = self.systems.get_mut(table.system);
                db.and_then(|db| systems::count(db, table).ok())
                    .unwrap_or(0)
            })
            .sum()
    }
}
