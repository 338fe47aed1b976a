//! The compiled check of a record against its contract.
//!
//! Owns the verdict on values by field position; it is the writer schema's verdict, value for value, without JSON in between.
//! A good row costs no allocation and no look-up by name, and what stands inside documents is judged in one pass over their text; only rules evaluate an expression.
//! Messages never show a value whose class is personal or secret.

mod bounds;
mod fault;
mod field;
mod inside;
pub mod lines;
pub mod plain;
mod rule;
pub(in crate::contract) mod scan;
pub mod sets;
pub mod tally;

use crate::error::Result;
use crate::shape::Row;
use crate::value::{Cell, Type, Value};

use super::{Class, Contract, Field, Inner, Outcome, wire};
use inside::Inside;
use rule::RuleCheck;
use scan::Scanner;

pub(super) use bounds::compare;
pub(super) use field::FieldCheck;
pub(in crate::contract) use inside::whole;

/// Most violations that are told of one record; its verdict needs no more.
pub const VIOLATIONS_MAX: usize = 100;

/// One broken rule of a record.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Violation {
    /// The field, with the way inside it such as `address.street` or `tags[3]`; none for a rule over several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The broken rule: `type`, `required`, `nullable`, `allowed`, `minimum`, `pattern`, …, or the name of a rule of the contract.
    pub rule: String,
    /// What is wrong. Shows the value only where the field's class lets it be seen.
    pub message: String,
    /// What becomes of the record.
    #[serde(default, skip_serializing_if = "is_quarantine")]
    pub outcome: Outcome,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands out references"
)]
fn is_quarantine(outcome: &Outcome) -> bool {
    *outcome == Outcome::Quarantine
}

/// The severest outcome among the violations of a record; none where there are none.
///
/// What is at most [`Outcome::Warn`] goes on.
#[must_use]
pub fn worst(found: &[Violation]) -> Option<Outcome> {
    found.iter().map(|violation| violation.outcome).max()
}

/// A contract compiled to checks by field position.
#[derive(Debug)]
pub struct Checker {
    /// The record as a document whose members are the contract's fields.
    record: FieldCheck,
    rules: Vec<RuleCheck>,
    /// Positions of the documents of which something is left out.
    trimmed: Vec<usize>,
}

impl Checker {
    /// Compiles a contract's checks.
    ///
    /// # Errors
    /// A pattern or rule that does not compile; a contract that was loaded from its text has none.
    pub fn compile(contract: &Contract) -> Result<Checker> {
        let mut record = Field::new("", Type::Json);
        record.class = Class::Public;
        record.inner = Some(Inner::Object {
            fields: contract.fields.clone(),
            extra: contract.extra,
        });
        let record = FieldCheck::compile(&record)?;
        let shape = contract.shape();
        let rules = contract
            .rules
            .iter()
            .filter_map(|rule| RuleCheck::compile(rule, contract, &shape).transpose())
            .collect::<Result<_>>()?;
        let mut checker = Checker {
            record,
            rules,
            trimmed: Vec::new(),
        };
        let fields = checker.fields().iter().enumerate();
        checker.trimmed = fields
            .filter(|(_, field)| field.inside.as_ref().is_some_and(Inside::trims))
            .map(|(at, _)| at)
            .collect();
        Ok(checker)
    }

    /// Checks a row in contract shape, adding what is wrong to `found`, at most [`VIOLATIONS_MAX`].
    ///
    /// Cells that are unchanged are not judged, except that a `whole` row must have every required field; of a patch nothing is required.
    /// A rule is judged when all its inputs are known and none of them is at fault itself; an expression is broken by anything but true, null included.
    pub fn check(&self, row: &Row, whole: bool, found: &mut Vec<Violation>) {
        let fields = self.fields();
        let mut at_fault: Vec<usize> = Vec::new();
        for (at, check) in fields.iter().enumerate() {
            if let Some(Cell::Set(value)) = row.0.get(at)
                && check.is_plainly_sound(value)
            {
                continue;
            }
            let mut sink = |fault: fault::Fault<'_>| {
                if at_fault.last() != Some(&at) {
                    at_fault.push(at);
                }
                if found.len() < VIOLATIONS_MAX {
                    found.push(fault.violation());
                }
            };
            match row.cell(at) {
                Cell::Set(value) => check.check(value, &mut sink),
                Cell::Unchanged if whole && check.required => check.missing(&mut sink),
                Cell::Unchanged => {}
            }
        }
        if row.0.len() > fields.len() {
            found.push(Violation {
                field: None,
                rule: "shape".to_owned(),
                message: format!(
                    "the row has {} columns, the contract {} fields",
                    row.0.len(),
                    fields.len()
                ),
                outcome: Outcome::Quarantine,
            });
        }
        found.extend(self.broken_rules(row, whole, &at_fault));
    }

    /// Leaves out of the row's documents what the contract says to drop.
    ///
    /// Documents that are not JSON stay as they are, for [`Checker::check`] to refuse.
    pub fn trim(&self, row: &mut Row) {
        for at in &self.trimmed {
            let Some(Cell::Set(Value::Json(text))) = row.0.get_mut(*at) else {
                continue;
            };
            let mut out = String::with_capacity(text.len());
            let mut scan = Scanner::new(text);
            let read = self.fields()[*at].trim(&mut scan, 0, &mut out);
            if read.and_then(|()| scan.end()).is_ok() {
                *text = out.into();
            }
        }
    }

    /// The rules that a record breaks, those left out that look at a field at fault.
    fn broken_rules(
        &self,
        row: &Row,
        whole: bool,
        at_fault: &[usize],
    ) -> impl Iterator<Item = Violation> {
        let sound = |rule: &&RuleCheck| {
            at_fault.is_empty() || !rule.inputs().iter().any(|at| at_fault.contains(at))
        };
        self.rules
            .iter()
            .filter(sound)
            .filter_map(move |rule| rule.judge(row, whole, self.fields()))
    }

    /// The contract's fields, in its order.
    fn fields(&self) -> &[FieldCheck] {
        match &self.record.inside {
            Some(Inside::Object(members)) => &members.fields,
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests;
