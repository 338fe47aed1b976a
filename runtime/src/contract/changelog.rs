//! What changed between two versions of a contract, part by part.
//!
//! A contract is taken apart into parts under the pointers that findings use, so a change and the finding about it meet by name.
//! Knows nothing of compatibility: whoever has findings says which changes break.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_core::contract::wire::to_json;
use lockstep_core::contract::{Check, Contract, Deprecation, Extra, Field, Inner, Loaded, Rule};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value as Json, json};

/// One part that changed.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Change {
    /// What became of it.
    pub what: What,
    /// Whom it concerns.
    pub group: Group,
    /// The part, such as `/fields/email/limits/maxLength`.
    pub pointer: String,
    /// The change in words.
    pub message: String,
    /// The part as it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Json>,
    /// The part as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Json>,
    /// The rules that it breaks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<&'static str>,
}

/// What became of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It is another.
    Changed,
}

/// Whom a change concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Group {
    /// Whoever writes or reads the entity.
    Breaking,
    /// Nobody needs to do anything.
    Compatible,
    /// People who read the contract.
    Documentation,
}

/// The changes from one version to another; `breaks` gives the rules that are broken at a part.
#[must_use]
pub fn changes(
    old: &Loaded,
    new: &Loaded,
    breaks: &dyn Fn(&str) -> Vec<&'static str>,
) -> Vec<Change> {
    let (mut before, mut after) = (parts(&old.contract), parts(&new.contract));
    let mut words = BTreeSet::new();
    // A release leaves out what only people read, so that it says nothing of it.
    if let (Some(was), Some(is)) = (old.places.remarks(), new.places.remarks()) {
        for (parts, remarks) in [(&mut before, was), (&mut after, is)] {
            words.extend(remarks.keys().cloned());
            parts.extend(remarks.clone());
        }
    }
    let mut changes = Vec::new();
    let pointers: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for pointer in pointers {
        let (was, is) = (before.get(pointer), after.get(pointer));
        if was == is {
            continue;
        }
        let what = match (was, is) {
            (None, _) => What::Added,
            (_, None) => What::Removed,
            _ => What::Changed,
        };
        // What holds a part and came or went with it has said so already.
        let gone = if what == What::Added { &before } else { &after };
        if what != What::Changed
            && holders(pointer).any(|holder| is_whole(holder) && !gone.contains_key(holder))
        {
            continue;
        }
        let rules = breaks(pointer);
        let group = if !rules.is_empty() {
            Group::Breaking
        } else if is_documentation(pointer) || words.contains(pointer) {
            Group::Documentation
        } else {
            Group::Compatible
        };
        let message = if is_whole(pointer) {
            whole(
                what,
                pointer,
                if what == What::Removed {
                    &before
                } else {
                    &after
                },
            )
        } else {
            message(what, pointer, was, is)
        };
        changes.push(Change {
            message,
            what,
            group,
            pointer: pointer.clone(),
            old: was.filter(|_| !is_whole(pointer)).cloned(),
            new: is.filter(|_| !is_whole(pointer)).cloned(),
            rules,
        });
    }
    join_renamed(&old.contract, &new.contract, &mut changes);
    changes.sort_by(|a, b| (a.group, &a.pointer).cmp(&(b.group, &b.pointer)));
    changes
}

/// Says of a rule that came as another one went, and is the same, that it has another name.
fn join_renamed(old: &Contract, new: &Contract, changes: &mut Vec<Change>) {
    let only = |these: &Contract, those: &Contract| -> Vec<Rule> {
        let known = |rule: &&Rule| !those.rules.iter().any(|other| other.name == rule.name);
        these.rules.iter().filter(known).cloned().collect()
    };
    let mut fresh = only(new, old);
    for gone in only(old, new) {
        let same = |rule: &Rule| {
            let named = Rule {
                name: gone.name.clone(),
                ..rule.clone()
            };
            named == gone
        };
        let Some(at) = fresh.iter().position(same) else {
            continue;
        };
        let rule = fresh.remove(at);
        let pointer = |rule: &Rule| format!("/rules/{}", rule.name);
        let (was, is) = (pointer(&gone), pointer(&rule));
        changes.retain(|change| change.pointer != was && change.pointer != is);
        changes.push(Change {
            what: What::Changed,
            group: Group::Documentation,
            pointer: is,
            message: format!("rule `{}` renamed to `{}`", gone.name, rule.name),
            old: Some(gone.name.clone().into()),
            new: Some(rule.name.into()),
            rules: Vec::new(),
        });
    }
}

fn holders(pointer: &str) -> impl Iterator<Item = &str> {
    pointer
        .match_indices('/')
        .skip(1)
        .map(|(at, _)| &pointer[..at])
}

/// Whether a pointer is that of a field or a rule as a whole.
fn is_whole(pointer: &str) -> bool {
    let above = pointer.rsplit('/').nth(1);
    matches!(above, Some("fields" | "rules" | "migrations"))
        || pointer.ends_with("/items")
        || pointer.ends_with("/values")
}

/// The message about a field or a rule that came or went.
fn whole(what: What, pointer: &str, parts: &BTreeMap<String, Json>) -> String {
    let texts = ["type", "required", "check"]
        .into_iter()
        .filter_map(|part| parts.get(&format!("{pointer}/{part}")));
    let said: Vec<&str> = texts.filter_map(Json::as_str).collect();
    let verb = if what == What::Removed {
        "removed"
    } else {
        "added"
    };
    format!("{} {verb} ({})", words(pointer), said.join(", "))
}

fn is_documentation(pointer: &str) -> bool {
    pointer.ends_with("/description") || pointer == "/status" || pointer.starts_with("/approvers")
}

fn message(what: What, pointer: &str, was: Option<&Json>, is: Option<&Json>) -> String {
    let name = words(pointer);
    let value = |json: Option<&Json>| json.map_or_else(String::new, short);
    match what {
        What::Added => format!("{name} added: {}", value(is)),
        What::Removed => format!("{name} removed: it was {}", value(was)),
        What::Changed if pointer.ends_with("/description") => format!("{name} reworded"),
        What::Changed => format!("{name} changed from {} to {}", value(was), value(is)),
    }
}

/// A pointer as people say it: `field `address.street`, limits maxLength`.
fn words(pointer: &str) -> String {
    let mut names = Vec::new();
    let mut rest: Vec<&str> = Vec::new();
    let mut parts = pointer.split('/').skip(1);
    while let Some(part) = parts.next() {
        match part {
            "fields" if rest.is_empty() => names.extend(parts.next()),
            "items" | "values" if rest.is_empty() && !names.is_empty() => names.push(part),
            part => rest.push(part),
        }
    }
    match (names.is_empty(), rest.as_slice()) {
        (true, [kind @ ("rules" | "levels"), name @ ..]) => {
            format!("{} `{}`", kind.trim_end_matches('s'), name.join(" "))
        }
        (true, rest) => rest.join(" "),
        (false, []) => format!("field `{}`", names.join(".")),
        (false, rest) => format!("field `{}`, {}", names.join("."), rest.join(" ")),
    }
}

fn short(json: &Json) -> String {
    const SHOWN: usize = 80;
    let text = match json {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut short: String = text.chars().take(SHOWN).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("`{short}`")
}

/// Every part of a contract that says something, by pointer.
#[must_use]
pub fn parts(contract: &Contract) -> BTreeMap<String, Json> {
    let mut parts = Parts::default();
    let terms = &contract.terms;
    parts.put("/id", json!(contract.id));
    parts.put("/entity", json!(contract.entity));
    parts.some("/description", contract.description.as_ref());
    let names = |positions: &[usize]| -> Vec<&str> {
        positions
            .iter()
            .filter_map(|at| contract.fields.get(*at))
            .map(|field| field.name.as_str())
            .collect()
    };
    parts.put("/key", json!(names(&contract.key)));
    parts.put("/laneKey", json!(names(&contract.lane_key)));
    parts.put("/lanes", json!(contract.lanes));
    parts.some("/owner", contract.owner.as_ref());
    parts.put("/truth", json!(contract.truth));
    parts.put("/deletes", json!(contract.deletes));
    parts.put("/extra", json!(contract.extra));
    let compatibility = &terms.compatibility;
    parts.put(
        "/compatibility",
        json!({ "direction": compatibility.direction, "transitive": compatibility.transitive }),
    );
    parts.list("/consumers", &terms.consumers);
    parts.list("/reserved", &terms.reserved);
    parts.some("/status", terms.status.as_ref());
    parts.some("/match", terms.matching.as_ref());
    parts.some("/survivorship", terms.survivorship.as_ref());
    parts.deprecation("", terms.deprecation.as_ref());
    for (role, names) in &terms.approvers {
        parts.put(&format!("/approvers/{role}"), json!(names));
    }
    for level in &terms.levels {
        let element = level
            .element
            .as_ref()
            .map_or_else(String::new, |element| format!("/{element}"));
        let value = json!({ "value": level.value, "unit": level.unit });
        parts.put(&format!("/levels/{}{element}", level.property), value);
    }
    // What a service level implies comes and goes with the level.
    let own = contract.rules.iter();
    for rule in own.filter(|rule| !terms.implies(&contract.entity, rule)) {
        parts.rule(rule);
    }
    for migration in &contract.migrations {
        let name = format!("/migrations/{}→{}", migration.from, migration.to);
        parts.put(
            &name,
            json!(format!(
                "{} steps up, {} down",
                migration.up.len(),
                migration.down.len()
            )),
        );
    }
    for field in &contract.fields {
        parts.field(&format!("/fields/{}", field.name), field);
    }
    parts.by_pointer
}

#[derive(Default)]
struct Parts {
    by_pointer: BTreeMap<String, Json>,
}

impl Parts {
    fn put(&mut self, pointer: &str, value: Json) {
        self.by_pointer.insert(pointer.to_owned(), value);
    }

    fn some<T: Serialize>(&mut self, pointer: &str, value: Option<T>) {
        if let Some(value) = value {
            self.put(pointer, json!(value));
        }
    }

    fn list<T: Serialize>(&mut self, pointer: &str, values: &[T]) {
        if !values.is_empty() {
            self.put(pointer, json!(values));
        }
    }

    fn flag(&mut self, pointer: &str, flag: bool) {
        if flag {
            self.put(pointer, json!(true));
        }
    }

    fn field(&mut self, at: &str, field: &Field) {
        let presence = match (field.required, field.nullable) {
            (true, false) => "required",
            (true, true) => "required, may be null",
            (false, false) => "optional, never null",
            (false, true) => "optional",
        };
        // A field as a whole is a part that does not change with its parts.
        self.put(at, json!(true));
        self.put(&format!("{at}/type"), json!(field.kind.to_string()));
        self.put(&format!("{at}/required"), json!(presence));
        self.some(&format!("{at}/description"), field.description.as_ref());
        self.limits(at, field);
        if let Some(allowed) = &field.allowed {
            let values: Vec<Json> = allowed.values.iter().map(to_json).collect();
            self.put(&format!("{at}/allowed"), json!(values));
            self.flag(&format!("{at}/allowed/open"), allowed.open);
            self.some(
                &format!("{at}/allowed/fallback"),
                allowed.fallback.as_ref().map(to_json),
            );
        }
        self.some(
            &format!("{at}/default"),
            field.default.as_ref().map(to_json),
        );
        self.put(&format!("{at}/class"), json!(field.class));
        for (system, handling) in &field.handling {
            self.put(&format!("{at}/handling/{system}"), json!(handling));
        }
        self.some(&format!("{at}/owner"), field.owner.as_ref());
        self.some(&format!("{at}/truth"), field.truth);
        self.flag(&format!("{at}/unique"), field.unique);
        let reference = field.reference.as_ref();
        self.some(
            &format!("{at}/reference"),
            reference.map(|to| format!("{}.{}", to.entity, to.field)),
        );
        self.deprecation(at, field.deprecation.as_ref());
        if let Some(personal) = &field.personal {
            let value = json!({
                "category": personal.category, "subject": personal.subject, "retentionDays": personal.retention_days,
            });
            self.put(&format!("{at}/personal"), value);
        }
        self.put(&format!("{at}/outcome"), json!(field.outcome));
        self.inner(at, field.inner.as_ref());
    }

    fn inner(&mut self, at: &str, inner: Option<&Inner>) {
        match inner {
            None => {}
            Some(Inner::Object { fields, extra }) => {
                if *extra != Extra::default() {
                    self.put(&format!("{at}/extra"), json!(extra));
                }
                for field in fields {
                    self.field(&format!("{at}/fields/{}", field.name), field);
                }
            }
            Some(Inner::List {
                items,
                least,
                most,
                unique,
            }) => {
                self.some(&format!("{at}/limits/minItems"), *least);
                self.some(&format!("{at}/limits/maxItems"), *most);
                self.flag(&format!("{at}/limits/uniqueItems"), *unique);
                self.field(&format!("{at}/items"), items);
            }
            Some(Inner::Map {
                values,
                least,
                most,
            }) => {
                self.some(&format!("{at}/limits/minProperties"), *least);
                self.some(&format!("{at}/limits/maxProperties"), *most);
                self.field(&format!("{at}/values"), values);
            }
        }
    }

    fn limits(&mut self, at: &str, field: &Field) {
        let limits = &field.limits;
        self.some(&format!("{at}/limits/minLength"), limits.min_length);
        self.some(&format!("{at}/limits/maxLength"), limits.max_length);
        self.some(&format!("{at}/limits/pattern"), limits.pattern.as_ref());
        self.some(
            &format!("{at}/limits/minimum"),
            limits.minimum.as_ref().map(to_json),
        );
        self.some(
            &format!("{at}/limits/maximum"),
            limits.maximum.as_ref().map(to_json),
        );
        self.flag(
            &format!("{at}/limits/exclusiveMinimum"),
            limits.exclusive_minimum,
        );
        self.flag(
            &format!("{at}/limits/exclusiveMaximum"),
            limits.exclusive_maximum,
        );
        self.some(
            &format!("{at}/limits/multipleOf"),
            limits.multiple_of.as_ref().map(to_json),
        );
        self.some(&format!("{at}/limits/format"), limits.format);
    }

    fn deprecation(&mut self, at: &str, deprecation: Option<&Deprecation>) {
        let value = deprecation.map(|deprecation| {
            let mut value = Map::new();
            let mut put = |key: &str, text: Option<String>| {
                if let Some(text) = text {
                    value.insert(key.to_owned(), text.into());
                }
            };
            put("since", deprecation.since.as_ref().map(ToString::to_string));
            put("sunset", deprecation.sunset.map(|day| day.to_string()));
            put("replacement", deprecation.replacement.clone());
            Json::Object(value)
        });
        self.some(&format!("{at}/deprecation"), value);
    }

    fn rule(&mut self, rule: &Rule) {
        let at = format!("/rules/{}", rule.name);
        self.put(&at, json!(true));
        self.some(&format!("{at}/field"), rule.field.as_ref());
        self.put(&format!("{at}/check"), json!(check(&rule.check)));
        self.put(&format!("{at}/outcome"), json!(rule.outcome));
        self.some(
            &format!("{at}/tolerance"),
            rule.tolerance.map(|tolerance| format!("{tolerance:?}")),
        );
    }
}

/// A check in words.
fn check(check: &Check) -> String {
    let list = |values: &[lockstep_core::Value]| {
        let values: Vec<String> = values
            .iter()
            .map(|value| to_json(value).to_string())
            .collect();
        values.join(", ")
    };
    let bound = |value: Option<String>| value.unwrap_or_else(|| "…".to_owned());
    match check {
        Check::Holds(expression) => expression.clone(),
        Check::NotNull => "is not null".to_owned(),
        Check::NotMissing(values) => format!("is none of {}", list(values)),
        Check::OneOf(values) => format!("is one of {}", list(values)),
        Check::Matches(pattern) => format!("matches {pattern}"),
        Check::Between(least, most) => {
            let end = |value: &Option<lockstep_core::Value>| {
                bound(value.as_ref().map(|value| to_json(value).to_string()))
            };
            format!("is between {} and {}", end(least), end(most))
        }
        Check::Length(least, most) => {
            format!(
                "is {} to {} long",
                bound(least.map(|n| n.to_string())),
                bound(most.map(|n| n.to_string()))
            )
        }
        Check::Unique(fields) => format!("{} together are unique", fields.join(", ")),
        Check::Exists { entity, field } => format!("stands in {entity}.{field}"),
        Check::Volume { least, most } => {
            format!(
                "there are {} to {} records",
                bound(least.map(|n| n.to_string())),
                bound(most.map(|n| n.to_string()))
            )
        }
        Check::Fresh { within } => format!("is at most {within} seconds old"),
    }
}

#[cfg(test)]
mod tests {
    use lockstep_core::Type;

    use super::*;

    fn contract(fields: Vec<Field>) -> Loaded {
        Loaded {
            contract: Contract::new("thing", Version::new(1, 0, 0), fields),
            places: Default::default(),
            findings: Vec::new(),
        }
    }

    use semver::Version;

    #[test]
    fn every_change_is_named_once_and_grouped() {
        let id = || Field::new("id", Type::Text);
        let mut old_name = Field::new("name", Type::Text);
        old_name.limits.max_length = Some(100);
        let mut new_name = old_name.clone();
        new_name.limits.max_length = Some(50);
        new_name.description = Some("What it is called.".to_owned());
        let address = |members: &[&str]| {
            let mut field = Field::new("address", Type::Json);
            let fields = members
                .iter()
                .map(|name| Field::new(*name, Type::Text))
                .collect();
            field.inner = Some(Inner::Object {
                fields,
                extra: Extra::Reject,
            });
            field
        };
        let old = contract(vec![
            id(),
            old_name,
            Field::new("gone", Type::Int),
            address(&["street"]),
        ]);
        let new = contract(vec![
            id(),
            new_name,
            Field::new("fresh", Type::Int),
            address(&["street", "town"]),
        ]);
        let breaks = |pointer: &str| match pointer {
            "/fields/gone" => vec!["LSC-FIELD-REMOVED"],
            _ => Vec::new(),
        };
        let found: Vec<(Group, String)> = changes(&old, &new, &breaks)
            .into_iter()
            .map(|change| (change.group, change.message))
            .collect();
        let expected = [
            (Group::Breaking, "field `gone` removed (int, required)"),
            (
                Group::Compatible,
                "field `address.town` added (text, required)",
            ),
            (Group::Compatible, "field `fresh` added (int, required)"),
            (
                Group::Compatible,
                "field `name`, limits maxLength changed from `100` to `50`",
            ),
            (
                Group::Documentation,
                "field `name`, description added: `What it is called.`",
            ),
        ];
        let expected: Vec<_> = expected
            .map(|(group, message)| (group, message.to_owned()))
            .to_vec();
        assert_eq!(found, expected);
        assert!(changes(&old, &old, &breaks).is_empty());
    }
}
