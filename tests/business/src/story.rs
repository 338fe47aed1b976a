//! What every record should have been, step by step: the initial world and the editor's journal put together.
//!
//! A step is a good version of a record or its end; versions that broke their contract are no steps, because nobody but the source should ever see them.
//! This module knows no system: it is the expectation that [`crate::oracle`] holds the systems against.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::journal::{Edit, Outcome, Transaction};
use crate::record::{Entity, Key, Record};
use crate::world::World;

/// One version of a record that its targets may hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The record, or `None` where it is gone.
    pub record: Option<Arc<Record>>,
    /// When its commit began; `None` for the initial load.
    pub commit_ms: Option<i64>,
}

/// The versions of one record, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Story {
    /// Its good versions and its ends.
    pub steps: Vec<Step>,
    /// Why the version that the source holds now breaks its contract, where it does.
    pub broken: Option<String>,
}

impl Story {
    /// What the targets should hold in the end: the last good version.
    #[must_use]
    pub fn expected(&self) -> Option<&Arc<Record>> {
        self.steps.last()?.record.as_ref()
    }

    /// The record as the source holds it, if it is there and good.
    #[must_use]
    pub fn alive(&self) -> Option<&Arc<Record>> {
        if self.broken.is_some() {
            return None;
        }
        self.expected()
    }

    /// Tells whether the record ever stood exactly so.
    #[must_use]
    pub fn has_been(&self, record: &Record) -> bool {
        self.steps
            .iter()
            .any(|step| step.record.as_deref() == Some(record))
    }
}

/// The stories of all records.
#[derive(Clone, Debug, Default)]
pub struct Stories {
    by_entity: BTreeMap<Entity, BTreeMap<Key, Story>>,
    changes: BTreeMap<Entity, u64>,
}

impl Stories {
    /// The stories as they begin.
    #[must_use]
    pub fn begin(world: &World) -> Stories {
        let mut stories = Stories::default();
        for (entity, records) in &world.records {
            let begun = records.iter().map(|(key, record)| {
                let step = Step {
                    record: Some(Arc::new(record.clone())),
                    commit_ms: None,
                };
                let story = Story {
                    steps: vec![step],
                    broken: None,
                };
                (key.clone(), story)
            });
            stories.by_entity.insert(*entity, begun.collect());
        }
        stories
    }

    /// The stories of a world and all that was done to it.
    #[must_use]
    pub fn told(world: &World, journal: &[Transaction]) -> Stories {
        let mut stories = Stories::begin(world);
        for transaction in journal {
            for edit in &transaction.edits {
                stories.go_on(edit, transaction.commit_ms);
            }
        }
        stories
    }

    /// Adds one edit.
    pub fn go_on(&mut self, edit: &Edit, commit_ms: i64) {
        if edit.counts {
            *self.changes.entry(edit.entity).or_default() += 1;
        }
        let stories = self.by_entity.entry(edit.entity).or_default();
        let story = stories.entry(edit.key.clone()).or_default();
        let record = match &edit.outcome {
            Outcome::Broken(reason) => {
                story.broken = Some(reason.clone());
                return;
            }
            Outcome::Good(record) => Some(Arc::new(record.clone())),
            Outcome::Gone => None,
        };
        story.broken = None;
        story.steps.push(Step {
            record,
            commit_ms: Some(commit_ms),
        });
    }

    /// The stories of an entity.
    #[must_use]
    pub fn of(&self, entity: Entity) -> &BTreeMap<Key, Story> {
        static NONE: BTreeMap<Key, Story> = BTreeMap::new();
        self.by_entity.get(&entity).unwrap_or(&NONE)
    }

    /// The story of a record.
    #[must_use]
    pub fn get(&self, entity: Entity, key: &Key) -> Option<&Story> {
        self.of(entity).get(key)
    }

    /// How many records of an entity each target should hold in the end.
    #[must_use]
    pub fn count(&self, entity: Entity) -> u64 {
        let stories = self.of(entity).values();
        stories.filter(|story| story.expected().is_some()).count() as u64
    }

    /// The records whose source holds a version that breaks its contract.
    #[must_use]
    pub fn broken(&self) -> BTreeSet<(Entity, Key)> {
        let all = self.by_entity.iter();
        all.flat_map(|(entity, stories)| {
            let broken = stories.iter().filter(|(_, story)| story.broken.is_some());
            broken.map(|(key, _)| (*entity, key.clone()))
        })
        .collect()
    }

    /// How many edits the journal holds.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::record::record;

    fn edit(outcome: Outcome) -> Edit {
        Edit {
            entity: Entity::Product,
            key: Key::one("A"),
            outcome,
            counts: true,
        }
    }

    #[test]
    fn a_broken_version_leaves_the_last_good_one_expected() {
        let good = |price| record([("id", json!("A")), ("list_price", json!(price))]);
        let mut stories = Stories::default();
        let key = Key::one("A");
        stories.go_on(&edit(Outcome::Good(good("1"))), 10);
        stories.go_on(&edit(Outcome::Broken("negative".into())), 20);
        let story = stories.get(Entity::Product, &key).unwrap();
        assert_eq!(**story.expected().unwrap(), good("1"));
        assert!(story.alive().is_none());
        assert_eq!(stories.broken().len(), 1);

        stories.go_on(&edit(Outcome::Good(good("2"))), 30);
        let story = stories.get(Entity::Product, &key).unwrap();
        assert_eq!(**story.expected().unwrap(), good("2"));
        assert!(stories.broken().is_empty());

        stories.go_on(&edit(Outcome::Gone), 40);
        assert_eq!(stories.count(Entity::Product), 0);
        assert_eq!(stories.changes(), 4);
    }
}
