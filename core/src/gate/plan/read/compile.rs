//! Compiles a mapping for reading.

use crate::contract::{Checker, Contract, Field};
use crate::diagnostic::suggestion;
use crate::gate::cast;
use crate::gate::expression::{Expression, Scope};
use crate::gate::mapping::{FieldRule, Mapping, ValueMaps};
use crate::gate::problem::{
    BAD_CONSTANT, BAD_CONTRACT, BAD_EXPRESSION, CONFLICTING, Problem, Problems, UNKNOWN_COLUMN,
    UNKNOWN_FIELD, UNMAPPED,
};
use crate::shape::Shape;
use crate::value::{Type, Value};

use super::super::translate::{Direction, Translation};
use super::{ReadPlan, Source};

pub(super) fn compile(
    mapping: &Mapping,
    from: &Shape,
    contract: &Contract,
    values: &ValueMaps,
    partial: bool,
) -> Result<ReadPlan, Vec<Problem>> {
    let mut compiler = Compiler {
        from,
        contract,
        values,
        partial,
        problems: Problems::default(),
    };
    compiler.unknown_fields(mapping);
    let sources: Vec<Source> = contract
        .fields
        .iter()
        .enumerate()
        .map(|(at, field)| compiler.source(mapping, at, field))
        .collect();
    let filter = mapping.filter.as_deref();
    let filter = filter.and_then(|text| compiler.expression(text, Some(Type::Bool), &["filter"]));
    let checker = Checker::compile(contract);
    if let Err(error) = &checker {
        let message = format!("the contract's checks do not compile: {}", error.chain());
        compiler.problems.error(BAD_CONTRACT, &[], message, "");
    }
    let warnings = compiler.problems.finish()?;
    // An error was a problem above, so this is never left.
    let checker = checker.map_err(|_| Vec::new())?;
    let (names, slots) = needed(&sources, filter.as_ref(), from);
    Ok(ReadPlan {
        shape: contract.shape(),
        fields: contract.fields.clone(),
        sources,
        lane_key: contract.lane_key.clone(),
        lanes: contract.lanes,
        filter,
        checker,
        names,
        slots,
        warnings,
    })
}

struct Compiler<'a> {
    from: &'a Shape,
    contract: &'a Contract,
    values: &'a ValueMaps,
    partial: bool,
    problems: Problems,
}

impl Compiler<'_> {
    fn unknown_fields(&mut self, mapping: &Mapping) {
        unknown_fields(mapping, self.contract, &mut self.problems);
    }

    fn source(&mut self, mapping: &Mapping, at: usize, field: &Field) -> Source {
        let Some(map) = mapping.fields.get(&field.name) else {
            return self.unmapped(field);
        };
        let rule = map.rule();
        if !sound(&rule, field, &mut self.problems) {
            return Source::Unread;
        }
        let path = ["fields", field.name.as_str()];
        if let Some(constant) = &rule.constant {
            // What is the same in every record says nothing about a target, unless rows are found by it.
            if self.partial && !self.contract.key.contains(&at) {
                return Source::Unread;
            }
            return match constant_of(constant, field) {
                Ok(value) => Source::Fixed(value),
                Err(message) => {
                    let path = [path[0], path[1], "constant"];
                    let help = format!("write a value of type {}", field.kind);
                    self.problems.error(BAD_CONSTANT, &path, message, help);
                    Source::Unread
                }
            };
        }
        if let Some(read) = &rule.read {
            let path = [path[0], path[1], "read"];
            return match self.expression(read, Some(field.kind), &path) {
                Some(expression) => Source::Expression(expression),
                None => Source::Unread,
            };
        }
        self.column(&rule, field).unwrap_or(Source::Unread)
    }

    fn column(&mut self, rule: &FieldRule, field: &Field) -> Option<Source> {
        let name = rule.column.as_deref()?;
        let at = column_of(
            self.from,
            name,
            &["fields", &field.name],
            &mut self.problems,
        )?;
        let translation = Translation::compile(
            rule,
            &self.from.columns[at],
            field,
            self.values,
            Direction::Read,
            &mut self.problems,
        )?;
        Some(Source::Column {
            at,
            name: name.to_owned(),
            translation,
        })
    }

    fn unmapped(&mut self, field: &Field) -> Source {
        if self.partial {
            return Source::Unread;
        }
        if let Some(default) = &field.default {
            return Source::Fixed(default.clone());
        }
        if field.required || !field.nullable {
            let help = format!(
                "map it to a column of `{}`, or give it `read` or `constant`; columns: {}",
                self.from.name,
                self.from.names().collect::<Vec<_>>().join(", ")
            );
            self.problems.error(
                UNMAPPED,
                &["fields"],
                format!("the field `{}` is required and not mapped", field.name),
                help,
            );
        }
        Source::Fixed(Value::Null)
    }

    fn expression(
        &mut self,
        text: &str,
        expects: Option<Type>,
        path: &[&str],
    ) -> Option<Expression> {
        expression(
            text,
            Scope::Row(self.from),
            expects,
            path,
            &mut self.problems,
        )
    }
}

/// The columns that the plan needs, and where each position of the system's shape stands among them.
fn needed(
    sources: &[Source],
    filter: Option<&Expression>,
    from: &Shape,
) -> (Vec<String>, Vec<usize>) {
    let mut needed = vec![false; from.columns.len()];
    let inputs = sources.iter().flat_map(Source::inputs);
    for at in inputs.chain(filter.map_or(&[][..], Expression::inputs)) {
        needed[*at] = true;
    }
    let mut names = Vec::new();
    let mut slots = vec![usize::MAX; needed.len()];
    for (at, column) in from.columns.iter().enumerate() {
        if needed[at] {
            slots[at] = names.len();
            names.push(column.name.clone());
        }
    }
    (names, slots)
}

/// Names of the mapping that the contract does not know.
pub(in crate::gate::plan) fn unknown_fields(
    mapping: &Mapping,
    contract: &Contract,
    problems: &mut Problems,
) {
    let known: Vec<&str> = contract.fields.iter().map(|f| f.name.as_str()).collect();
    for name in mapping.fields.keys() {
        if !known.contains(&name.as_str()) {
            problems.error(
                UNKNOWN_FIELD,
                &["fields", name],
                format!("`{}` has no field `{name}`", contract.entity),
                suggestion(name, known.iter().copied()),
            );
        }
    }
}

/// Whether a rule says one thing, not none and not two.
pub(in crate::gate::plan) fn sound(
    rule: &FieldRule,
    field: &Field,
    problems: &mut Problems,
) -> bool {
    let translated = rule.values.is_some()
        || rule.scale.is_some()
        || rule.prefix.is_some()
        || rule.format.is_some();
    let wrong = match (&rule.column, &rule.read, &rule.constant) {
        (None, None, None) => "says neither where it stands nor what it is",
        (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => "is a constant and something else at once",
        (None, _, _) if translated => "has a translation but no column",
        _ => return true,
    };
    problems.error(
        CONFLICTING,
        &["fields", &field.name],
        format!("the field `{}` {wrong}", field.name),
        "give it a column, a read expression, or a constant alone",
    );
    false
}

/// The position of a column, or a problem that suggests the nearest.
pub(in crate::gate::plan) fn column_of(
    shape: &Shape,
    name: &str,
    path: &[&str],
    problems: &mut Problems,
) -> Option<usize> {
    let at = shape.position(name);
    if at.is_none() {
        let known: Vec<&str> = shape.names().collect();
        problems.error(
            UNKNOWN_COLUMN,
            path,
            format!("`{}` has no column `{name}`", shape.name),
            suggestion(name, known),
        );
    }
    at
}

/// A compiled expression, or a problem that says where it is wrong.
pub(in crate::gate::plan) fn expression(
    text: &str,
    scope: Scope<'_>,
    expects: Option<Type>,
    path: &[&str],
    problems: &mut Problems,
) -> Option<Expression> {
    match Expression::compile(text, scope, expects) {
        Ok(expression) => Some(expression),
        Err(error) => {
            let part = error.span.and_then(|(start, end)| text.get(start..end));
            let part = part.filter(|part| *part != text);
            let place = part
                .map(|part| format!(" (at `{part}`)"))
                .unwrap_or_default();
            problems.error(
                BAD_EXPRESSION,
                path,
                format!("{}{place}", error.message),
                "",
            );
            None
        }
    }
}

/// The constant in the field's type, or what is wrong with it.
fn constant_of(written: &serde_json::Value, field: &Field) -> Result<Value, String> {
    let value = match (written, field.kind) {
        (serde_json::Value::Null, _) if field.nullable => return Ok(Value::Null),
        (serde_json::Value::Null, _) => Err(()),
        (written, Type::Json) => Ok(Value::Json(written.to_string().into())),
        (serde_json::Value::String(text), _) => Ok(Value::text(text.as_str())),
        (serde_json::Value::Bool(flag), Type::Bool) => Ok(Value::Bool(*flag)),
        (serde_json::Value::Number(number), Type::Int | Type::Decimal { .. } | Type::Float) => {
            Ok(Value::Text(number.to_string()))
        }
        _ => Err(()),
    };
    let refused = || format!("{written} is not a value of type {}", field.kind);
    let value = value.map_err(|()| refused())?;
    let value =
        cast::cast(value, field.kind).map_err(|error| format!("{}: {}", refused(), error.why))?;
    match &field.allowed {
        Some(allowed) if !allowed.open && !allowed.values.contains(&value) => {
            let known: Vec<String> = allowed.values.iter().map(ToString::to_string).collect();
            Err(format!(
                "{written} is not among the allowed values: {}",
                known.join(", ")
            ))
        }
        _ => Ok(value),
    }
}
