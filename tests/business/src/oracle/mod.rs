//! The judge: holds what the systems contain, and every write that led there, against what should have come of the editor's work.
//!
//! It reads the databases and the journal and nothing else; no line of it is shared with Lockstep.
//! Two questions are asked of each target table: is the final state right ([`state`]), and was every write on the way one that should have happened, once and in order ([`writes`])?

#[cfg(test)]
#[path = "tests.rs"]
mod scenarios;
pub mod state;
pub mod writes;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::db::Db;
use crate::journal;
use crate::record::Entity;
use crate::shape::{Table, source, table};
use crate::story::Stories;
use crate::systems;
use crate::world::World;

pub use writes::Outage;

/// Most findings that are kept for each table; the counts go on.
pub const FINDINGS_MAX: usize = 20;

/// What the oracle says of a stage.
#[derive(Clone, Debug, Default)]
pub struct Judgement {
    /// Each entity in each of its targets.
    pub pairs: Vec<Pair>,
    /// What is wrong, at most [`FINDINGS_MAX`] for each pair.
    pub findings: Vec<Finding>,
    /// Edits that the journal holds.
    pub changes: u64,
    /// Records whose source holds a version that breaks its contract, as entity and key.
    pub broken: Vec<(Entity, String)>,
}

/// One entity in one target.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The entity.
    pub entity: Entity,
    /// The target.
    pub system: &'static str,
    /// Records in the target, by SQL count.
    pub records: u64,
    /// Edits that were seen to arrive.
    pub changes: u64,
    /// Records that are missing, or older than the last good version.
    pub lost: u64,
    /// Writes of a version that was already there, and keys that stand there twice.
    pub duplicated: u64,
    /// Records that are missing, too many, or not as they should be.
    pub differences: u64,
    /// Writes of an older version after a newer one, and writes of what never was.
    pub disorder: u64,
    /// Milliseconds from the editor's commit to the write in the target, sorted.
    pub lags: Vec<i64>,
}

/// Something that should not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The kind of trouble.
    pub what: Trouble,
    /// The entity.
    pub entity: Entity,
    /// The system.
    pub system: &'static str,
    /// The record's key.
    pub key: String,
    /// The rest of the story.
    pub detail: String,
}

/// Kinds of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// A record is not there.
    Missing,
    /// A record is there in an older version.
    Older,
    /// A record is there that should not be.
    Extra,
    /// A record is there with values that it never had.
    Different,
    /// A key stands there more than once.
    Twice,
    /// A version was written although it was there already.
    Doubled,
    /// An older version was written after a newer one.
    OutOfOrder,
    /// Something was written that never was a version of the record.
    Unexpected,
    /// A row cannot be understood at all.
    Unreadable,
    /// A source does not hold what the journal says: the oracle itself cannot be trusted.
    Journal,
}

impl Judgement {
    /// Records that are missing or older than they should be.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.pairs.iter().map(|pair| pair.lost).sum()
    }

    /// Doubled writes and doubled keys.
    #[must_use]
    pub fn duplicated(&self) -> u64 {
        self.pairs.iter().map(|pair| pair.duplicated).sum()
    }

    /// Records that are not as they should be.
    #[must_use]
    pub fn differences(&self) -> u64 {
        self.pairs.iter().map(|pair| pair.differences).sum()
    }

    /// Writes out of order or out of nowhere.
    #[must_use]
    pub fn disorder(&self) -> u64 {
        self.pairs.iter().map(|pair| pair.disorder).sum()
    }

    /// Tells whether nothing at all is wrong.
    #[must_use]
    pub fn clean(&self) -> bool {
        self.findings.is_empty()
            && self.lost() + self.duplicated() + self.differences() + self.disorder() == 0
    }

    /// Every lag, sorted.
    #[must_use]
    pub fn lags(&self) -> Vec<i64> {
        let mut lags: Vec<i64> = self
            .pairs
            .iter()
            .flat_map(|pair| pair.lags.iter().copied())
            .collect();
        lags.sort_unstable();
        lags
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            Trouble::Missing => "is missing",
            Trouble::Older => "is older than it should be",
            Trouble::Extra => "should not be there",
            Trouble::Different => "holds values it never had",
            Trouble::Twice => "stands there more than once",
            Trouble::Doubled => "was written twice",
            Trouble::OutOfOrder => "was written out of order",
            Trouble::Unexpected => "was written with values it never had",
            Trouble::Unreadable => "cannot be understood",
            Trouble::Journal => "is not in its source as the journal says",
        };
        write!(
            f,
            "{} {} in {} {what}: {}",
            self.entity, self.key, self.system, self.detail
        )
    }
}

/// Judges a folder: final state and all writes.
///
/// # Errors
/// A database or the journal cannot be read.
pub fn judge(folder: &Path, world: &World, outages: &[Outage]) -> Result<Judgement> {
    let stories = told(folder, world)?;
    let mut judgement = Judgement {
        changes: stories.changes(),
        broken: stories
            .broken()
            .into_iter()
            .map(|(entity, key)| (entity, key.to_string()))
            .collect(),
        ..Judgement::default()
    };
    let mut systems = systems::look_at_all(folder)?;
    for entity in Entity::ALL {
        let table = source(entity);
        let rows = systems::rows(in_system(&mut systems, table)?, table)?;
        judgement
            .findings
            .extend(state::check_source(table, &stories, &rows));
    }
    for (entity, table) in targets() {
        let db = in_system(&mut systems, table)?;
        let rows = systems::rows(db, table)?;
        let state = state::compare(table, &stories, &rows);
        let audit = systems::written(db, table)?;
        let writes = writes::judge(table, &stories, &audit, outages);
        judgement.pairs.push(Pair {
            entity,
            system: table.system,
            records: rows.len() as u64,
            changes: writes.changes,
            lost: state.missing + state.older,
            duplicated: state.twice + writes.doubled,
            differences: state.differences(),
            disorder: writes.disorder,
            lags: writes.lags,
        });
        judgement.findings.extend(state.findings);
        judgement.findings.extend(writes.findings);
    }
    Ok(judgement)
}

/// How many records are not in their targets as they should be, at this moment.
///
/// # Errors
/// A database or the journal cannot be read.
pub fn differences(folder: &Path, world: &World) -> Result<u64> {
    let stories = told(folder, world)?;
    let mut systems = systems::look_at_all(folder)?;
    let mut differences = 0;
    for (_, table) in targets() {
        let rows = systems::rows(in_system(&mut systems, table)?, table)?;
        differences += state::compare(table, &stories, &rows).differences();
    }
    Ok(differences)
}

fn in_system<'s>(systems: &'s mut BTreeMap<&str, Db>, table: &Table) -> Result<&'s mut Db> {
    let db = systems.get_mut(table.system);
    db.with_context(|| format!("there is no system {}", table.system))
}

/// What every record should have been, by the folder's journal.
///
/// # Errors
/// The journal cannot be read or trusted.
pub fn told(folder: &Path, world: &World) -> Result<Stories> {
    Ok(Stories::told(world, &journal::read(folder)?))
}

/// Every target table with its entity.
pub fn targets() -> impl Iterator<Item = (Entity, &'static Table)> {
    Entity::ALL.into_iter().flat_map(|entity| {
        let systems = entity.targets().iter();
        systems.filter_map(move |system| Some((entity, table(system, entity)?)))
    })
}

/// The value at a part of a sorted list: 0.5 for the median; `None` where there is nothing.
#[must_use]
pub fn percentile(sorted: &[i64], part: f64) -> Option<i64> {
    let last = sorted.len().checked_sub(1)?;
    let at = (last as f64 * part).ceil() as usize;
    sorted.get(at.min(last)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let sorted: Vec<i64> = (1..=100).collect();
        assert_eq!(percentile(&sorted, 0.5), Some(51));
        assert_eq!(percentile(&sorted, 0.99), Some(100));
        assert_eq!(percentile(&sorted, 0.0), Some(1));
        assert_eq!(percentile(&[], 0.5), None);
        assert_eq!(percentile(&[7], 0.99), Some(7));
    }
}
