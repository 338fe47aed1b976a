//! The compiled check of a record against its contract.
//!
//! Owns the verdict on values by field position; it is the writer schema's verdict, value for value, without JSON in between.
//! A good row costs no allocation and no look-up by name; only rules evaluate an expression.
//! Messages never show a value whose class is personal or secret.

mod field;

use crate::error::{Error, Result};
use crate::gate::expression::{Expression, Scope};
use crate::shape::Row;
use crate::value::{Cell, Value};

use super::{Class, Contract};

pub(super) use field::{FieldCheck, compare};

/// One broken rule of a record.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Violation {
    /// The field, or none for a rule over several.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The broken rule: `type`, `required`, `nullable`, `allowed`, `minimum`, `pattern`, …, or the name of a rule of the contract.
    pub rule: String,
    /// What is wrong. Shows the value only where the field's class lets it be seen.
    pub message: String,
}

/// A contract compiled to checks by field position.
#[derive(Debug)]
pub struct Checker {
    fields: Vec<FieldCheck>,
    rules: Vec<RuleCheck>,
}

/// A rule of the contract, ready to run.
#[derive(Debug)]
struct RuleCheck {
    name: String,
    expression: Expression,
    /// Whether no input is protected, so that an evaluation error may be shown.
    visible: bool,
}

impl Checker {
    /// Compiles a contract's checks.
    ///
    /// # Errors
    /// A pattern or rule that does not compile; a contract that was loaded from its text has none.
    pub fn compile(contract: &Contract) -> Result<Checker> {
        let fields = contract
            .fields
            .iter()
            .map(FieldCheck::compile)
            .collect::<Result<Vec<_>>>()?;
        let shape = contract.shape();
        let mut rules = Vec::with_capacity(contract.rules.len());
        for rule in &contract.rules {
            let expression = Expression::compile(
                &rule.expression,
                Scope::Fields(&shape),
                Some(crate::Type::Bool),
            )
            .map_err(|error| {
                Error::config(format!("the rule `{}` does not compile", rule.name))
                    .with("contract", contract.urn())
                    .because(error)
            })?;
            let protected = |i: &usize| {
                contract
                    .fields
                    .get(*i)
                    .is_none_or(|field| field.class >= Class::Personal)
            };
            rules.push(RuleCheck {
                name: rule.name.clone(),
                visible: !expression.inputs().iter().any(protected),
                expression,
            });
        }
        Ok(Checker { fields, rules })
    }

    /// Checks a row in contract shape, adding what is wrong to `found`.
    ///
    /// Cells that are unchanged are not judged, except that a `whole` row must have every required field; of a patch nothing is required.
    /// A rule is judged when all its inputs are known and none of them is at fault itself; anything but true breaks it, null included.
    pub fn check(&self, row: &Row, whole: bool, found: &mut Vec<Violation>) {
        let before = found.len();
        for (i, check) in self.fields.iter().enumerate() {
            match row.cell(i) {
                Cell::Unchanged if whole && check.required => found.push(check.missing()),
                Cell::Unchanged => {}
                Cell::Set(value) => found.extend(check.judge(value)),
            }
        }
        if row.0.len() > self.fields.len() {
            found.push(Violation {
                field: None,
                rule: "shape".to_owned(),
                message: format!(
                    "the row has {} columns, the contract {} fields",
                    row.0.len(),
                    self.fields.len()
                ),
            });
        }
        let faults = found.len();
        for rule in &self.rules {
            if faults > before && self.at_fault(rule, &found[before..faults]) {
                continue;
            }
            found.extend(rule.judge(row));
        }
    }

    /// Whether an input of the rule is at fault itself, so that the rule would only say so again.
    fn at_fault(&self, rule: &RuleCheck, faults: &[Violation]) -> bool {
        rule.expression.inputs().iter().any(|i| {
            let name = self.fields.get(*i).map(|check| check.name.as_str());
            name.is_some() && faults.iter().any(|fault| fault.field.as_deref() == name)
        })
    }
}

impl RuleCheck {
    fn judge(&self, row: &Row) -> Option<Violation> {
        let message = match self.expression.eval(row) {
            Ok(Cell::Unchanged | Cell::Set(Value::Bool(true))) => return None,
            Ok(Cell::Set(Value::Bool(false))) => format!("the rule `{}` is not true", self.name),
            Ok(Cell::Set(other)) => {
                format!(
                    "the rule `{}` gives {}, not true",
                    self.name,
                    other.type_name()
                )
            }
            Err(error) if self.visible => {
                format!("the rule `{}` cannot be evaluated: {error}", self.name)
            }
            Err(_) => format!(
                "the rule `{}` cannot be evaluated on this record",
                self.name
            ),
        };
        Some(Violation {
            field: None,
            rule: self.name.clone(),
            message,
        })
    }
}

#[cfg(test)]
mod tests;
