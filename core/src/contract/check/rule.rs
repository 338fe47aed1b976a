//! The contract's rules on single records, compiled.

use regex::Regex;

use super::bounds::{Bound, Length, Listed};
use super::fault::{Seen, listed};
use super::field::FieldCheck;
use super::{Violation, bounds};
use crate::contract::{Check, Class, Contract, Outcome, Rule, pattern};
use crate::diagnostic::a;
use crate::error::{Error, Result};
use crate::gate::expression::{Expression, Scope};
use crate::shape::{Row, Shape};
use crate::value::{Cell, Type, Value};

/// A rule of the contract, ready to run.
#[derive(Debug)]
pub(super) struct RuleCheck {
    name: String,
    outcome: Outcome,
    judge: Judge,
    /// The field that the rule is about, of a rule on one field.
    field: Option<usize>,
    /// Positions of the fields it looks at.
    inputs: Vec<usize>,
    /// Whether no input is protected, so that an evaluation error may be shown.
    visible: bool,
}

#[derive(Debug)]
enum Judge {
    Holds(Expression),
    NotNull,
    NotMissing(Listed),
    OneOf(Listed),
    Matches(Regex, String),
    Between(Option<Bound>, Option<Bound>),
    Length(Length),
}

impl RuleCheck {
    /// Compiles a rule; `None` for one on more than single records.
    ///
    /// # Errors
    /// An expression or pattern that does not compile, or a field that is not there.
    pub(super) fn compile(
        rule: &Rule,
        contract: &Contract,
        shape: &Shape,
    ) -> Result<Option<RuleCheck>> {
        let failed = |why: String| {
            Error::config(format!("the rule `{}` does not compile: {why}", rule.name))
                .with("contract", contract.urn())
        };
        let bound = |value: &Option<Value>| {
            value.clone().map(|value| Bound {
                value,
                exclusive: false,
            })
        };
        let judge = match &rule.check {
            Check::Holds(text) => {
                let compiled = Expression::compile(text, Scope::Fields(shape), Some(Type::Bool));
                Judge::Holds(compiled.map_err(|error| failed(error.to_string()))?)
            }
            Check::NotNull => Judge::NotNull,
            Check::NotMissing(values) => Judge::NotMissing(Listed::new(values)),
            Check::OneOf(values) => Judge::OneOf(Listed::new(values)),
            Check::Matches(text) => {
                let regex = pattern::compile(text).map_err(failed)?;
                Judge::Matches(regex, text.clone())
            }
            Check::Between(least, most) => Judge::Between(bound(least), bound(most)),
            Check::Length(least, most) => match Length::of(*least, *most) {
                Some(length) => Judge::Length(length),
                None => return Ok(None),
            },
            Check::Unique(_)
            | Check::Exists { .. }
            | Check::Volume { .. }
            | Check::Fresh { .. } => {
                return Ok(None);
            }
        };
        let (field, inputs) = match &judge {
            Judge::Holds(expression) => (None, expression.inputs().to_vec()),
            _ => {
                let name = rule.field.as_deref().unwrap_or_default();
                let at = contract
                    .field(name)
                    .ok_or_else(|| failed(format!("there is no field `{name}`")))?;
                (Some(at), vec![at])
            }
        };
        let open = |at: &usize| {
            contract
                .fields
                .get(*at)
                .is_some_and(|f| f.class < Class::Personal)
        };
        Ok(Some(RuleCheck {
            name: rule.name.clone(),
            outcome: rule.outcome,
            visible: inputs.iter().all(open),
            judge,
            field,
            inputs,
        }))
    }

    pub(super) fn inputs(&self) -> &[usize] {
        &self.inputs
    }

    /// Judges a record; `None` where the rule holds or an input is not known.
    pub(super) fn judge(&self, row: &Row, whole: bool, fields: &[FieldCheck]) -> Option<Violation> {
        if let Judge::Holds(expression) = &self.judge {
            return self.holds(expression, row);
        }
        let at = self.field?;
        let value = match row.cell(at) {
            Cell::Set(value) => value,
            // A whole record without the field says that there is none.
            Cell::Unchanged if whole => &Value::Null,
            Cell::Unchanged => return None,
        };
        let field = fields.get(at)?;
        let message = self.broken(value, field)?;
        Some(self.violation(Some(field.name.clone()), message))
    }

    fn holds(&self, expression: &Expression, row: &Row) -> Option<Violation> {
        if expression.plainly_holds(row) {
            return None;
        }
        let name = &self.name;
        let message = match expression.eval(row) {
            Ok(Cell::Unchanged | Cell::Set(Value::Bool(true))) => return None,
            Ok(Cell::Set(Value::Bool(false))) => format!("the rule `{name}` is not true"),
            Ok(Cell::Set(other)) => {
                format!("the rule `{name}` gives {}, not true", other.type_name())
            }
            Err(error) if self.visible => {
                format!("the rule `{name}` cannot be evaluated: {error}")
            }
            Err(_) => format!("the rule `{name}` cannot be evaluated on this record"),
        };
        Some(self.violation(None, message))
    }

    fn broken(&self, value: &Value, field: &FieldCheck) -> Option<String> {
        let shown = || field.shown(Seen::Value(value));
        match (&self.judge, value) {
            (Judge::NotNull, Value::Null) => Some("the value is null".to_owned()),
            (Judge::NotMissing(list), value) if list.holds(value) => {
                Some(format!("{} stands for a missing value", shown()))
            }
            (Judge::NotNull | Judge::NotMissing(_) | Judge::Holds(_), _) => None,
            // What is not there is for other rules.
            (_, Value::Null) => None,
            (Judge::OneOf(list), value) => {
                (!list.holds(value)).then(|| format!("{} is not {}", shown(), listed(&list.values)))
            }
            (Judge::Matches(regex, written), Value::Text(text)) => {
                (!regex.is_match(text)).then(|| format!("{} does not match `{written}`", shown()))
            }
            (Judge::Between(least, most), value) => {
                if let Some(bound) = least.as_ref().filter(|bound| !bound.is_least(value)) {
                    return Some(format!("{} is below {}", shown(), bound.value));
                }
                let bound = most.as_ref().filter(|bound| !bound.is_greatest(value))?;
                Some(format!("{} is above {}", shown(), bound.value))
            }
            (Judge::Length(length), Value::Text(text)) => (!length.holds_text(text)).then(|| {
                format!(
                    "the value has {}",
                    bounds::amount(text.chars().count(), length)
                )
            }),
            (Judge::Length(length), Value::Bytes(bytes)) => (!length.holds(bytes.len()))
                .then(|| format!("the value has {}", bounds::amount(bytes.len(), length))),
            (Judge::Matches(..) | Judge::Length(_), other) => {
                Some(format!("{} is no text", a(other.type_name())))
            }
        }
    }

    fn violation(&self, field: Option<String>, message: String) -> Violation {
        Violation {
            field,
            rule: self.name.clone(),
            message,
            outcome: self.outcome,
        }
    }
}
