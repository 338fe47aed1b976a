//! Rules over all records of an entity, judged on a schedule against the system that says the entity: unique, exists, volume, fresh.
//!
//! Records are read page by page and only hashes of them are kept; how many bytes a record takes is said in `lockstep_core::contract::check::sets`.
//! What breaks such a rule is in the systems already, so nothing is removed: it is told in `status`, and an outcome of `halt` stops the entity until the rule holds again or somebody decides.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_core::connector::{DynReader, Registry};
use lockstep_core::contract::check::sets::{Held as Verdict, Referenced, SetResult, SetRules};
use lockstep_core::contract::{Contract, Outcome, Violation};
use lockstep_core::error::{Error, Result};
use lockstep_core::position::Mark;
use lockstep_core::{Op, Row, Shape};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::config::preflight::{PlannedFlow, Preflight};
use crate::config::{self, Config, System};
use crate::quarantine::{Ask, Entry, Guarded, Held, Quarantine, Stage, Stopped};
use crate::status::Board;
use crate::supervise::Store;
use crate::verify::{self, Side};

/// How often is looked whether something is due.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Records named per rule.
const EXAMPLES_MAX: usize = 5;
/// How long a capture may take to hear that its entity is halted.
const HALT_WAIT: Duration = Duration::from_secs(20);

/// How a rule over all records of an entity was last judged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SetStatus {
    /// The system whose records were looked at.
    pub system: String,
    /// The entity.
    pub entity: String,
    /// The rule.
    pub rule: String,
    /// What it asks for.
    pub outcome: Outcome,
    /// Whether it holds.
    pub verdict: SetVerdict,
    /// When it was judged.
    pub checked_at: String,
    /// How many records it looked at.
    pub checked: u64,
    /// How many of them break it.
    pub broken: u64,
    /// Their share, from 0 to 1.
    pub share: f64,
    /// The result in words.
    pub message: String,
    /// Keys of the first records that break it, where they may be shown.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub examples: Vec<String>,
}

/// Whether a rule over all records holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SetVerdict {
    /// It does, within its tolerance.
    Holds,
    /// It does not.
    Broken,
    /// There was nothing to judge it by.
    NotJudged,
}

impl SetVerdict {
    /// The word for it in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            SetVerdict::Holds => "holds",
            SetVerdict::Broken => "is broken",
            SetVerdict::NotJudged => "was not judged",
        }
    }
}

impl From<Verdict> for SetVerdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Yes => SetVerdict::Holds,
            Verdict::No => SetVerdict::Broken,
            Verdict::NotJudged => SetVerdict::NotJudged,
        }
    }
}

/// Judges rules over all records while Lockstep runs.
pub struct Watch {
    config: Arc<Config>,
    registry: Arc<Registry>,
    quarantine: Arc<Quarantine>,
    board: Arc<Board>,
}

impl Watch {
    /// A watch over the entities of a configuration.
    #[must_use]
    pub fn new(
        config: &Arc<Config>,
        registry: &Arc<Registry>,
        store: &Store,
        board: &Arc<Board>,
    ) -> Watch {
        Watch {
            config: Arc::clone(config),
            registry: Arc::clone(registry),
            quarantine: Arc::clone(&store.quarantine),
            board: Arc::clone(board),
        }
    }

    /// Judges what is due until stopped: of the systems that are captured here, so that one of several runtimes does it.
    pub async fn run(&self, stop: &CancellationToken) {
        let watched = self.watched();
        let Some(every) = self.config.rules.every.filter(|_| !watched.is_empty()) else {
            return stop.cancelled().await;
        };
        let mut last: HashMap<(String, String), Instant> = HashMap::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let is_due = |place: &&(String, String)| {
                let at = last.get(*place);
                self.board.captures(&place.0) && at.is_none_or(|at| at.elapsed() >= every)
            };
            let due: Vec<(String, String)> = watched.iter().filter(is_due).cloned().collect();
            if due.is_empty() {
                continue;
            }
            let judged = async {
                let preflight = config::preflight(&self.config, &self.registry).await;
                for (system, entity) in &due {
                    self.judge(&preflight, system, entity).await;
                    last.insert((system.clone(), entity.clone()), Instant::now());
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = judged => {}
            }
        }
    }

    /// The systems and entities whose contract says a rule over all records.
    fn watched(&self) -> Vec<(String, String)> {
        let says = |contract: &Contract| {
            let fields = &contract.fields;
            let of_fields =
                |field: &lockstep_core::contract::Field| field.unique || field.reference.is_some();
            contract
                .rules
                .iter()
                .any(|rule| !rule.check.is_of_records())
                || fields.iter().any(of_fields)
        };
        let mut watched = Vec::new();
        for flow in self.config.flows.values() {
            let place = (flow.from.clone(), flow.entity.clone());
            let contract = self.config.contracts.get(&flow.entity);
            if contract.is_some_and(|contract| says(contract)) && !watched.contains(&place) {
                watched.push(place);
            }
        }
        watched
    }

    /// Judges the rules of one entity, and tells.
    async fn judge(&self, preflight: &Preflight, system: &str, entity: &str) {
        let is_inbox = self
            .config
            .systems
            .get(system)
            .is_some_and(System::is_inbox);
        let results = if is_inbox {
            Err(Error::config("an inbox tells changes and holds no records"))
        } else {
            self.look(preflight, system, entity).await
        };
        let results = match results {
            Ok(results) => results,
            Err(error) => {
                let error = error.chain();
                tracing::warn!(
                    system,
                    entity,
                    error,
                    code = "LS-R004",
                    "rules over all records could not be judged"
                );
                self.not_judged(system, entity, &error);
                return;
            }
        };
        let now = jiff::Timestamp::now().to_string();
        let guarded = Guarded::of(&self.config, system, entity);
        let shown = results.iter().map(|result| SetStatus {
            system: system.to_owned(),
            entity: entity.to_owned(),
            rule: result.rule.clone(),
            outcome: result.outcome,
            verdict: result.verdict.into(),
            checked_at: now.clone(),
            checked: result.checked,
            broken: result.broken,
            share: result.share(),
            message: result.message.clone(),
            examples: result
                .examples
                .iter()
                .filter_map(|example| guarded.key(&example.at))
                .collect(),
        });
        self.board.judged(system, entity, shown.collect());
        for result in &results {
            if let Err(error) = self.act(system, entity, result).await {
                tracing::warn!(
                    system,
                    entity,
                    rule = result.rule,
                    error = error.chain(),
                    "what a rule asks for could not be done, it is tried again"
                );
            }
        }
    }

    /// Says of every rule that it could not be judged this time; what it said last is old news.
    fn not_judged(&self, system: &str, entity: &str, why: &str) {
        let known = self.board.sets();
        let mut sets: Vec<SetStatus> = known
            .into_iter()
            .filter(|set| set.system == system && set.entity == entity)
            .collect();
        if sets.is_empty() {
            let contract = self.config.contracts.get(entity);
            let rules = contract.map(|contract| SetRules::of(contract, 0));
            let results = rules.map(|rules| rules.finish(jiff::Timestamp::now()));
            sets.extend(
                results
                    .unwrap_or_default()
                    .into_iter()
                    .map(|rule| SetStatus {
                        system: system.to_owned(),
                        entity: entity.to_owned(),
                        rule: rule.rule,
                        outcome: rule.outcome,
                        verdict: SetVerdict::NotJudged,
                        checked_at: jiff::Timestamp::now().to_string(),
                        checked: 0,
                        broken: 0,
                        share: 0.0,
                        message: String::new(),
                        examples: Vec::new(),
                    }),
            );
        }
        for set in &mut sets {
            set.verdict = SetVerdict::NotJudged;
            set.message = format!("could not be judged: {why} (LS-R004)");
        }
        self.board.judged(system, entity, sets);
    }

    /// Looks at all records; what does not hold is looked at twice, because records may change while they are read.
    async fn look(
        &self,
        preflight: &Preflight,
        system: &str,
        entity: &str,
    ) -> Result<Vec<SetResult>> {
        let first = self.look_once(preflight, system, entity).await?;
        if first.iter().all(|result| result.verdict != Verdict::No) {
            return Ok(first);
        }
        let second = self.look_once(preflight, system, entity).await?;
        let milder = |(first, second): (SetResult, SetResult)| {
            let first_is_worse = second.verdict == Verdict::Yes || second.broken < first.broken;
            if first_is_worse { second } else { first }
        };
        Ok(first.into_iter().zip(second).map(milder).collect())
    }

    async fn look_once(
        &self,
        preflight: &Preflight,
        system: &str,
        entity: &str,
    ) -> Result<Vec<SetResult>> {
        let flow = planned(preflight, system, entity)
            .ok_or_else(|| Error::transient("the system is away, or its mapping does not fit"))?;
        let mut rules = SetRules::of(&flow.contract, EXAMPLES_MAX);
        let mut readers: BTreeMap<String, Arc<dyn DynReader>> = BTreeMap::new();
        for Referenced {
            entity: other,
            field,
            ..
        } in rules.references()
        {
            // Best the same system; else whichever says the other entity.
            let holds = |flow: &&PlannedFlow| flow.entity == other && self.can_be_read(&flow.from);
            let same = planned(preflight, system, &other).filter(|flow| holds(flow));
            let Some(parents) = same.or_else(|| preflight.flows.iter().find(holds)) else {
                continue;
            };
            let Some(at) = parents.contract.field(&field) else {
                continue;
            };
            rules.know(&other, &field, None);
            let side = self.side(&mut readers, parents).await?;
            side.scan(&parents.contract, |_, row: Row| {
                rules.know(&other, &field, row.value(at));
            })
            .await?;
        }
        let side = self.side(&mut readers, flow).await?;
        side.scan(&flow.contract, |key, row| rules.add(&row, &key))
            .await?;
        Ok(rules.finish(jiff::Timestamp::now()))
    }

    fn can_be_read(&self, system: &str) -> bool {
        verify::can_be_compared(&self.config, system)
    }

    /// The source of a flow, opened to be read.
    async fn side(
        &self,
        readers: &mut BTreeMap<String, Arc<dyn DynReader>>,
        flow: &PlannedFlow,
    ) -> Result<Side> {
        if !readers.contains_key(&flow.from) {
            let reader = verify::open(&self.config, &self.registry, &flow.from).await?;
            readers.insert(flow.from.clone(), reader);
        }
        Side::new(&self.config, readers, &flow.from, flow, &flow.read)
    }

    /// Does what a rule asks for.
    async fn act(&self, system: &str, entity: &str, result: &SetResult) -> Result<()> {
        let id = entry_id(system, entity, &result.rule);
        match result.verdict {
            Verdict::NotJudged => Ok(()),
            Verdict::Yes if result.outcome == Outcome::Halt => {
                if self.quarantine.settle(&id).await? {
                    tracing::info!(system, entity, rule = result.rule, "the rule holds again");
                }
                Ok(())
            }
            Verdict::Yes => Ok(()),
            Verdict::No if result.outcome == Outcome::Halt => {
                let contract = self.config.contracts.get(entity);
                let version = contract.map(|contract| contract.version.to_string());
                let entry = entry(id, system, entity, version.unwrap_or_default(), result);
                if self.quarantine.raise(&entry).await? {
                    tracing::error!(
                        system,
                        entity,
                        rule = result.rule,
                        broken = result.broken,
                        code = "LS-R001",
                        "a rule over all records halts its entity"
                    );
                    let ask = Ask::Halt { id: entry.id };
                    self.quarantine.ask(&ask, HALT_WAIT).await?;
                }
                Ok(())
            }
            Verdict::No if result.outcome == Outcome::Pass => Ok(()),
            Verdict::No => {
                tracing::warn!(
                    system,
                    entity,
                    rule = result.rule,
                    broken = result.broken,
                    checked = result.checked,
                    "a rule over all records is broken"
                );
                Ok(())
            }
        }
    }
}

fn planned<'p>(preflight: &'p Preflight, system: &str, entity: &str) -> Option<&'p PlannedFlow> {
    let is = |flow: &&PlannedFlow| flow.from == system && flow.entity == entity;
    preflight.flows.iter().find(is)
}

/// What the ids of such entries begin with.
const OVER_ALL: &str = "rule.";

/// Whether an entry is of a rule over all records, so that there is no record to correct or to send again.
pub(crate) fn is_over_all(id: &str) -> bool {
    id.starts_with(OVER_ALL)
}

/// The id of the entry of a rule over all records: rules may have any name, entries may not.
fn entry_id(system: &str, entity: &str, rule: &str) -> String {
    let mut name = String::new();
    for byte in rule.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => name.push(char::from(byte)),
            other => name.push_str(&format!("-{other:02x}")),
        }
    }
    format!("{OVER_ALL}{system}.{entity}.{name}")
}

/// The entry of a rule over all records that halts its entity.
fn entry(id: String, system: &str, entity: &str, contract: String, result: &SetResult) -> Entry {
    let stopped = Stopped {
        stage: Stage::Gate,
        system,
        flow: None,
        entity,
        key: "*".to_owned(),
        contract,
    };
    let held = Held {
        op: Op::Updated,
        shape: Shape {
            name: entity.to_owned(),
            columns: Vec::new(),
            key: Vec::new(),
        },
        row: Row::default(),
        before: None,
        mark: Mark::default(),
        committed_at: jiff::Timestamp::now(),
        event: String::new(),
        raw: None,
        cut: false,
    };
    let broken = Violation {
        field: match result.fields.as_slice() {
            [field] => Some(field.clone()),
            _ => None,
        },
        rule: result.rule.clone(),
        message: result.message.clone(),
        outcome: Outcome::Halt,
    };
    Entry::open(id, stopped, held, vec![broken])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_rules_entry_is_its_own_and_a_key_of_the_log() {
        assert_eq!(
            entry_id("crm", "order", "fresh_enough"),
            "rule.crm.order.fresh_enough"
        );
        let odd = entry_id("crm", "order", "größe > 0 / Tag");
        assert!(
            odd.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        );
        assert_ne!(odd, entry_id("crm", "order", "größe < 0 / Tag"));
        assert_ne!(
            entry_id("crm", "order", "a-20"),
            entry_id("crm", "order", "a ")
        );
    }
}
