//! Rules over many records: no two alike, referenced values there, enough records, fresh enough.
//!
//! Takes records one by one and keeps hashes of 128 bits, about 40 bytes a record and rule; volume and freshness keep a few numbers.
//! Knows no clock and no systems: the time and the values of other entities are handed in.

use std::collections::HashSet;
use std::collections::hash_map::DefaultHasher;
use std::fmt::Display;
use std::hash::{Hash as _, Hasher as _};

use jiff::Timestamp;
use jiff::tz::Offset;

use super::scan::canonical;
use super::tally::Example;
use crate::contract::{Check, Class, Contract, Outcome, Tolerance};
use crate::shape::Row;
use crate::value::{Cell, Type, Value};

/// The rules of a contract that need more than one record.
#[derive(Debug)]
pub struct SetRules {
    rules: Vec<SetRule>,
    examples: usize,
}

/// A field of another entity that a rule needs the values of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referenced {
    /// The entity.
    pub entity: String,
    /// Its field.
    pub field: String,
    /// The type of the values that lead there.
    pub kind: Type,
}

/// What became of one rule over many records.
#[derive(Clone, Debug, PartialEq)]
pub struct SetResult {
    /// The rule's name.
    pub rule: String,
    /// The fields it looks at.
    pub fields: Vec<String>,
    /// What becomes of what breaks it.
    pub outcome: Outcome,
    /// Whether it holds.
    pub verdict: Held,
    /// How many records it looked at.
    pub checked: u64,
    /// How many of them break it.
    pub broken: u64,
    /// How many may.
    pub tolerance: Option<Tolerance>,
    /// The result in words.
    pub message: String,
    /// The first records that break it; their places, not their values.
    pub examples: Vec<Example>,
    /// What it was not given, where it could not be judged for that.
    pub lacks: Option<Referenced>,
}

/// Whether a rule over many records holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// It does, within its tolerance.
    Yes,
    /// It does not.
    No,
    /// There was nothing to judge it by.
    NotJudged,
}

#[derive(Debug)]
struct SetRule {
    name: String,
    fields: Vec<usize>,
    names: Vec<String>,
    /// The type of the first field.
    kind: Type,
    outcome: Outcome,
    tolerance: Option<Tolerance>,
    state: State,
    checked: u64,
    broken: u64,
    examples: Vec<Example>,
}

#[derive(Debug)]
enum State {
    Unique(HashSet<u128>),
    Exists {
        entity: String,
        field: String,
        known: Option<HashSet<u128>>,
    },
    Volume {
        least: Option<u64>,
        most: Option<u64>,
    },
    Fresh {
        within: u64,
        newest: Option<Timestamp>,
    },
}

impl SetRules {
    /// The rules of a contract: those written as rules, and that keys and fields marked so are unique and references lead somewhere.
    ///
    /// Keeps so many examples of each.
    #[must_use]
    pub fn of(contract: &Contract, examples: usize) -> SetRules {
        let mut rules: Vec<SetRule> = Vec::new();
        for rule in &contract.rules {
            let own = rule.field.as_deref();
            let (names, state) = match &rule.check {
                Check::Unique(fields) => (fields.clone(), State::Unique(HashSet::new())),
                Check::Exists { entity, field } => (
                    own.map(str::to_owned).into_iter().collect(),
                    exists(entity, field),
                ),
                Check::Volume { least, most } => (
                    Vec::new(),
                    State::Volume {
                        least: *least,
                        most: *most,
                    },
                ),
                Check::Fresh { within } => (
                    own.map(str::to_owned).into_iter().collect(),
                    State::Fresh {
                        within: *within,
                        newest: None,
                    },
                ),
                _ => continue,
            };
            let made = SetRule::new(contract, &rule.name, names, state);
            rules.extend(made.map(|made| SetRule {
                outcome: rule.outcome,
                tolerance: rule.tolerance,
                ..made
            }));
        }
        let has_unique = |rules: &[SetRule], fields: &[usize]| {
            rules
                .iter()
                .any(|rule| matches!(rule.state, State::Unique(_)) && rule.fields == fields)
        };
        let name = |at: &usize| contract.fields.get(*at).map(|field| field.name.clone());
        let mut unique = vec![("key".to_owned(), contract.key.clone())];
        let marked = contract.fields.iter().enumerate();
        unique.extend(
            marked
                .filter(|(_, field)| field.unique)
                .map(|(at, field)| (format!("unique_{}", field.name), vec![at])),
        );
        for (rule, fields) in unique {
            if !has_unique(&rules, &fields) {
                let names = fields.iter().filter_map(name).collect();
                let state = State::Unique(HashSet::new());
                rules.extend(SetRule::new(contract, &rule, names, state));
            }
        }
        for field in &contract.fields {
            let Some(reference) = &field.reference else {
                continue;
            };
            let state = exists(&reference.entity, &reference.field);
            let said = rules.iter().any(|rule| {
                rule.names == [field.name.as_str()]
                    && matches!(&rule.state, State::Exists { entity, field, .. }
                        if *entity == reference.entity && *field == reference.field)
            });
            if !said {
                let rule = format!("{}_exists", field.name);
                let made = SetRule::new(contract, &rule, vec![field.name.clone()], state);
                rules.extend(made.map(|made| SetRule {
                    outcome: field.outcome,
                    ..made
                }));
            }
        }
        SetRules { rules, examples }
    }

    /// Whether there is nothing to judge.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The positions of the fields that the rules look at.
    #[must_use]
    pub fn inputs(&self) -> Vec<usize> {
        let mut all: Vec<usize> = self
            .rules
            .iter()
            .flat_map(|rule| rule.fields.clone())
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The fields of other entities whose values have to be handed to [`SetRules::know`] first.
    #[must_use]
    pub fn references(&self) -> Vec<Referenced> {
        let mut all: Vec<Referenced> = Vec::new();
        for rule in &self.rules {
            if let State::Exists { entity, field, .. } = &rule.state
                && !all.iter().any(|r| r.entity == *entity && r.field == *field)
            {
                all.push(Referenced {
                    entity: entity.clone(),
                    field: field.clone(),
                    kind: rule.kind,
                });
            }
        }
        all
    }

    /// Takes a value that stands in a field of another entity; with none, says that the entity is there though it may be empty.
    pub fn know(&mut self, entity: &str, field: &str, value: Option<&Value>) {
        for rule in &mut self.rules {
            if let State::Exists {
                entity: wanted,
                field: column,
                known,
            } = &mut rule.state
                && wanted == entity
                && column == field
            {
                let known = known.get_or_insert_with(HashSet::new);
                if let Some(value) = value.filter(|value| !value.is_null()) {
                    known.insert(digest([value].into_iter()));
                }
            }
        }
    }

    /// Takes a whole record in contract shape; `at` says where it stands.
    pub fn add(&mut self, row: &Row, at: &dyn Display) {
        for rule in &mut self.rules {
            let breaks = rule.judge(row);
            if breaks {
                rule.broken += 1;
                if rule.examples.len() < self.examples {
                    rule.examples.push(Example {
                        at: at.to_string(),
                        message: rule.said(),
                    });
                }
            }
        }
    }

    /// The results, in the order of the rules.
    #[must_use]
    pub fn finish(self, now: Timestamp) -> Vec<SetResult> {
        self.rules
            .into_iter()
            .map(|rule| rule.finish(now))
            .collect()
    }
}

fn exists(entity: &str, field: &str) -> State {
    State::Exists {
        entity: entity.to_owned(),
        field: field.to_owned(),
        known: None,
    }
}

impl SetRule {
    /// A rule over these fields; `None` where the contract lacks one of them.
    fn new(contract: &Contract, name: &str, names: Vec<String>, state: State) -> Option<SetRule> {
        let fields = names.iter().map(|name| contract.field(name));
        let fields: Vec<usize> = fields.collect::<Option<_>>()?;
        let first = fields.first().and_then(|at| contract.fields.get(*at));
        Some(SetRule {
            name: name.to_owned(),
            kind: first.map_or(Type::Text, |field| field.kind),
            fields,
            names,
            outcome: Outcome::Quarantine,
            tolerance: None,
            state,
            checked: 0,
            broken: 0,
            examples: Vec::new(),
        })
    }

    /// Whether the record breaks the rule, as far as a record can.
    fn judge(&mut self, row: &Row) -> bool {
        match &mut self.state {
            State::Volume { .. } => {
                self.checked += 1;
                false
            }
            State::Fresh { newest, .. } => {
                self.checked += 1;
                let value = self.fields.first().and_then(|at| row.value(*at));
                *newest = (*newest).max(value.and_then(instant));
                false
            }
            State::Unique(seen) => {
                self.checked += 1;
                // As in databases, nothing equals what is not there.
                digest_of(row, &self.fields).is_some_and(|digest| !seen.insert(digest))
            }
            State::Exists { known: None, .. } => false,
            State::Exists {
                known: Some(known), ..
            } => {
                self.checked += 1;
                digest_of(row, &self.fields).is_some_and(|digest| !known.contains(&digest))
            }
        }
    }

    fn said(&self) -> String {
        match &self.state {
            State::Exists { entity, field, .. } => {
                format!("the value is not in `{field}` of `{entity}`")
            }
            _ => format!(
                "an earlier record has the same {}",
                self.names.join(" and ")
            ),
        }
    }

    fn finish(mut self, now: Timestamp) -> SetResult {
        let (verdict, message) = match &self.state {
            State::Unique(_) => self.shared("repeat an earlier one"),
            State::Exists { known: Some(_), .. } => self.shared("lead nowhere"),
            State::Exists { entity, field, .. } => (
                Held::NotJudged,
                format!("the values of `{field}` of `{entity}` were not given"),
            ),
            State::Volume { least, most } => {
                let checked = self.checked;
                let few = least.filter(|least| checked < *least);
                let many = most.filter(|most| checked > *most);
                match (few, many) {
                    (Some(least), _) => (
                        Held::No,
                        format!("there are {checked} records; at least {least} are needed"),
                    ),
                    (_, Some(most)) => (
                        Held::No,
                        format!("there are {checked} records; at most {most} are allowed"),
                    ),
                    _ => (Held::Yes, format!("there are {checked} records")),
                }
            }
            State::Fresh { within, newest } => fresh(*within, *newest, now),
        };
        if verdict == Held::No && self.broken == 0 {
            self.broken = 1;
        }
        let lacks = match self.state {
            State::Exists {
                entity,
                field,
                known: None,
            } => Some(Referenced {
                entity,
                field,
                kind: self.kind,
            }),
            _ => None,
        };
        SetResult {
            lacks,
            rule: self.name,
            fields: self.names,
            outcome: self.outcome,
            verdict,
            checked: self.checked,
            broken: self.broken,
            tolerance: self.tolerance,
            message,
            examples: self.examples,
        }
    }

    fn shared(&self, what: &str) -> (Held, String) {
        let (broken, checked) = (self.broken, self.checked);
        let held = tolerated(self.tolerance, broken, checked);
        let verdict = if held { Held::Yes } else { Held::No };
        (verdict, format!("{broken} of {checked} records {what}"))
    }
}

impl SetResult {
    /// The share of records that break the rule, from 0 to 1.
    #[must_use]
    pub fn share(&self) -> f64 {
        if self.checked == 0 {
            return 0.0;
        }
        self.broken as f64 / self.checked as f64
    }
}

/// Whether so many broken records are within the tolerance.
#[must_use]
pub fn tolerated(tolerance: Option<Tolerance>, broken: u64, checked: u64) -> bool {
    match tolerance {
        None => broken == 0,
        Some(Tolerance::Records(most)) => broken <= most,
        Some(Tolerance::Percent(most)) => broken as f64 * 100.0 <= most * checked as f64,
    }
}

fn fresh(within: u64, newest: Option<Timestamp>, now: Timestamp) -> (Held, String) {
    let Some(newest) = newest else {
        return (Held::No, "no record says how old it is".to_owned());
    };
    let age = now.as_second().saturating_sub(newest.as_second());
    let held = age <= i64::try_from(within).unwrap_or(i64::MAX);
    let verdict = if held { Held::Yes } else { Held::No };
    (
        verdict,
        format!(
            "the newest record is {} s old; {within} s are allowed",
            age.max(0)
        ),
    )
}

/// The instant that a value of a time field says; a day begins at midnight in UTC.
fn instant(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Timestamp(at) => Some(*at),
        Value::Date(day) => Offset::UTC
            .to_timestamp(day.to_datetime(jiff::civil::Time::midnight()))
            .ok(),
        _ => None,
    }
}

fn digest_of(row: &Row, fields: &[usize]) -> Option<u128> {
    let values = fields.iter().map(|at| match row.cell(*at) {
        Cell::Set(Value::Null) | Cell::Unchanged => None,
        Cell::Set(value) => Some(value),
    });
    let values = values.collect::<Option<Vec<_>>>()?;
    (!values.is_empty()).then(|| digest(values.into_iter()))
}

/// A hash that equal values share; two halves of 64 bits each, so that different values do not meet by accident.
fn digest<'v>(values: impl Iterator<Item = &'v Value>) -> u128 {
    let (mut first, mut second) = (DefaultHasher::new(), DefaultHasher::new());
    second.write_u8(1);
    for value in values {
        let text = match value {
            // Numerically equal decimals are equal, and a whole one equals the integer.
            Value::Decimal(number) => {
                let text = number.as_str();
                match text.contains('.') {
                    true => text.trim_end_matches('0').trim_end_matches('.').into(),
                    false => text.into(),
                }
            }
            Value::Json(text) => canonical(text).unwrap_or_else(|| text.as_ref().to_owned()),
            Value::Text(text) => {
                text.hash(&mut first);
                text.hash(&mut second);
                continue;
            }
            other => other.to_string(),
        };
        text.hash(&mut first);
        text.hash(&mut second);
    }
    (u128::from(first.finish()) << 64) | u128::from(second.finish())
}

/// Whether the values of a rule's fields may be shown.
#[must_use]
pub fn is_visible(contract: &Contract, result: &SetResult) -> bool {
    result.fields.iter().all(|name| {
        contract
            .field(name)
            .is_some_and(|at| contract.fields[at].class < Class::Personal)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{Field, Reference, Rule};

    fn contract() -> Contract {
        let mut fields = vec![
            Field::new("id", Type::Int),
            Field::new("customer", Type::Text),
            Field::new("at", Type::Timestamp),
        ];
        fields[1].reference = Some(Reference {
            entity: "customer".to_owned(),
            field: "id".to_owned(),
        });
        let rule = |name: &str, field: Option<&str>, check, tolerance| Rule {
            name: name.to_owned(),
            field: field.map(str::to_owned),
            check,
            outcome: Outcome::Warn,
            tolerance,
        };
        let mut contract = Contract::new("order", semver::Version::new(1, 0, 0), fields);
        let pair = vec!["customer".to_owned(), "at".to_owned()];
        contract.rules = vec![
            rule(
                "one_at_a_time",
                None,
                Check::Unique(pair),
                Some(Tolerance::Percent(30.0)),
            ),
            rule(
                "enough",
                None,
                Check::Volume {
                    least: Some(3),
                    most: Some(4),
                },
                None,
            ),
            rule("fresh", Some("at"), Check::Fresh { within: 60 }, None),
            rule("named", Some("customer"), Check::NotNull, None),
        ];
        contract
    }

    fn judged(rows: &[(i64, Option<&str>, i64)], customers: Option<&[&str]>) -> Vec<SetResult> {
        let mut rules = SetRules::of(&contract(), 2);
        assert_eq!(rules.inputs(), [0, 1, 2]);
        let wanted = Referenced {
            entity: "customer".to_owned(),
            field: "id".to_owned(),
            kind: Type::Text,
        };
        assert_eq!(rules.references(), [wanted]);
        for name in customers.into_iter().flatten() {
            rules.know("customer", "id", Some(&Value::text(*name)));
        }
        for (line, (id, customer, at)) in rows.iter().enumerate() {
            let customer = customer.map_or(Value::Null, Value::text);
            let at = Value::Timestamp(Timestamp::from_second(*at).unwrap());
            rules.add(&Row::of([Value::Int(*id), customer, at]), &(line + 1));
        }
        rules.finish(Timestamp::from_second(1_000).unwrap())
    }

    #[test]
    fn each_rule_over_many_records_is_judged() {
        let rows = [
            (1, Some("a"), 950),
            (2, Some("a"), 950),
            (2, None, 900),
            (3, None, 900),
        ];
        let results = judged(&rows, Some(&["a"]));
        let told: Vec<_> = results
            .iter()
            .map(|r| (r.rule.as_str(), r.verdict, r.broken, r.message.as_str()))
            .collect();
        assert_eq!(
            told,
            [
                (
                    "one_at_a_time",
                    Held::Yes,
                    1,
                    "1 of 4 records repeat an earlier one"
                ),
                ("enough", Held::Yes, 0, "there are 4 records"),
                (
                    "fresh",
                    Held::Yes,
                    0,
                    "the newest record is 50 s old; 60 s are allowed"
                ),
                ("key", Held::No, 1, "1 of 4 records repeat an earlier one"),
                (
                    "customer_exists",
                    Held::Yes,
                    0,
                    "0 of 4 records lead nowhere"
                ),
            ]
        );
        assert_eq!(results[3].examples[0].at, "3");
        assert!((results[0].share() - 0.25).abs() < 1e-9);
    }

    #[test]
    fn what_breaks_is_told_and_what_cannot_be_judged_too() {
        let results = judged(&[(1, Some("a"), 1), (2, Some("b"), 2)], Some(&["a"]));
        let verdicts: Vec<_> = results.iter().map(|r| r.verdict).collect();
        assert_eq!(
            verdicts,
            [Held::Yes, Held::No, Held::No, Held::Yes, Held::No]
        );
        assert_eq!(
            results[1].message,
            "there are 2 records; at least 3 are needed"
        );
        assert_eq!(
            results[4].examples[0].message,
            "the value is not in `id` of `customer`"
        );
        let results = judged(&[], None);
        let verdicts: Vec<_> = results.iter().map(|r| r.verdict).collect();
        assert_eq!(
            verdicts,
            [Held::Yes, Held::No, Held::No, Held::Yes, Held::NotJudged]
        );
    }

    #[test]
    fn equal_values_are_found_whatever_their_form() {
        let same = |a: &Value, b: &Value| digest([a].into_iter()) == digest([b].into_iter());
        let decimal = |text: &str| Value::Decimal(text.parse().unwrap());
        assert!(same(&decimal("1.50"), &decimal("1.5")) && same(&decimal("10"), &Value::Int(10)));
        assert!(same(
            &Value::Json("{\"a\": 1}".into()),
            &Value::Json("{\"a\":1.0}".into())
        ));
        assert!(!same(&Value::text("a"), &Value::text("b")));
        let pair = |a: &str, b: &str| digest([&Value::text(a), &Value::text(b)].into_iter());
        assert_ne!(pair("ab", "c"), pair("a", "bc"));
    }
}
