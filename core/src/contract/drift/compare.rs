//! The comparison of a table with what is expected of it.

use crate::contract::Field;
use crate::deliver::column_kind;
use crate::gate::mapping::{FieldMap, FieldRule};
use crate::gate::{Problem, ReadPlan, WritePlan};
use crate::shape::{Column, Shape};
use crate::value::Type;

use super::{Action, Drift, Expected, Kind, Side};

/// Compares a table with what is expected of it: one entry per mapped field in contract order, then one per further column that matters.
///
/// A break is named once, at the field that it is about.
#[must_use]
pub fn compare(expected: Expected<'_>, now: &Shape) -> Vec<Drift> {
    let comparison = Comparison { expected, now };
    let mut drifts = comparison.fields();
    comparison.computed(&mut drifts);
    comparison.key(&mut drifts);
    comparison.unmapped(&mut drifts);
    comparison.compiled(&mut drifts);
    drifts
}

struct Comparison<'a> {
    expected: Expected<'a>,
    now: &'a Shape,
}

impl Comparison<'_> {
    fn fields(&self) -> Vec<Drift> {
        let Expected {
            contract, mapping, ..
        } = self.expected;
        let mapped = contract
            .fields
            .iter()
            .enumerate()
            .filter_map(|(at, field)| Some((at, field, mapping.fields.get(&field.name)?)));
        mapped
            .filter_map(|(at, field, map)| self.field(at, field, &map.rule()))
            .collect()
    }

    /// A field beside its column; a constant or a read expression has none.
    fn field(&self, at: usize, field: &Field, rule: &FieldRule) -> Option<Drift> {
        let name = rule.column.as_deref()?;
        let drift = |kind, reason, cure| Drift {
            field: field.name.clone(),
            column: Some(name.to_owned()),
            kind,
            reason,
            cure,
            adds: None,
        };
        let table = &self.now.name;
        let Some(place) = self.now.position(name) else {
            return Some(self.missing(at, field, rule, name));
        };
        let column = &self.now.columns[place];
        let was = self.was(name);
        if let Some((was, now)) = retyped(was, column)
            && !holds_all(was, now, self.expected.side)
            && !self.is_allowed(field, rule, now)
        {
            let reason = format!("column `{name}` of table `{table}` is {now} now, it was {was}");
            let cure = "set its type back, or change the field's type in a new version of the contract or its mapping";
            return Some(drift(Kind::Breaking, reason, cure.to_owned()));
        }
        if let Some((reason, cure)) = self.bounds(field, rule, column, was) {
            return Some(drift(Kind::Breaking, reason, cure));
        }
        let loosened = was.is_some_and(|was| !was.nullable) && column.nullable && !field.nullable;
        if loosened && self.expected.side == Side::Source {
            let reason = format!(
                "column `{name}` of table `{table}` may be null now, the field `{}` may not",
                field.name
            );
            let cure = "set it to NOT NULL again, or let the field be null in a new version of the contract";
            return Some(drift(Kind::Breaking, reason, cure.to_owned()));
        }
        let tightened = was.is_some_and(|was| was.nullable) && !column.nullable && field.nullable;
        if tightened && self.expected.side == Side::Target {
            let reason = format!(
                "column `{name}` of table `{table}` takes no null any more, the field `{}` may be null",
                field.name
            );
            let cure = "let it take null again, or forbid null in a new version of the contract";
            return Some(drift(Kind::Breaking, reason, cure.to_owned()));
        }
        Some(drift(Kind::Ok, String::new(), String::new()))
    }

    /// Whether a column's new type holds what the contract allows anyway: no more of a source, no less of a target.
    fn is_allowed(&self, field: &Field, rule: &FieldRule, now: Type) -> bool {
        let plain = rule.values.is_none() && rule.scale.is_none() && rule.format.is_none();
        let decimals = |one: Type| matches!(one, Type::Decimal { .. });
        plain
            && decimals(now)
            && decimals(field.kind)
            && holds_all(field.kind, now, self.expected.side)
    }

    /// Why the bounds of a column's values and those of its field do not go together: a target that takes less than the contract allows, a source that gives more than before and more than the contract allows.
    fn bounds(
        &self,
        field: &Field,
        rule: &FieldRule,
        now: &Column,
        was: Option<&Column>,
    ) -> Option<(String, String)> {
        // Other values stand in the column than in the field.
        if rule.values.is_some() || rule.scale.is_some() || rule.format.is_some() {
            return None;
        }
        let (column, table) = (&now.name, &self.now.name);
        let more = rule
            .prefix
            .as_ref()
            .map_or(0, |prefix| prefix.chars().count() as u64);
        let allowed = field
            .limits
            .max_length
            .map(|most| most.saturating_add(more));
        let length = now.length.map(u64::from);
        let before = was.and_then(|was| was.length).map(u64::from);
        let field_name = &field.name;
        match self.expected.side {
            Side::Target => {
                // One that was always shorter than the contract allows took what came so far.
                was?;
                let length = length?;
                let narrowed = before.is_none_or(|before| length < before);
                if !narrowed || allowed.is_some_and(|allowed| allowed <= length) {
                    return None;
                }
                let may = allowed.map_or("any number".to_owned(), |allowed| allowed.to_string());
                let reason = format!(
                    "column `{column}` of table `{table}` takes {length} characters now, the field `{field_name}` may have {may}"
                );
                let cure = "widen the column again, or bound the field by `maxLength` in a new version of the contract";
                Some((reason, cure.to_owned()))
            }
            Side::Source => {
                let (before, allowed) = (before?, allowed?);
                if length.is_some_and(|length| length <= before || length <= allowed) {
                    return None;
                }
                let now = length.map_or("any number of".to_owned(), |length| length.to_string());
                let reason = format!(
                    "column `{column}` of table `{table}` takes {now} characters now, it took {before}, and the field `{field_name}` may have {allowed}"
                );
                let cure = "narrow the column again, or raise the field's `maxLength` in a new version of the contract";
                Some((reason, cure.to_owned()))
            }
        }
    }

    fn missing(&self, at: usize, field: &Field, rule: &FieldRule, name: &str) -> Drift {
        let table = &self.now.name;
        let gone = if self.was(name).is_some() {
            "is gone"
        } else {
            "is not there"
        };
        let is_key = self.expected.contract.key.contains(&at);
        let adds = (self.expected.side == Side::Target && !is_key).then(|| Column {
            name: name.to_owned(),
            kind: Some(column_kind(field, rule)),
            nullable: true,
            length: None,
            list: false,
        });
        let cure = match self.expected.side {
            Side::Source => {
                "add it again, or map the field to another column; a field that has no column any more is a new version of the contract".to_owned()
            }
            // Said where nobody was able to yet, too, as where the right to is missing.
            Side::Target if adds.is_some() && self.takes_additions() => {
                "the policy `propagate` adds it, for which the user of `url` must be allowed to alter the table; or add it by hand".to_owned()
            }
            Side::Target if adds.is_some() => {
                "add it, or set `drift.additive = \"propagate\"` and it is added".to_owned()
            }
            Side::Target => "add it, or map the field to another column".to_owned(),
        };
        Drift {
            field: field.name.clone(),
            column: Some(name.to_owned()),
            kind: Kind::Breaking,
            reason: format!("column `{name}` of table `{table}` {gone}"),
            cure,
            adds,
        }
    }

    /// Columns that a target's mapping computes.
    fn computed(&self, drifts: &mut Vec<Drift>) {
        if self.expected.side == Side::Source {
            return;
        }
        for name in self.expected.mapping.columns.keys() {
            if self.now.position(name).is_none() {
                drifts.push(Drift {
                    field: name.clone(),
                    column: Some(name.clone()),
                    kind: Kind::Breaking,
                    reason: format!("column `{name}` of table `{}` is not there", self.now.name),
                    cure: "add it, or take it out of the mapping's `columns`".to_owned(),
                    adds: None,
                });
            }
        }
    }

    /// What rows of a source are known by.
    fn key(&self, drifts: &mut Vec<Drift>) {
        let Some(before) = self.expected.before else {
            return;
        };
        let names = |shape: &Shape| -> Vec<String> {
            let columns = shape.key.iter().filter_map(|at| shape.columns.get(*at));
            columns.map(|column| column.name.clone()).collect()
        };
        let (was, is) = (names(before), names(self.now));
        if self.expected.side == Side::Source && was != is {
            drifts.push(Drift {
                field: "*".to_owned(),
                column: None,
                kind: Kind::Breaking,
                reason: format!(
                    "the key of table `{}` is ({}) now, it was ({})",
                    self.now.name,
                    is.join(", "),
                    was.join(", ")
                ),
                cure: "set the key back, or map another table".to_owned(),
                adds: None,
            });
        }
    }

    /// Columns of a source that are new and that nobody mentions.
    fn unmapped(&self, drifts: &mut Vec<Drift>) {
        let Some(before) = self.expected.before else {
            return;
        };
        if self.expected.side == Side::Target {
            return;
        }
        for column in &self.now.columns {
            if before.position(&column.name).is_some() || self.mentions(&column.name) {
                continue;
            }
            drifts.push(Drift {
                field: column.name.clone(),
                column: Some(column.name.clone()),
                kind: Kind::Additive,
                reason: format!(
                    "column `{}` of table `{}` is new, and no field is mapped to it",
                    column.name, self.now.name
                ),
                cure: self.what_to_do_about(column).to_owned(),
                adds: self.may_add(column).then(|| column.clone()),
            });
        }
    }

    /// What is to be done about a new column, under the policy that there is.
    fn what_to_do_about(&self, column: &Column) -> &'static str {
        match self.expected.policy.additive {
            Action::Propagate if self.may_add(column) => {
                "nothing has to be done: the policy `propagate` takes it along with the next change, and `lockstep contract drift` shows then what to put into the contract's file"
            }
            Action::Propagate => {
                "the policy `propagate` cannot take it along, because of its name or its type: add a field to the contract in a new minor version and map it, or leave it out"
            }
            Action::Ignore => {
                "add the field to the contract in a new minor version and map it, or leave it out"
            }
            Action::Hold => {
                "add the field to the contract in a new minor version, map it and start again; to go on without it, set `drift.additive = \"ignore\"`, or `\"propagate\"` to take it along"
            }
            Action::Fail => {
                "add the field to the contract in a new minor version and map it, or set `drift.additive = \"ignore\"`, or `\"propagate\"` to take it along; then start again"
            }
        }
    }

    fn takes_additions(&self) -> bool {
        self.expected.policy.additive == Action::Propagate
    }

    /// Whether a new column may become a field: by its name, which no field has or had.
    fn may_add(&self, column: &Column) -> bool {
        let contract = self.expected.contract;
        let reserved = &contract.terms.reserved;
        let free = contract.field(&column.name).is_none() && !reserved.contains(&column.name);
        free && column.kind.is_some() && is_name(&column.name)
    }

    fn mentions(&self, column: &str) -> bool {
        let mapping = self.expected.mapping;
        let word = |text: &str| {
            let name = |c: char| c.is_alphanumeric() || c == '_';
            text.split(|c: char| !name(c)).any(|part| part == column)
        };
        // A document that is mapped brings all that stands inside it.
        let whole = |name: &str| {
            let inside = column.strip_prefix(name);
            inside.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        mapping.fields.values().any(|map| match map {
            FieldMap::Column(name) => whole(name),
            FieldMap::Rule(rule) => {
                rule.column.as_deref().is_some_and(whole) || rule.read.as_deref().is_some_and(word)
            }
        }) || mapping.filter.as_deref().is_some_and(word)
    }

    /// Whatever else keeps the mapping from being compiled.
    fn compiled(&self, drifts: &mut Vec<Drift>) {
        if drifts.iter().any(|drift| drift.kind == Kind::Breaking) {
            return;
        }
        let Expected {
            contract,
            mapping,
            values,
            side,
            ..
        } = self.expected;
        let problems = match side {
            Side::Source => ReadPlan::compile(mapping, self.now, contract, values, false).err(),
            Side::Target => WritePlan::compile(mapping, contract, self.now, values).err(),
        };
        for problem in problems.unwrap_or_default() {
            let Problem {
                path,
                message,
                help,
                ..
            } = problem;
            let field = match path.as_slice() {
                [section, field, ..] if section == "fields" => field.clone(),
                _ => "*".to_owned(),
            };
            // A field that was well by itself is not any more.
            drifts.retain(|drift| drift.kind != Kind::Ok || drift.field != field);
            drifts.push(Drift {
                field,
                column: None,
                kind: Kind::Breaking,
                reason: message,
                cure: help.unwrap_or_default(),
                adds: None,
            });
        }
    }

    fn was(&self, column: &str) -> Option<&Column> {
        let before = self.expected.before?;
        before.position(column).map(|at| &before.columns[at])
    }
}

/// The types of a column that has another one now.
fn retyped(was: Option<&Column>, now: &Column) -> Option<(Type, Type)> {
    let (was, now) = (was?.kind?, now.kind?);
    (was != now).then_some((was, now))
}

/// Whether nothing changes for the worse: a source gives no values that it could not give before, a target takes all that it took.
fn holds_all(was: Type, now: Type, side: Side) -> bool {
    match side {
        Side::Source => widens(now, was),
        Side::Target => widens(was, now),
    }
}

/// Whether every value of one type is one of the other.
fn widens(from: Type, to: Type) -> bool {
    match (from, to) {
        (
            Type::Decimal { precision, scale },
            Type::Decimal {
                precision: more,
                scale: finer,
            },
        ) => {
            let integer = |p: Option<u32>, s: Option<u32>| Some(p? - s.unwrap_or(0).min(p?));
            let finer_scale = finer.is_none() || (scale.is_some() && scale <= finer);
            let more_digits = more.is_none()
                || matches!((integer(precision, scale), integer(more, finer)), (Some(a), Some(b)) if a <= b);
            finer_scale && more_digits
        }
        (
            Type::Int,
            Type::Decimal {
                precision: None, ..
            },
        ) => true,
        (from, to) => from == to,
    }
}

/// Whether a column's name can be a field's.
fn is_name(name: &str) -> bool {
    let mut letters = name.chars();
    letters.next().is_some_and(|c| c.is_ascii_alphabetic())
        && letters.all(|c| c.is_ascii_alphanumeric() || c == '_')
        && name.len() <= 64
        && !["true", "false", "null", "in"].contains(&name)
}
