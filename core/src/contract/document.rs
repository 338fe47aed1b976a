//! A contract as the ODCS document that says everything about it: the canonical form.
//!
//! Loading the document's text gives the same contract, so it can stand frozen in a lock file, be hashed, and be written as a new contract's first text.
//! Shared types are written out, defaults are left out, and keys have one order; what only people read in the original (tags, comments, other vendors' properties) is not in it.

mod text;

use serde_json::{Map, Value as Json, json};

use super::load::words::{
    CLASSES, COMPATIBILITIES, DELETES, EXTRAS, FORMATS, HANDLINGS, OUTCOMES, TRUTHS, written,
};
use super::wire::to_json;
use super::{
    Check, Class, Compatibility, Contract, Deletes, Deprecation, Extra, Field, Inner, Limits,
    Migration, Outcome, Rule, Step, Terms, Tolerance, Truth,
};
use crate::value::{Type, Value};

pub use text::yaml;
pub(super) use text::{is_short, line};

/// A mapping under construction that leaves out what is not there.
#[derive(Default)]
struct Entries(Map<String, Json>);

impl Entries {
    fn put(&mut self, key: &str, value: impl Into<Json>) {
        self.0.insert(key.to_owned(), value.into());
    }

    fn some(&mut self, key: &str, value: Option<impl Into<Json>>) {
        if let Some(value) = value {
            self.put(key, value);
        }
    }

    fn list(&mut self, key: &str, items: Vec<Json>) {
        if !items.is_empty() {
            self.put(key, items);
        }
    }
}

impl From<Entries> for Json {
    fn from(entries: Entries) -> Json {
        Json::Object(entries.0)
    }
}

/// Writes the document.
///
/// It is of ODCS 3.1.0, or of 3.2.0 where the contract has what only that knows: a map, or no status.
/// A decimal without precision has no written form; loading asks for one.
#[must_use]
pub fn write(contract: &Contract) -> Json {
    let newest = contract.terms.status.is_none() || contract.fields.iter().any(has_map);
    let mut root = Entries::default();
    root.put("apiVersion", if newest { "v3.2.0" } else { "v3.1.0" });
    root.put("kind", "DataContract");
    root.put("id", contract.id.as_str());
    root.put("version", contract.version.to_string());
    root.some("status", contract.terms.status.as_deref());
    root.list("customProperties", root_customs(&contract.terms));
    root.put("schema", json!([object(contract)]));
    root.list("slaProperties", levels(&contract.terms));
    let members = members(&contract.terms);
    if !members.is_empty() {
        root.put("team", json!({ "members": members }));
    }
    root.into()
}

/// Writes one field as a property outside the key.
pub(super) fn field(field: &Field) -> Json {
    property(field, true, false, None)
}

fn custom(name: &str, value: impl Into<Json>) -> Json {
    json!({ "property": format!("lockstep.{name}"), "value": value.into() })
}

fn root_customs(terms: &Terms) -> Vec<Json> {
    let mut customs = Vec::new();
    if terms.compatibility != Compatibility::default() {
        let mode = written(COMPATIBILITIES, terms.compatibility);
        customs.push(custom("compatibility", mode));
    }
    if !terms.consumers.is_empty() {
        customs.push(custom("consumers", json!(terms.consumers)));
    }
    customs
}

fn levels(terms: &Terms) -> Vec<Json> {
    let level = |level: &super::Level| {
        let mut entries = Entries::default();
        entries.put("property", level.property.as_str());
        entries.put("value", level.value.clone());
        entries.some("unit", level.unit.as_deref());
        entries.some("element", level.element.as_deref());
        entries.into()
    };
    terms.levels.iter().map(level).collect()
}

fn members(terms: &Terms) -> Vec<Json> {
    let of_role = |(role, people): (&String, &Vec<String>)| {
        let member = |name: &String| json!({ "username": name, "role": role });
        people.iter().map(member).collect::<Vec<_>>()
    };
    terms.approvers.iter().flat_map(of_role).collect()
}

fn object(contract: &Contract) -> Json {
    let mut entries = Entries::default();
    entries.put("name", contract.entity.as_str());
    entries.put("logicalType", "object");
    entries.some("description", contract.description.as_deref());
    entries.list("customProperties", object_customs(contract));
    entries.list("quality", contract.rules.iter().map(rule).collect());
    let property = |(i, field): (usize, &Field)| {
        let key = contract.key.iter().position(|k| *k == i);
        let position = (contract.key.len() > 1).then_some(key).flatten();
        property(field, true, key.is_some(), position)
    };
    entries.list(
        "properties",
        contract.fields.iter().enumerate().map(property).collect(),
    );
    entries.into()
}

fn object_customs(contract: &Contract) -> Vec<Json> {
    let mut customs = Vec::new();
    let terms = &contract.terms;
    customs.extend(
        contract
            .owner
            .as_deref()
            .map(|owner| custom("owner", owner)),
    );
    if contract.truth != Truth::Owner {
        customs.push(custom("truth", written(TRUTHS, contract.truth)));
    }
    if contract.deletes != Deletes::Propagate {
        customs.push(custom("deletes", written(DELETES, contract.deletes)));
    }
    if contract.lanes != 8 {
        customs.push(custom("lanes", contract.lanes));
    }
    if contract.lane_key != contract.key {
        let names = contract.lane_key.iter().map(|i| contract.fields.get(*i));
        let names: Vec<&str> = names.flatten().map(|field| field.name.as_str()).collect();
        customs.push(custom("laneKey", json!(names)));
    }
    if contract.extra != Extra::Reject {
        customs.push(custom("extra", written(EXTRAS, contract.extra)));
    }
    customs.extend(terms.deprecation.as_ref().map(deprecation));
    if !terms.reserved.is_empty() {
        customs.push(custom("reserved", json!(terms.reserved)));
    }
    if !contract.migrations.is_empty() {
        let migrations: Vec<Json> = contract.migrations.iter().map(migration).collect();
        customs.push(custom("migrations", migrations));
    }
    customs.extend(terms.matching.clone().map(|match_| custom("match", match_)));
    let survivorship = terms.survivorship.clone();
    customs.extend(survivorship.map(|rules| custom("survivorship", rules)));
    customs
}

fn deprecation(deprecation: &Deprecation) -> Json {
    let mut entries = Entries::default();
    let text = |value: &Option<_>| value.as_ref().map(ToString::to_string);
    entries.some("since", text(&deprecation.since));
    entries.some("sunset", deprecation.sunset.map(|day| day.to_string()));
    entries.some("replacement", deprecation.replacement.as_deref());
    custom("deprecation", entries)
}

/// A property; one that says what every item or value is has no name.
fn property(field: &Field, named: bool, key: bool, position: Option<usize>) -> Json {
    let mut entries = Entries::default();
    if named {
        entries.put("name", field.name.as_str());
    }
    entries.some("description", field.description.as_deref());
    let (logical, physical) = kind(field);
    entries.put("logicalType", logical);
    entries.some("physicalType", physical);
    if key {
        entries.put("primaryKey", true);
    }
    entries.some("primaryKeyPosition", position.map(|at| at + 1));
    if field.required {
        entries.put("required", true);
    }
    if field.unique {
        entries.put("unique", true);
    }
    if field.class != Class::Internal {
        entries.put("classification", written(CLASSES, field.class));
    }
    let options = options(field);
    if !options.0.is_empty() {
        entries.put("logicalTypeOptions", options);
    }
    if let Some(reference) = &field.reference {
        let to = format!("{}.{}", reference.entity, reference.field);
        entries.put("relationships", json!([{ "to": to }]));
    }
    entries.list("customProperties", field_customs(field));
    match &field.inner {
        Some(Inner::Object { fields, .. }) => {
            let members = fields
                .iter()
                .map(|field| property(field, true, false, None));
            entries.list("properties", members.collect());
        }
        Some(Inner::List { items, .. }) => {
            entries.put("items", property(items, false, false, None));
        }
        Some(Inner::Map { values, .. }) if logical == "map" => {
            let key = json!({ "logicalType": "string" });
            let value = property(values, false, false, None);
            entries.put("map", json!({ "key": key, "value": value }));
        }
        _ => {}
    }
    entries.into()
}

fn kind(field: &Field) -> (&'static str, Option<String>) {
    let plain = |word| (word, None);
    match field.kind {
        Type::Bool => plain("boolean"),
        Type::Int => plain("integer"),
        Type::Decimal {
            precision: Some(_),
            scale: Some(_),
        } => ("number", Some(field.kind.to_string())),
        Type::Decimal { .. } => plain("number"),
        Type::Float => ("number", Some("double".to_owned())),
        Type::Text => plain("string"),
        Type::Bytes => ("string", Some("bytes".to_owned())),
        Type::Uuid => ("string", Some("uuid".to_owned())),
        Type::Date => plain("date"),
        Type::Time => plain("time"),
        Type::Timestamp => plain("timestamp"),
        Type::Json => match &field.inner {
            Some(Inner::List { .. }) => plain("array"),
            Some(Inner::Map {
                values,
                least,
                most,
            }) if !(is_anything(values) && (least.is_some() || most.is_some())) => plain("map"),
            _ => plain("object"),
        },
    }
}

/// Whether nothing is said of the values of a map, as of an object whose members are only counted.
fn is_anything(field: &Field) -> bool {
    let anything = Field {
        required: false,
        nullable: true,
        ..Field::new("values", Type::Json)
    };
    *field == anything
}

fn has_map(field: &Field) -> bool {
    kind(field).0 == "map"
        || field
            .inner
            .as_ref()
            .is_some_and(|inner| inner.fields().iter().any(has_map))
}

fn options(field: &Field) -> Entries {
    let mut entries = Entries::default();
    let Limits {
        min_length,
        max_length,
        pattern,
        minimum,
        maximum,
        exclusive_minimum,
        exclusive_maximum,
        multiple_of,
        format,
    } = &field.limits;
    entries.some("minLength", *min_length);
    entries.some("maxLength", *max_length);
    entries.some("pattern", pattern.as_deref());
    entries.some("format", format.map(|format| written(FORMATS, format)));
    let side = |exclusive: bool, plain, other| if exclusive { other } else { plain };
    let low = side(*exclusive_minimum, "minimum", "exclusiveMinimum");
    let high = side(*exclusive_maximum, "maximum", "exclusiveMaximum");
    entries.some(low, minimum.as_ref().map(number));
    entries.some(high, maximum.as_ref().map(number));
    entries.some("multipleOf", multiple_of.as_ref().map(number));
    match &field.inner {
        Some(Inner::List {
            least,
            most,
            unique,
            ..
        }) => {
            entries.some("minItems", *least);
            entries.some("maxItems", *most);
            entries.some("uniqueItems", unique.then_some(true));
        }
        Some(Inner::Map { least, most, .. }) => {
            entries.some("minProperties", *least);
            entries.some("maxProperties", *most);
        }
        _ => {}
    }
    entries
}

/// A value as it stands in a contract: a decimal is a number where a JSON number holds it exactly.
fn number(value: &Value) -> Json {
    let exact = |decimal: &crate::Decimal| {
        let number: serde_json::Number = serde_json::from_str(decimal.as_str()).ok()?;
        let same = number.to_string().parse::<crate::Decimal>().ok()? == *decimal;
        same.then_some(Json::Number(number))
    };
    let whole = |decimal: &crate::Decimal| decimal.to_units(0).map(Json::from);
    match value {
        Value::Decimal(decimal) => whole(decimal)
            .or_else(|| exact(decimal))
            .unwrap_or_else(|| to_json(value)),
        other => to_json(other),
    }
}

fn field_customs(field: &Field) -> Vec<Json> {
    let mut customs = Vec::new();
    if field.nullable == field.required {
        customs.push(custom("nullable", field.nullable));
    }
    if let Some(allowed) = &field.allowed {
        let values: Vec<Json> = allowed.values.iter().map(number).collect();
        customs.push(custom("enum", values));
        if allowed.open {
            customs.push(custom("enumOpen", true));
        }
        let fallback = allowed.fallback.as_ref();
        customs.extend(fallback.map(|value| custom("enumFallback", number(value))));
    }
    let default = field.default.as_ref();
    customs.extend(default.map(|value| custom("default", number(value))));
    customs.extend(field.owner.as_deref().map(|owner| custom("owner", owner)));
    let truth = field.truth.map(|truth| written(TRUTHS, truth));
    customs.extend(truth.map(|truth| custom("truth", truth)));
    customs.extend(privacy(field));
    customs.extend(field.deprecation.as_ref().map(deprecation));
    if field.outcome != Outcome::Quarantine {
        customs.push(custom("outcome", written(OUTCOMES, field.outcome)));
    }
    if let Some(Inner::Object { extra, .. }) = &field.inner
        && *extra != Extra::Reject
    {
        customs.push(custom("extra", written(EXTRAS, *extra)));
    }
    customs
}

fn privacy(field: &Field) -> Option<Json> {
    let mut entries = Entries::default();
    if let Some(personal) = &field.personal {
        entries.some("category", personal.category.as_deref());
        entries.some("subject", personal.subject.as_deref());
        let days = personal.retention_days;
        entries.some("retention", days.map(|days| format!("{days}d")));
    }
    if !field.handling.is_empty() {
        let word = |(system, handling): (&String, &super::Handling)| {
            (system.clone(), written(HANDLINGS, *handling).into())
        };
        let systems: Map<String, Json> = field.handling.iter().map(word).collect();
        entries.put("systems", systems);
    }
    (!entries.0.is_empty()).then(|| custom("privacy", entries))
}

fn rule(rule: &Rule) -> Json {
    let mut entries = Entries::default();
    entries.put("name", rule.name.as_str());
    entries.put("type", "custom");
    match &rule.check {
        Check::Holds(expression) if rule.field.is_none() && rule.tolerance.is_none() => {
            entries.put("engine", "cel");
            entries.put("implementation", expression.as_str());
        }
        check => {
            entries.put("engine", "lockstep");
            entries.put("implementation", implementation(rule, check));
        }
    }
    let usual = match rule.check {
        Check::Volume { .. } | Check::Fresh { .. } => Outcome::Warn,
        _ => Outcome::Quarantine,
    };
    if rule.outcome != usual {
        let outcome = custom("outcome", written(OUTCOMES, rule.outcome));
        entries.put("customProperties", json!([outcome]));
    }
    entries.into()
}

fn implementation(rule: &Rule, check: &Check) -> Entries {
    let mut entries = Entries::default();
    entries.some("field", rule.field.as_deref());
    let list = |values: &[Value]| values.iter().map(number).collect::<Json>();
    let bound = |value: &Option<Value>| value.as_ref().map_or(Json::Null, number);
    match check {
        Check::Holds(expression) => entries.put("holds", expression.as_str()),
        Check::NotNull => entries.put("notNull", true),
        Check::NotMissing(values) => entries.put("notMissing", list(values)),
        Check::OneOf(values) => entries.put("oneOf", list(values)),
        Check::Matches(pattern) => entries.put("matches", pattern.as_str()),
        Check::Between(low, high) => entries.put("between", json!([bound(low), bound(high)])),
        Check::Length(least, most) => entries.put("length", json!([least, most])),
        Check::Unique(fields) => entries.put("unique", json!(fields)),
        Check::Exists { entity, field } => entries.put("exists", format!("{entity}.{field}")),
        Check::Volume { least, most } => entries.put("volume", json!([least, most])),
        Check::Fresh { within } => entries.put("fresh", *within),
    }
    match rule.tolerance {
        Some(Tolerance::Records(count)) => entries.put("tolerate", count),
        Some(Tolerance::Percent(share)) => entries.put("tolerate", format!("{share}%")),
        None => {}
    }
    entries
}

fn migration(migration: &Migration) -> Json {
    let steps = |steps: &[Step]| steps.iter().map(step).collect::<Json>();
    json!({
        "from": migration.from.to_string(),
        "to": migration.to.to_string(),
        "up": steps(&migration.up),
        "down": steps(&migration.down),
    })
}

fn step(step: &Step) -> Json {
    match step {
        Step::Rename { from, to } => json!({ "rename": { "from": from, "to": to } }),
        Step::Set { field, value } => {
            json!({ "set": { "field": field, "value": number(value) } })
        }
        Step::Map { field, values } => {
            json!({ "map": { "field": field, "values": pairs(values) } })
        }
        Step::Compute { field, expression } => {
            json!({ "compute": { "field": field, "expression": expression } })
        }
        Step::Drop { field } => json!({ "drop": field }),
    }
}

/// Texts as a mapping, everything else as pairs.
fn pairs(values: &[(Value, Value)]) -> Json {
    let mut texts = Map::new();
    for (before, after) in values {
        match before {
            Value::Text(text) if !texts.contains_key(text) => {
                texts.insert(text.clone(), number(after));
            }
            _ => {
                let pair =
                    |(before, after): &(Value, Value)| json!([number(before), number(after)]);
                return values.iter().map(pair).collect();
            }
        }
    }
    texts.into()
}

#[cfg(test)]
mod tests;
