//! The machine-readable result of a demo: one object, whatever happened.

use std::path::Path;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::oracle::{Judgement, Pair, percentile};
use crate::quarantine::{self, Entries};
use crate::shape::tables;
use crate::systems::{self, SYSTEMS};

/// What came of a demo.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Whether every system holds what it should, every write happened once and in order, and nothing but broken records is in quarantine.
    pub converged: bool,
    /// Records that are missing in a target, or older there than their last good version.
    pub lost: u64,
    /// Versions that were written again to a target that had them already, and keys that stand there twice.
    pub duplicated: u64,
    /// Records in quarantine at the end.
    pub quarantined: u64,
    /// Edits of records that were committed in the systems.
    pub changes: u64,
    /// The systems.
    pub systems: Vec<SystemReport>,
    /// Each entity in each of its targets.
    pub entities: Vec<EntityReport>,
    /// From commit in the source to write in the target, over all entities.
    pub latency_ms: Percentiles,
    /// How often anything was killed.
    pub kills: u64,
    /// How long everything took, in seconds.
    pub wall_s: f64,
    /// Why it did not converge, or what stopped it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
}

/// One system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SystemReport {
    /// Its name.
    pub name: String,
    /// The connector that knows its kind.
    pub connector: String,
    /// Records of all its mapped tables, by SQL count.
    pub records: u64,
}

/// One entity in one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EntityReport {
    /// The entity.
    pub entity: String,
    /// The target.
    pub system: String,
    /// Records in the target, by SQL count.
    pub records: u64,
    /// Edits that arrived there.
    pub changes: u64,
    /// Records of the entity in quarantine.
    pub quarantined: u64,
    /// From commit in the source to write in the target; initial load and downtime left out.
    pub lag_ms: Percentiles,
    /// Records that are not as they should be.
    pub differences: u64,
}

/// Two percentiles; null where nothing was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Percentiles {
    /// The median.
    pub p50: Option<i64>,
    /// What one in a hundred exceeds.
    pub p99: Option<i64>,
}

impl Percentiles {
    /// The percentiles of a sorted list.
    #[must_use]
    pub fn of(sorted: &[i64]) -> Percentiles {
        Percentiles {
            p50: percentile(sorted, 0.5),
            p99: percentile(sorted, 0.99),
        }
    }
}

impl Report {
    /// A report of something that ended before it could be judged.
    #[must_use]
    pub fn failed(error: String, kills: u64, wall: Duration) -> Report {
        Report {
            kills,
            wall_s: seconds(wall),
            error: Some(error),
            ..Report::default()
        }
    }

    /// A report of a judgement; `reproaches` is what speaks against convergence besides what the oracle found.
    #[must_use]
    pub fn of(
        folder: &Path,
        judgement: &Judgement,
        quarantine: &Entries,
        mut reproaches: Vec<String>,
        kills: u64,
        wall: Duration,
    ) -> Report {
        let counts = quarantine::by_entity(quarantine);
        let entities = judgement.pairs.iter().map(|pair| EntityReport {
            quarantined: counts.get(pair.entity.name()).copied().unwrap_or(0),
            ..entity(pair)
        });
        if !judgement.clean() {
            reproaches.push(told(judgement));
        }
        let converged = reproaches.is_empty();
        Report {
            converged,
            lost: judgement.lost(),
            duplicated: judgement.duplicated(),
            quarantined: quarantine.len() as u64,
            changes: judgement.changes,
            systems: SYSTEMS
                .into_iter()
                .map(|name| system(folder, name))
                .collect(),
            entities: entities.collect(),
            latency_ms: Percentiles::of(&judgement.lags()),
            kills,
            wall_s: seconds(wall),
            error: (!converged).then(|| reproaches.join("; ")),
        }
    }
}

fn told(judgement: &Judgement) -> String {
    let mut told = format!(
        "{} lost, {} duplicated, {} differences, {} writes out of order or out of nowhere",
        judgement.lost(),
        judgement.duplicated(),
        judgement.differences(),
        judgement.disorder()
    );
    for finding in judgement.findings.iter().take(5) {
        told.push_str(&format!("; {finding}"));
    }
    told
}

fn entity(pair: &Pair) -> EntityReport {
    EntityReport {
        entity: pair.entity.name().to_owned(),
        system: pair.system.to_owned(),
        records: pair.records,
        changes: pair.changes,
        quarantined: 0,
        lag_ms: Percentiles::of(&pair.lags),
        differences: pair.differences,
    }
}

fn system(folder: &Path, name: &str) -> SystemReport {
    // A system that cannot be read any more has no records to report; why it cannot is told elsewhere.
    let records = systems::look(folder, name).map_or(0, |mut db| {
        let tables = tables().iter().filter(|table| table.system == name);
        tables
            .map(|table| systems::count(&mut db, table).unwrap_or(0))
            .sum()
    });
    SystemReport {
        name: name.to_owned(),
        connector: systems::connector(folder, name).to_owned(),
        records,
    }
}

fn seconds(wall: Duration) -> f64 {
    (wall.as_secs_f64() * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_still_the_whole_object() {
        let report = Report::failed("it broke".into(), 1, Duration::from_millis(1500));
        let json = serde_json::to_value(&report).unwrap();
        for field in [
            "converged",
            "lost",
            "duplicated",
            "quarantined",
            "changes",
            "systems",
            "entities",
            "latency_ms",
            "kills",
            "wall_s",
            "error",
        ] {
            assert!(json.get(field).is_some(), "{field}");
        }
        assert_eq!(json["converged"], false);
        assert_eq!(json["wall_s"], 1.5);
    }
}
