//! A value map compiled for one column and one field: two look-ups by text, one each way.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use crate::contract::Field;
use crate::diagnostic::Severity;
use crate::gate::cast;
use crate::gate::problem::{BAD_VALUES, NOT_INVERTIBLE, NOT_TOTAL, Problems};
use crate::shape::Column;
use crate::value::{Type, Value};

use super::translate::Direction;

/// Translates between a system's codes and the contract's.
#[derive(Debug)]
pub(super) struct Values {
    pub(super) name: String,
    forth: HashMap<String, Value>,
    back: HashMap<String, Value>,
}

impl Values {
    /// Compiles the entries of a map and checks that they cover what the contract allows.
    pub(super) fn compile(
        name: &str,
        entries: &BTreeMap<String, String>,
        column: &Column,
        field: &Field,
        direction: Direction,
        problems: &mut Problems,
    ) -> Values {
        let mut values = Values {
            name: name.to_owned(),
            forth: HashMap::with_capacity(entries.len()),
            back: HashMap::with_capacity(entries.len()),
        };
        let path = ["fields", &field.name, "values"];
        for (system, contract) in entries {
            let ours = fit(contract, Some(field.kind));
            let theirs = fit(system, column.kind);
            let (Some(ours), Some(theirs)) = (ours, theirs) else {
                problems.error(
                    BAD_VALUES,
                    &path,
                    format!(
                        "the value map `{name}` says `{system}` = `{contract}`, but the column `{}` holds {} and the field {}",
                        column.name,
                        column.kind.map_or("anything", Type::name),
                        field.kind
                    ),
                    "its left side is the system's value, its right side the contract's",
                );
                continue;
            };
            let earlier = values.back.insert(text(&ours).into_owned(), theirs.clone());
            if let Some(earlier) = earlier
                && direction == Direction::Write
            {
                problems.error(
                    NOT_INVERTIBLE,
                    &path,
                    format!(
                        "the value map `{name}` gives `{contract}` for both `{earlier}` and `{theirs}`, so it cannot be written back"
                    ),
                    "keep one of them, or use a map of its own for a system that is only read",
                );
            }
            values.forth.insert(text(&theirs).into_owned(), ours);
        }
        values.cover(field, direction, problems);
        values
    }

    /// The contract's value for a system's.
    pub(super) fn forth(&self, value: &Value) -> Option<Value> {
        self.forth.get(text(value).as_ref()).cloned()
    }

    /// The system's value for a contract's.
    pub(super) fn back(&self, value: &Value) -> Option<Value> {
        self.back.get(text(value).as_ref()).cloned()
    }

    fn cover(&self, field: &Field, direction: Direction, problems: &mut Problems) {
        let Some(allowed) = &field.allowed else {
            return;
        };
        let path = ["fields", &field.name, "values"];
        let quote = |text: &str| format!("`{text}`");
        let missing: Vec<String> = allowed
            .values
            .iter()
            .filter(|value| !value.is_null() && !self.back.contains_key(text(value).as_ref()))
            .map(|value| quote(&text(value)))
            .collect();
        if !missing.is_empty() {
            // A source that never says a value harms nobody; a target that cannot take one does.
            let severity = match direction {
                Direction::Write if !allowed.open => Severity::Error,
                _ => Severity::Warning,
            };
            let message = format!(
                "the value map `{}` has nothing for {}, which the contract allows in `{}`",
                self.name,
                missing.join(", "),
                field.name
            );
            let help = "add the missing values to the map";
            match severity {
                Severity::Error => problems.error(NOT_TOTAL, &path, message, help),
                _ => problems.warning(NOT_TOTAL, &path, message, help),
            }
        }
        let known: Vec<String> = allowed
            .values
            .iter()
            .map(|v| text(v).into_owned())
            .collect();
        let mut foreign: Vec<&String> = self.back.keys().filter(|k| !known.contains(k)).collect();
        foreign.sort_unstable();
        for value in foreign {
            let message = format!(
                "the value map `{}` gives `{value}`, which the contract does not allow in `{}`",
                self.name, field.name
            );
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            let help = crate::diagnostic::suggestion(value, known);
            if allowed.open {
                problems.warning(BAD_VALUES, &path, message, help);
            } else {
                problems.error(BAD_VALUES, &path, message, help);
            }
        }
    }
}

/// A side of the map in the type of its column or field.
fn fit(written: &str, kind: Option<Type>) -> Option<Value> {
    let value = Value::text(written);
    match kind {
        None => Some(value),
        Some(kind) => cast::cast(value, kind).ok(),
    }
}

/// The text by which a value is looked up; the common case borrows.
fn text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Text(text) => Cow::Borrowed(text),
        Value::Json(text) => Cow::Borrowed(text),
        Value::Decimal(number) if number.as_str().contains('.') => {
            Cow::Borrowed(number.as_str().trim_end_matches('0').trim_end_matches('.'))
        }
        Value::Decimal(number) => Cow::Borrowed(number.as_str()),
        other => Cow::Owned(other.to_string()),
    }
}
