//! A contract taken apart: everything that it says, under the pointers that findings use.

use std::collections::BTreeMap;

use lockstep_core::contract::wire::to_json;
use lockstep_core::contract::{Check, Contract, Deprecation, Extra, Field, Inner, Rule, document};
use serde::Serialize;
use serde_json::{Map, Value as Json, json};

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
    for (migration, steps) in contract.migrations.iter().zip(migrations(contract)) {
        let name = format!("/migrations/{}→{}", migration.from, migration.to);
        parts.put(&name, json!(true));
        for way in ["up", "down"] {
            parts.put(&format!("{name}/{way}"), steps[way].clone());
        }
    }
    for field in &contract.fields {
        parts.field(&format!("/fields/{}", field.name), field);
    }
    parts.by_pointer
}

/// The steps of every migration, as a contract is written.
fn migrations(contract: &Contract) -> Vec<Json> {
    if contract.migrations.is_empty() {
        return Vec::new();
    }
    let written = document::write(contract);
    let of = |part: &Json| part["customProperties"].as_array().cloned();
    let customs = [of(&written), of(&written["schema"][0])];
    let mut customs = customs.iter().flatten().flatten();
    let named = |custom: &&Json| custom["property"] == "lockstep.migrations";
    let listed = customs.find(named);
    let listed = listed.and_then(|custom| custom["value"].as_array());
    listed.cloned().unwrap_or_default()
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
