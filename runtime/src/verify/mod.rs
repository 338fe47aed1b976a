//! Step six, **verify**: compare systems in contract form, and name what differs.
//!
//! First version: both sides are scanned whole and compared by hash; suspects are looked at again after the changes in flight have had time to land, so what is only on its way does not count as drift.
//! Keys in quarantine and flows that do not come to rest are told apart from differences.

mod corrected;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_core::connector::{DynReader, Page, Registry};
use lockstep_core::contract::Contract;
use lockstep_core::error::{Error, Result};
use lockstep_core::gate::ReadPlan;
use lockstep_core::verify::{Comparison, Differences, differing_fields};
use lockstep_core::{Key, Row, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::preflight::{PlannedFlow, PlannedTarget, Preflight};
use crate::config::{Config, Role, System};
use crate::links;
use crate::quarantine::Entry;
use corrected::corrections;

/// Rows of one page of a scan.
const PAGE_ROWS: usize = 2000;
/// Examples shown per pair.
const EXAMPLES_MAX: usize = 20;
/// Most differing records whose fields are compared one by one.
const DETAILED_MAX: usize = 10_000;
/// How often suspects are looked at again.
const LOOKS: u32 = 3;

/// The answer of `lockstep verify`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verification {
    /// Whether no pair has a missing, extra or different record, and every flow came to rest.
    pub equal: bool,
    /// One entry per flow and target.
    pub pairs: Vec<Pair>,
    /// How long it took, in seconds.
    pub wall_s: f64,
}

/// Two systems compared over one entity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pair {
    /// The entity.
    pub entity: String,
    /// The system that says it.
    pub left: String,
    /// The system that hears it.
    pub right: String,
    /// Records that both hold.
    pub compared: u64,
    /// Records that only the left holds.
    pub missing: u64,
    /// Records that only the right holds, or holds twice.
    pub extra: u64,
    /// Records whose fields differ.
    pub different: u64,
    /// How many of those differ because they were corrected in quarantine, and not in their source.
    #[serde(default)]
    pub corrected: u64,
    /// Records that differ while their flow is still behind.
    pub lagging: u64,
    /// Records that differ because a change of theirs is in quarantine.
    pub quarantined: u64,
    /// The first differences.
    pub examples: Vec<Example>,
}

/// One differing record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Example {
    /// The record's key.
    pub key: String,
    /// The fields that differ; empty where one side lacks the record.
    pub fields: Vec<String>,
    /// `missing`, `extra` or `different`.
    pub kind: String,
    /// Whether it differs because it was corrected in quarantine: the target holds the correction, the source what was corrected.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub corrected: bool,
}

/// What the quarantine explains of the differences between a source and a target.
#[derive(Clone, Debug, Default)]
pub struct Explained {
    /// Keys of records whose changes stand there.
    pub held: HashSet<String>,
    /// Entries that were corrected there and sent, from the oldest on: targets have the correction, and the source what it corrected.
    pub corrected: Vec<Entry>,
}

/// What is known of changes on their way, asked while suspects are looked at again.
pub trait InFlight: Sync {
    /// Waits until a flow has applied what is known, up to `deadline`. Tells whether it has.
    fn settle<'a>(
        &'a self,
        flow: &'a str,
        to: &'a str,
        deadline: Duration,
    ) -> lockstep_core::connector::Boxed<'a, bool>;

    /// What of the quarantine keeps a target from equalling its source.
    fn quarantined<'a>(
        &'a self,
        entity: &'a str,
        flow: &'a str,
        to: &'a str,
    ) -> lockstep_core::connector::Boxed<'a, Result<Explained>>;
}

/// Compares every flow's source with its targets; only those of `entity` or `target`, where given.
///
/// # Errors
/// A system that cannot be read.
pub async fn verify(
    config: &Config,
    registry: &Registry,
    preflight: &Preflight,
    only: &Only,
    in_flight: &dyn InFlight,
    mut progress: impl FnMut(&str, u64),
) -> Result<Verification> {
    let started = Instant::now();
    let mut readers: BTreeMap<String, Arc<dyn DynReader>> = BTreeMap::new();
    let mut pairs = Vec::new();
    for flow in preflight
        .flows
        .iter()
        .filter(|flow| only.entity(&flow.entity) && can_be_compared(config, &flow.from))
    {
        for target in flow
            .targets
            .iter()
            .filter(|target| only.target(&target.system))
        {
            for system in [&flow.from, &target.system] {
                if !readers.contains_key(system) {
                    readers.insert(system.clone(), open(config, registry, system).await?);
                }
            }
            let sides = Sides {
                flow,
                target,
                left: Side::new(config, &readers, &flow.from, flow, &flow.read)?,
                right: Side::new(config, &readers, &target.system, flow, &target.read_back)?,
            };
            pairs.push(sides.compare(in_flight, &mut progress).await?);
        }
    }
    Ok(Verification {
        equal: pairs
            .iter()
            .all(|pair| pair.missing + pair.extra + pair.different + pair.lagging == 0),
        pairs,
        wall_s: started.elapsed().as_secs_f64(),
    })
}

/// Which pairs to compare.
#[derive(Clone, Debug, Default)]
pub struct Only {
    /// Only this entity.
    pub entity: Option<String>,
    /// Only this target.
    pub target: Option<String>,
}

impl Only {
    fn entity(&self, entity: &str) -> bool {
        self.entity.as_deref().is_none_or(|only| only == entity)
    }

    fn target(&self, target: &str) -> bool {
        self.target.as_deref().is_none_or(|only| only == target)
    }
}

/// An inbox tells changes and holds nothing, so there is nothing to compare a target with.
#[must_use]
pub fn can_be_compared(config: &Config, from: &str) -> bool {
    !config.systems.get(from).is_some_and(System::is_inbox)
}

/// Opens a system to be read.
pub(crate) async fn open(
    config: &Config,
    registry: &Registry,
    system: &str,
) -> Result<Arc<dyn DynReader>> {
    let cx = config.open_context(system, Role::Reader);
    let reader = links::open_reader(config, registry, cx).await?;
    Ok(Arc::from(reader))
}

/// One side of a pair.
pub(crate) struct Side {
    reader: Arc<dyn DynReader>,
    table: String,
    plan: Arc<ReadPlan>,
    columns: Vec<String>,
    /// The table's own key, to page by.
    key: Vec<String>,
}

impl Side {
    /// An entity as it stands in a system of its flow.
    pub(crate) fn new(
        config: &Config,
        readers: &BTreeMap<String, Arc<dyn DynReader>>,
        system: &str,
        flow: &PlannedFlow,
        plan: &Arc<ReadPlan>,
    ) -> Result<Side> {
        let missing = || Error::config(format!("`{system}` has no mapping of `{}`", flow.entity));
        let mapping = config.mapping(system, &flow.entity).ok_or_else(missing)?;
        let shape = if system == flow.from {
            &flow.source
        } else {
            let target = flow.targets.iter().find(|target| target.system == system);
            &target.ok_or_else(missing)?.table
        };
        let key = shape
            .key
            .iter()
            .map(|at| shape.columns[*at].name.clone())
            .collect();
        Ok(Side {
            reader: Arc::clone(readers.get(system).ok_or_else(missing)?),
            table: mapping.table.clone(),
            plan: Arc::clone(plan),
            columns: plan.columns(),
            key,
        })
    }

    /// Reads every record: its key, and the record itself. Gives the table's own keys of rows from which no key of the contract can be read.
    pub(crate) async fn scan(
        &self,
        contract: &Contract,
        mut each: impl FnMut(Key, Row),
    ) -> Result<Vec<String>> {
        let mut unreadable = Vec::new();
        // The page's key columns ride along behind the plan's, to know where the next page begins.
        let mut columns = self.columns.clone();
        columns.extend(self.key.iter().cloned());
        let mut after: Option<Vec<Value>> = None;
        loop {
            let page = Page {
                table: &self.table,
                columns: &columns,
                key: &self.key,
                after: after.as_deref(),
                limit: PAGE_ROWS,
                ..Page::default()
            };
            let rows = self.reader.scan(page).await?;
            let last_page = rows.len() < PAGE_ROWS;
            for mut row in rows {
                let ends = row.0.split_off(self.columns.len());
                after = Some(
                    ends.into_iter()
                        .filter_map(|cell| cell.value().cloned())
                        .collect(),
                );
                // A row that cannot be mapped is in quarantine, or will be; its key is all that counts here.
                let record = match self.plan.record(&row) {
                    Ok(None) => continue,
                    Ok(Some(record)) => record,
                    Err(_) => {
                        match self.plan.record_key(&row) {
                            Some(key) => each(key, self.plan.readable(&row)),
                            None => unreadable.push(own_key(after.as_deref())),
                        }
                        continue;
                    }
                };
                let key = contract.key.iter().map(|at| record.value(*at));
                if let Ok(key) = Key::encode(key) {
                    each(key, record);
                }
            }
            if last_page {
                return Ok(unreadable);
            }
        }
    }
}

/// A row's own key as text, for rows that have no other.
fn own_key(key: Option<&[Value]>) -> String {
    let parts: Vec<String> = key
        .unwrap_or_default()
        .iter()
        .map(ToString::to_string)
        .collect();
    format!("row {}", parts.join("|"))
}

struct Sides<'a> {
    flow: &'a PlannedFlow,
    target: &'a PlannedTarget,
    left: Side,
    right: Side,
}

impl Sides<'_> {
    async fn compare(
        &self,
        in_flight: &dyn InFlight,
        progress: &mut impl FnMut(&str, u64),
    ) -> Result<Pair> {
        let PlannedFlow {
            name,
            entity,
            contract,
            ..
        } = self.flow;
        let to = &self.target.system;
        let label = format!("{entity}: {} and {to}", self.flow.from);
        let mut records = 0;
        let mut comparison = Comparison::new(self.fields());
        let keyless_left = self
            .left
            .scan(contract, |key, row| {
                comparison.left(key, &row);
                records += 1;
            })
            .await?;
        let keyless_right = self
            .right
            .scan(contract, |key, row| {
                comparison.right(key, &row);
                records += 1;
            })
            .await?;
        let mut found = comparison.finish();
        let mut settled = true;
        for _ in 0..LOOKS {
            if found.is_empty() {
                break;
            }
            settled = in_flight.settle(name, to, Duration::from_secs(5)).await;
            found = self.look_again(found).await?;
            if settled {
                break;
            }
        }
        progress(&label, records);
        let explained = in_flight.quarantined(entity, name, to).await?;
        let mut pair = self.pair(found, settled, &explained).await?;
        // A row without a readable key cannot have passed the gate, so at the source it is in quarantine; in the target nobody of ours wrote it.
        pair.quarantined += keyless_left.len() as u64;
        pair.extra += keyless_right.len() as u64;
        pair.examples.extend(
            keyless_right
                .into_iter()
                .take(EXAMPLES_MAX)
                .map(|key| Example {
                    key,
                    fields: Vec::new(),
                    kind: "extra".to_owned(),
                    corrected: false,
                }),
        );
        Ok(pair)
    }

    /// Positions of the fields that both sides can tell.
    fn fields(&self) -> Vec<usize> {
        let fields = 0..self.flow.contract.fields.len();
        fields
            .filter(|at| self.left.plan.reads(*at) && self.right.plan.reads(*at))
            .collect()
    }

    /// Reads both sides again and keeps of the suspects what still differs.
    async fn look_again(&self, found: Differences) -> Result<Differences> {
        let suspects: HashSet<Key> = found.keys().cloned().collect();
        let contract = &self.flow.contract;
        let mut comparison = Comparison::new(self.fields());
        self.left
            .scan(contract, |key, row| {
                if suspects.contains(&key) {
                    comparison.left(key, &row);
                }
            })
            .await?;
        self.right
            .scan(contract, |key, row| {
                if suspects.contains(&key) {
                    comparison.right(key, &row);
                }
            })
            .await?;
        let again = comparison.finish();
        Ok(Differences {
            compared: found.compared,
            ..again
        })
    }

    async fn pair(&self, found: Differences, settled: bool, explained: &Explained) -> Result<Pair> {
        let corrections = corrections(&explained.corrected, &self.flow.contract, &self.left);
        let details = self.details(&found.different, &corrections).await?;
        let mut pair = Pair {
            entity: self.flow.entity.clone(),
            left: self.flow.from.clone(),
            right: self.target.system.clone(),
            compared: found.compared,
            missing: 0,
            extra: 0,
            different: 0,
            corrected: 0,
            lagging: 0,
            quarantined: 0,
            examples: Vec::new(),
        };
        let kinds = [
            ("missing", &found.missing),
            ("extra", &found.extra),
            ("different", &found.different),
        ];
        for (kind, keys) in kinds {
            for key in keys {
                let text = key.to_string();
                if explained.held.contains(&text) {
                    pair.quarantined += 1;
                    continue;
                }
                if !settled {
                    pair.lagging += 1;
                    continue;
                }
                let detail = details.get(key).filter(|_| kind == "different");
                let corrected = detail.is_some_and(|detail| detail.corrected);
                match kind {
                    "missing" => pair.missing += 1,
                    "extra" => pair.extra += 1,
                    _ => pair.different += 1,
                }
                pair.corrected += u64::from(corrected);
                if pair.examples.len() < EXAMPLES_MAX {
                    pair.examples.push(Example {
                        key: text,
                        fields: detail.map_or_else(Vec::new, |detail| detail.fields.clone()),
                        kind: kind.to_owned(),
                        corrected,
                    });
                }
            }
        }
        Ok(pair)
    }

    /// The fields in which records differ, and whether that is because of a correction.
    async fn details(
        &self,
        different: &[Key],
        corrections: &BTreeMap<Key, Row>,
    ) -> Result<BTreeMap<Key, Detail>> {
        let wanted: HashSet<&Key> = different.iter().take(DETAILED_MAX).collect();
        if wanted.is_empty() {
            return Ok(BTreeMap::new());
        }
        let contract = &self.flow.contract;
        let shape = contract.shape();
        let compared = self.fields();
        let mut left: BTreeMap<Key, Row> = BTreeMap::new();
        self.left
            .scan(contract, |key, row| {
                if wanted.contains(&key) {
                    left.insert(key, row);
                }
            })
            .await?;
        let mut details = BTreeMap::new();
        self.right
            .scan(contract, |key, row| {
                if let Some(ours) = left.get(&key) {
                    let fields = differing_fields(&shape, &compared, ours, &row);
                    let corrected = corrections.get(&key).is_some_and(|corrected| {
                        let of = |field: &String| shape.position(field);
                        let at: Vec<usize> = fields.iter().filter_map(of).collect();
                        !at.is_empty() && differing_fields(&shape, &at, corrected, &row).is_empty()
                    });
                    details.insert(key, Detail { fields, corrected });
                }
            })
            .await?;
        Ok(details)
    }
}

/// How a record differs.
struct Detail {
    fields: Vec<String>,
    /// Whether the right side holds in all of these what somebody corrected them to.
    corrected: bool,
}
