//! The people and programs who work in the four systems: plain SQL over connections of their own.
//!
//! An `Editor` picks one act after another (`acts`, `breaks`), seeded, and performs it as one transaction per system, announced in the journal before it commits.
//! It knows the systems and the journal, and nothing of Lockstep; what it means to be good keeps its contract, and it never gives a record a version that it had before.

mod acts;
mod billing;
mod breaks;
mod crm;
mod erp;
mod make;
mod write;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::db::Db;
use crate::journal::{self, Outcome};
use crate::random::Random;
use crate::record::{Entity, Key, Record, plain};
use crate::shape::Raw;
use crate::story::{Stories, Story};
use crate::systems;
use crate::world::World;

use breaks::Repair;
use write::{Deed, Write};

/// How much to edit, and how fast.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// At least so many edits of records; the last transaction may bring a few more.
    pub edits: u64,
    /// What the choice of edits depends on.
    pub seed: u64,
    /// Edits a second; as fast as the disk allows where absent.
    pub per_second: Option<f64>,
}

/// Most acts in a row that may find nothing to do before the editor gives up.
const IDLE_MAX: u32 = 10_000;

/// Edits the systems of a folder, which must hold what `world` and the journal say.
///
/// `progress` hears the number of edits after every transaction and ends the work early by returning false.
///
/// # Errors
/// A system cannot be written, or does not hold what the journal says.
pub fn edit(
    folder: &Path,
    world: &World,
    pace: Pace,
    progress: &mut dyn FnMut(u64) -> bool,
) -> Result<u64> {
    let mut editor = Editor::open(folder, world, pace.seed)?;
    let begin = Instant::now();
    let mut idle = 0;
    while editor.done < pace.edits {
        let deeds = editor.next_deeds()?;
        idle = if deeds.is_empty() { idle + 1 } else { 0 };
        ensure!(idle < IDLE_MAX, "the editor finds nothing left to edit");
        for deed in deeds {
            editor.perform(&deed)?;
            if let Some(per_second) = pace.per_second {
                let due = Duration::from_secs_f64(editor.done as f64 / per_second.max(0.001));
                sleep(due.saturating_sub(begin.elapsed()));
            }
        }
        if !progress(editor.done) {
            break;
        }
    }
    Ok(editor.done)
}

/// The editor's picture of the systems and its connections to them.
struct Editor {
    systems: BTreeMap<&'static str, Db>,
    journal: journal::Writer,
    stories: Stories,
    /// Every key that ever was, to draw from.
    keys: BTreeMap<Entity, Vec<Key>>,
    prospects: Vec<Record>,
    random: Random,
    serial: u64,
    done: u64,
    repairs: Vec<Repair>,
}

impl Editor {
    fn open(folder: &Path, world: &World, seed: u64) -> Result<Editor> {
        let journal = journal::read(folder)?;
        let stories = Stories::told(world, &journal);
        let keys = Entity::ALL.into_iter().map(|entity| {
            let keys = stories.of(entity).keys().cloned().collect();
            (entity, keys)
        });
        let won = |prospect: &&Record| {
            let key = Entity::Customer.key(prospect);
            key.is_some_and(|key| stories.get(Entity::Customer, &key).is_none())
        };
        let mut systems = BTreeMap::new();
        for system in ["crm", "erp", "billing"] {
            systems.insert(system, systems::open(folder, system)?);
        }
        Ok(Editor {
            systems,
            journal: journal::Writer::open(folder)?,
            keys: keys.collect(),
            prospects: world.prospects.values().filter(won).cloned().collect(),
            serial: stories.changes(),
            random: Random::named(seed, &format!("editor/{}", stories.changes())),
            done: 0,
            repairs: Vec::new(),
            stories,
        })
    }

    fn next_deeds(&mut self) -> Result<Vec<Deed>> {
        if let Some(repair) = self.due_repair() {
            return Ok(vec![repair]);
        }
        if self.random.one_in(12) {
            return Ok(self.break_something());
        }
        self.act()
    }

    /// Performs one transaction: everything in it, announced, committed, confirmed, remembered.
    fn perform(&mut self, deed: &Deed) -> Result<()> {
        let db = self.systems.get_mut(deed.system);
        let db = db.with_context(|| format!("nobody edits {}", deed.system))?;
        let announced = !deed.edits.is_empty();
        let journal = &mut self.journal;
        let mark = journal.next().to_string();
        let mut told = false;
        let commit_ms = db.transaction(&mark, &mut |db| {
            deed.perform(db)?;
            // A transaction that has to be done again is announced once.
            if announced && !told {
                journal.announce(deed.system, &deed.edits)?;
                told = true;
            }
            Ok(journal::now_ms())
        })?;
        if announced {
            self.journal.confirm(commit_ms)?;
        }
        for edit in &deed.edits {
            self.done += u64::from(edit.counts);
            if self.stories.get(edit.entity, &edit.key).is_none() {
                let keys = self.keys.entry(edit.entity).or_default();
                keys.push(edit.key.clone());
            }
            self.stories.go_on(edit, commit_ms);
        }
        Ok(())
    }

    /// A number that grows with every use: what makes each version unlike all before.
    fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// The record of a key, where it is there and good.
    fn alive(&self, entity: Entity, key: &Key) -> Option<Arc<Record>> {
        self.stories
            .get(entity, key)
            .and_then(Story::alive)
            .cloned()
    }

    /// Draws a record that is there, good, and to the point.
    fn pick(&mut self, entity: Entity, fits: impl Fn(&Record) -> bool) -> Option<Arc<Record>> {
        let keys = self.keys.get(&entity)?;
        for _ in 0..400 {
            let key = &keys[self.random.below(keys.len())];
            let found = self.stories.get(entity, key).and_then(Story::alive);
            if let Some(record) = found.filter(|record| fits(record)) {
                return Some(Arc::clone(record));
            }
        }
        None
    }

    /// A key that no record ever had.
    fn fresh(&mut self, entity: Entity, prefix: &str) -> String {
        loop {
            let id = format!("{prefix}{:05}", self.serial());
            if self.stories.get(entity, &Key::one(id.as_str())).is_none() {
                return id;
            }
        }
    }

    /// The records that a query of one system names by their keys, or `None` where one of them is broken: nobody edits around that.
    fn related(
        &mut self,
        system: &str,
        entity: Entity,
        sql: &str,
        value: &str,
    ) -> Result<Option<Vec<Arc<Record>>>> {
        let db = self.systems.get_mut(system);
        let db = db.with_context(|| format!("nobody edits {system}"))?;
        let mut records = Vec::new();
        for row in db.query(sql, &[json!(value)])? {
            let key = Key(row.values().map(plain).collect());
            match self.alive(entity, &key) {
                Some(record) => records.push(record),
                None => return Ok(None),
            }
        }
        Ok(Some(records))
    }

    /// The write that gives a record this version; `None` where it has had it before.
    fn put(&self, entity: Entity, before: Option<&Record>, record: Record) -> Option<Write> {
        let key = entity.key(&record)?;
        let known = self.stories.get(entity, &key);
        if known.is_some_and(|story| story.has_been(&record)) {
            return None;
        }
        if !crate::world::keeps_contract(entity, &record) {
            return None;
        }
        Write::put(entity, before, record)
    }
}

/// A row's columns, for a statement.
type Columns = Raw;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::journal::Transaction;
    use crate::shape::source;

    fn edited(seed: u64, edits: u64) -> (tempfile::TempDir, World, Vec<Transaction>) {
        let folder = tempfile::tempdir().unwrap();
        let world = World::sample(1, 120).unwrap();
        systems::create(folder.path(), &world).unwrap();
        let pace = Pace {
            edits,
            seed,
            per_second: None,
        };
        let done = edit(folder.path(), &world, pace, &mut |_| true).unwrap();
        assert!(done >= edits);
        let journal = journal::read(folder.path()).unwrap();
        (folder, world, journal)
    }

    #[test]
    fn the_sources_hold_exactly_what_the_journal_says() {
        let (folder, world, journal) = edited(3, 1_500);
        let stories = Stories::told(&world, &journal);
        for entity in Entity::ALL {
            let table = source(entity);
            let mut db = systems::look(folder.path(), table.system).unwrap();
            let mut good = 0;
            for row in systems::rows(&mut db, table).unwrap() {
                let Ok(Some(record)) = table.to_record(&row) else {
                    continue;
                };
                let key = entity.key(&record).unwrap();
                if let Some(expected) = stories.get(entity, &key).unwrap().alive() {
                    assert_eq!(record, table.project(expected), "{entity} {key}");
                    good += 1;
                }
            }
            let alive = stories.of(entity).values();
            assert_eq!(
                good,
                alive.filter(|story| story.alive().is_some()).count(),
                "{entity}"
            );
        }
    }

    #[test]
    fn the_edits_are_of_every_kind() {
        let (_folder, world, journal) = edited(4, 2_000);
        let all: Vec<_> = journal.iter().flat_map(|done| &done.edits).collect();
        for entity in Entity::ALL {
            let kinds: BTreeSet<&str> = all
                .iter()
                .filter(|edit| edit.entity == entity)
                .map(|edit| match edit.outcome {
                    Outcome::Good(_) => "good",
                    Outcome::Broken(_) => "broken",
                    Outcome::Gone => "gone",
                })
                .collect();
            assert_eq!(kinds.len(), 3, "{entity}: {kinds:?}");
        }
        assert!(journal.iter().any(|done| done.edits.len() > 5));
        assert!(all.iter().any(|edit| !edit.counts));
        let stories = Stories::told(&world, &journal);
        let broken = all
            .iter()
            .filter(|edit| matches!(edit.outcome, Outcome::Broken(_)));
        let left = stories.broken().len();
        assert!(
            left > 10 && broken.count() > left + 10,
            "{left} left broken"
        );
    }

    #[test]
    fn a_seed_always_edits_the_same() {
        let edits = |journal: Vec<Transaction>| -> Vec<_> {
            journal.into_iter().map(|done| done.edits).collect()
        };
        let (_a, _, first) = edited(9, 300);
        let (_b, _, second) = edited(9, 300);
        assert_eq!(edits(first), edits(second));
    }

    #[test]
    fn an_editor_goes_on_where_another_stopped() {
        let (folder, world, _) = edited(9, 200);
        let pace = Pace {
            edits: 200,
            seed: 9,
            per_second: None,
        };
        edit(folder.path(), &world, pace, &mut |_| true).unwrap();
        let journal = journal::read(folder.path()).unwrap();
        assert!(Stories::told(&world, &journal).changes() >= 400);
    }
}
