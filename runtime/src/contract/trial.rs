//! Data against a contract: every rule, with counts of what breaks it.
//!
//! `core` judges; this module hands it records from files and systems and keeps what it says.

use lockstep_core::contract::check::lines::{self, LineChecker};
use lockstep_core::contract::check::sets::{Held, Referenced, SetResult, SetRules};
use lockstep_core::contract::check::tally::{Counted, Example, Tally};
use lockstep_core::contract::{Contract, Outcome, Tolerance, Violation};
use lockstep_core::error::Result;
use lockstep_core::gate::cast;
use lockstep_core::{Cell, Row, Value};
use schemars::JsonSchema;
use serde::Serialize;

use super::data::Piece;

/// Records on trial.
#[derive(Debug)]
pub struct Trial<'c> {
    contract: &'c Contract,
    lines: LineChecker,
    sets: SetRules,
    tally: Tally,
    whole: bool,
    /// Names of columns that the contract does not know.
    others: Vec<String>,
}

/// What a trial found.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Tested {
    /// Whether nothing was found that keeps a record from going on.
    pub ok: bool,
    /// The contract's entity; absent for a JSON Schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity: Option<String>,
    /// The contract's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Records judged.
    pub records: u64,
    /// Records without any fault.
    pub sound: u64,
    /// Records by their severest outcome.
    pub outcomes: Outcomes,
    /// Every fault of single records, the commonest first.
    pub faults: Vec<FaultCount>,
    /// Every rule over many records.
    pub rules: Vec<RuleResult>,
    /// What could not be judged, and why.
    pub notes: Vec<String>,
}

/// How many records each outcome befalls.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Outcomes {
    /// They go on, and are counted.
    pub pass: u64,
    /// They go on, and are told.
    pub warn: u64,
    /// They are set aside.
    pub quarantine: u64,
    /// They are refused.
    pub reject: u64,
    /// Their entity stops.
    pub halt: u64,
}

/// One fault and how often it came.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FaultCount {
    /// The field, with the way inside it; absent where it is the whole record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The broken rule.
    pub rule: String,
    /// What becomes of a record with it.
    #[schemars(with = "String")]
    pub outcome: Outcome,
    /// How often it came.
    pub count: u64,
    /// The first ones.
    pub examples: Vec<Shown>,
}

/// One place of a fault.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Shown {
    /// Where: file and line, or the record's key or number.
    pub at: String,
    /// What is wrong; protected values are not shown.
    pub message: String,
}

/// The result of a rule over many records.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RuleResult {
    /// The rule.
    pub rule: String,
    /// The fields it looks at.
    pub fields: Vec<String>,
    /// What becomes of what breaks it.
    #[schemars(with = "String")]
    pub outcome: Outcome,
    /// Whether it holds.
    pub verdict: RuleVerdict,
    /// Records it looked at.
    pub checked: u64,
    /// Records that break it.
    pub broken: u64,
    /// The share of them, from 0 to 1.
    pub share: f64,
    /// How many may, as a number of records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerated_records: Option<u64>,
    /// How many may, of a hundred.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerated_percent: Option<f64>,
    /// The result in words.
    pub message: String,
    /// The first records that break it.
    pub examples: Vec<Shown>,
    /// What to give so that it can be judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// Whether a rule over many records holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RuleVerdict {
    /// It does, within its tolerance.
    Yes,
    /// It does not.
    No,
    /// There was nothing to judge it by.
    NotJudged,
}

impl<'c> Trial<'c> {
    /// A trial that keeps so many examples of each fault; `whole` tells records from patches.
    ///
    /// # Errors
    /// A rule that does not compile; a contract that was loaded from its text has none.
    pub fn new(contract: &'c Contract, whole: bool, examples: usize) -> Result<Trial<'c>> {
        let sets = SetRules::of(contract, examples);
        Ok(Trial {
            contract,
            lines: LineChecker::compile(contract, &sets.inputs())?,
            sets,
            tally: Tally::new(examples),
            whole,
            others: Vec::new(),
        })
    }

    /// The rules over many records, to tell them what other entities hold.
    pub fn sets(&mut self) -> &mut SetRules {
        &mut self.sets
    }

    /// How many records were judged.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.tally.records()
    }

    /// Judges one record of a file.
    pub fn piece(&mut self, piece: Piece<'_>, at: &dyn std::fmt::Display) {
        match piece {
            Piece::Json(text) => {
                self.lines.check(text, self.whole, at, &mut self.tally);
                // What is no record takes no part in rules over many.
                if self.lines.is_read() {
                    self.sets.add(self.lines.row(), at);
                }
            }
            Piece::Broken(why) => {
                let violation = Violation {
                    field: None,
                    rule: "row".to_owned(),
                    message: format!("not a row of the table: {why}"),
                    outcome: Outcome::Quarantine,
                };
                self.tally.violation(&violation, at);
                self.tally.record(Some(violation.outcome));
            }
            Piece::Values(names, values) => {
                let (row, found) = self.typed(names, values);
                self.row(&row, &found, at);
            }
        }
    }

    /// Judges one record in contract form, of which something is known to be wrong already.
    pub fn row(&mut self, row: &Row, known: &[Violation], at: &dyn std::fmt::Display) {
        let checker = self.lines.checker();
        checker.count(row, self.whole, known, at, &mut self.tally);
        self.sets.add(row, at);
    }

    /// The results; `now` is what freshness is measured against, and `cure` says how to give what a rule could not be judged without.
    #[must_use]
    pub fn finish(
        self,
        now: jiff::Timestamp,
        mut notes: Vec<String>,
        cure: &dyn Fn(&Referenced) -> String,
    ) -> Tested {
        let of = |outcome| self.tally.records_of(outcome);
        let outcomes = Outcomes {
            pass: of(Outcome::Pass),
            warn: of(Outcome::Warn),
            quarantine: of(Outcome::Quarantine),
            reject: of(Outcome::Reject),
            halt: of(Outcome::Halt),
        };
        let rules: Vec<RuleResult> = match self.whole {
            true => {
                let results = self.sets.finish(now).into_iter();
                results.map(|result| RuleResult::of(result, cure)).collect()
            }
            false => Vec::new(),
        };
        if !self.others.is_empty() {
            let names = self.others.join(", ");
            notes.push(format!(
                "columns without a field in the contract were not judged: {names}"
            ));
        }
        let stops =
            |rule: &RuleResult| rule.verdict == RuleVerdict::No && rule.outcome > Outcome::Warn;
        Tested {
            ok: outcomes.quarantine + outcomes.reject + outcomes.halt == 0
                && !rules.iter().any(stops),
            entity: Some(self.contract.entity.clone()),
            version: Some(self.contract.version.to_string()),
            records: self.tally.records(),
            sound: self.tally.sound(),
            outcomes,
            faults: self.tally.faults().into_iter().map(Into::into).collect(),
            rules,
            notes,
        }
    }

    /// The record of a line of texts, cast as the gate casts; empty texts are nulls.
    fn typed(&mut self, names: &[String], values: &[String]) -> (Row, Vec<Violation>) {
        let mut row = Row::unchanged(self.contract.fields.len());
        let mut found = Vec::new();
        for (name, text) in names.iter().zip(values) {
            let Some(at) = self.contract.field(name) else {
                if !self.others.iter().any(|other| other == name) {
                    self.others.push(name.clone());
                }
                continue;
            };
            let field = &self.contract.fields[at];
            if text.is_empty() {
                if field.nullable || field.required {
                    row.0[at] = Cell::Set(Value::Null);
                }
                continue;
            }
            match cast::cast(Value::text(text.as_str()), field.kind) {
                Ok(value) => row.0[at] = Cell::Set(value),
                Err(error) => found.push(Violation {
                    field: Some(name.clone()),
                    rule: "type".to_owned(),
                    message: error.to_string(),
                    outcome: field.outcome,
                }),
            }
        }
        (row, found)
    }
}

/// The value of a field in a record of another entity.
#[must_use]
pub fn value_of(piece: Piece<'_>, field: &str, kind: lockstep_core::Type) -> Option<Value> {
    match piece {
        Piece::Json(text) => lines::member(std::str::from_utf8(text).ok()?, field, kind),
        Piece::Values(names, values) => {
            let at = names.iter().position(|name| name == field)?;
            let text = values.get(at).filter(|text| !text.is_empty())?;
            cast::cast(Value::text(text.as_str()), kind).ok()
        }
        Piece::Broken(_) => None,
    }
}

impl Tested {
    /// The result of documents against a JSON Schema.
    #[must_use]
    pub fn of_documents(tally: &Tally) -> Tested {
        Tested {
            ok: tally.sound() == tally.records(),
            entity: None,
            version: None,
            records: tally.records(),
            sound: tally.sound(),
            outcomes: Outcomes {
                quarantine: tally.records_of(Outcome::Quarantine),
                ..Outcomes::default()
            },
            faults: tally.faults().into_iter().map(Into::into).collect(),
            rules: Vec::new(),
            notes: Vec::new(),
        }
    }
}

impl From<&Counted> for FaultCount {
    fn from(counted: &Counted) -> FaultCount {
        FaultCount {
            field: counted.field.clone(),
            rule: counted.rule.clone(),
            outcome: counted.outcome,
            count: counted.count,
            examples: counted.examples.iter().map(Into::into).collect(),
        }
    }
}

impl From<&Example> for Shown {
    fn from(example: &Example) -> Shown {
        Shown {
            at: example.at.clone(),
            message: example.message.clone(),
        }
    }
}

impl RuleResult {
    fn of(result: SetResult, cure: &dyn Fn(&Referenced) -> String) -> RuleResult {
        RuleResult {
            help: result.lacks.as_ref().map(cure),
            share: result.share(),
            rule: result.rule,
            fields: result.fields,
            outcome: result.outcome,
            verdict: match result.verdict {
                Held::Yes => RuleVerdict::Yes,
                Held::No => RuleVerdict::No,
                Held::NotJudged => RuleVerdict::NotJudged,
            },
            checked: result.checked,
            broken: result.broken,
            tolerated_records: match result.tolerance {
                Some(Tolerance::Records(most)) => Some(most),
                _ => None,
            },
            tolerated_percent: match result.tolerance {
                Some(Tolerance::Percent(most)) => Some(most),
                _ => None,
            },
            message: result.message,
            examples: result.examples.iter().map(Into::into).collect(),
        }
    }
}
