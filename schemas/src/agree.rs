//! Whether a Rust type that was written by hand says what a contract says, for the tests of whoever wrote it.
//!
//! Compares the type's own JSON Schemas, one for what it writes and one for what it reads, with the contract: names, kinds, what may be absent, what may be null, and listed values.
//! Bounds and patterns are not compared, since a Rust type seldom says them; the contract's check judges them when a record is written.

use std::collections::BTreeSet;

use lockstep_core::contract::{Contract, Extra, Field, Inner, wire};
use lockstep_core::value::Type;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::Value as Json;

/// What keeps a type from writing records of the contract, or from reading all of them; nothing if it can do both.
///
/// # Examples
/// ```
/// use lockstep_core::contract::{NoLibrary, load};
/// use lockstep_schemas::{Order, agree, contracts};
///
/// let source = contracts().iter().find(|source| source.entity == "order").unwrap();
/// let contract = load(source.path, source.text, &NoLibrary).unwrap().contract;
/// assert!(agree::<Order>(&contract).is_empty());
/// ```
#[must_use]
pub fn agree<T: JsonSchema>(contract: &Contract) -> Vec<String> {
    let settings = SchemaSettings::draft2020_12();
    let schema = |settings| {
        SchemaGenerator::new(settings)
            .into_root_schema_for::<T>()
            .to_value()
    };
    let mut found = Vec::new();
    for (settings, way) in [
        (settings.clone().for_serialize(), Way::Writes),
        (settings.for_deserialize(), Way::Reads),
    ] {
        let root = schema(settings);
        let comparison = Comparison { root: &root, way };
        comparison.members("", &contract.fields, contract.extra, &root, &mut found);
    }
    found
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Everything the type writes must be allowed.
    Writes,
    /// Everything that is allowed must be readable.
    Reads,
}

struct Comparison<'s> {
    root: &'s Json,
    way: Way,
}

/// What a schema says of a value, as far as it is compared.
#[derive(Default)]
struct Said<'s> {
    types: BTreeSet<&'s str>,
    values: BTreeSet<String>,
    open: bool,
    /// The parts that describe an object or a list.
    parts: Vec<&'s Json>,
}

impl<'s> Comparison<'s> {
    fn members(
        &self,
        path: &str,
        fields: &[Field],
        extra: Extra,
        schema: &'s Json,
        found: &mut Vec<String>,
    ) {
        let said = self.said(schema);
        let own = |key: &'static str| said.parts.iter().filter_map(move |part| part.get(key));
        let property = |name: &str| own("properties").find_map(|properties| properties.get(name));
        let required: BTreeSet<&str> = own("required")
            .filter_map(Json::as_array)
            .flatten()
            .filter_map(Json::as_str)
            .collect();
        for field in fields {
            let name = format!("{path}{}", field.name);
            let demanded = required.contains(field.name.as_str());
            match self.way {
                Way::Writes if field.required && !demanded => {
                    found.push(format!(
                        "`{name}` is required, and the type may leave it out"
                    ));
                }
                Way::Reads if !field.required && demanded => {
                    found.push(format!(
                        "`{name}` may be absent, and the type cannot do without it"
                    ));
                }
                _ => {}
            }
            if let Some(property) = property(&field.name) {
                self.value(&name, field, property, found);
            }
        }
        let known: BTreeSet<&str> = fields.iter().map(|field| field.name.as_str()).collect();
        let names = own("properties")
            .filter_map(Json::as_object)
            .flat_map(|map| map.keys());
        for name in names.filter(|name| !known.contains(name.as_str())) {
            match self.way {
                Way::Writes if extra == Extra::Reject => {
                    found.push(format!(
                        "the type writes `{path}{name}`, which the contract does not have"
                    ));
                }
                Way::Reads if required.contains(name.as_str()) => {
                    found.push(format!(
                        "the type asks for `{path}{name}`, which the contract does not have"
                    ));
                }
                _ => {}
            }
        }
        if self.way == Way::Reads && own("additionalProperties").any(|extra| extra == false) {
            let place = match path.trim_end_matches('.') {
                "" => "the record",
                inside => inside,
            };
            found.push(format!(
                "the type refuses fields it does not know in {place}: a newer version may have them"
            ));
        }
    }

    fn value(&self, name: &str, field: &Field, schema: &'s Json, found: &mut Vec<String>) {
        let said = self.said(schema);
        let nullable = said.open || said.types.contains("null");
        match self.way {
            Way::Writes if nullable && !field.nullable && !said.open => {
                found.push(format!(
                    "`{name}` may not be null, and the type may write that"
                ));
            }
            Way::Reads if !nullable && field.nullable => {
                found.push(format!(
                    "`{name}` may be null, and the type cannot read that"
                ));
            }
            _ => {}
        }
        let Some(word) = word(field) else { return };
        let others: Vec<&str> = said
            .types
            .iter()
            .copied()
            .filter(|kind| *kind != "null")
            .collect();
        // A number that is read may be a whole one, and a whole one that is written is a number.
        let same = |kind: &&str| {
            *kind == word
                || matches!((*kind, word), ("integer", "number") if self.way == Way::Writes)
                || matches!((*kind, word), ("number", "integer") if self.way == Way::Reads)
        };
        let wrong = match self.way {
            Way::Writes => others.iter().find(|kind| !same(kind)).copied(),
            Way::Reads if said.open || others.iter().any(same) => None,
            Way::Reads => Some(others.first().copied().unwrap_or("nothing")),
        };
        if let Some(wrong) = wrong {
            found.push(format!(
                "`{name}` is of type {word}, and the type has {wrong} there"
            ));
            return;
        }
        self.listed(name, field, &said, found);
        for part in &said.parts {
            match &field.inner {
                Some(Inner::Object { fields, extra }) => {
                    self.members(&format!("{name}."), fields, *extra, part, found);
                }
                Some(Inner::List { items, .. }) => {
                    if let Some(own) = part.get("items") {
                        self.value(&format!("{name}[]"), items, own, found);
                    }
                }
                Some(Inner::Map { values, .. }) => {
                    if let Some(own) = part
                        .get("additionalProperties")
                        .filter(|own| own.is_object())
                    {
                        self.value(&format!("{name}{{}}"), values, own, found);
                    }
                }
                None => {}
            }
        }
    }

    fn listed(&self, name: &str, field: &Field, said: &Said<'_>, found: &mut Vec<String>) {
        let Some(allowed) = &field.allowed else {
            return;
        };
        if said.values.is_empty() {
            return;
        }
        let ours: BTreeSet<String> = allowed
            .values
            .iter()
            .map(|v| wire::to_json(v).to_string())
            .collect();
        match self.way {
            Way::Writes => {
                for value in said.values.difference(&ours) {
                    found.push(format!(
                        "`{name}` cannot be {value}, and the type may write that"
                    ));
                }
            }
            Way::Reads => {
                for value in ours.difference(&said.values) {
                    found.push(format!(
                        "`{name}` may be {value}, and the type cannot read that"
                    ));
                }
            }
        }
    }

    /// Gathers what a schema says through references and alternatives.
    fn said(&self, schema: &'s Json) -> Said<'s> {
        let mut said = Said::default();
        self.gather(schema, 0, &mut said);
        said
    }

    fn gather(&self, schema: &'s Json, depth: usize, said: &mut Said<'s>) {
        /// Deeper than any sensible chain of references; a type inside itself ends here.
        const DEPTH_MAX: usize = 20;
        if depth > DEPTH_MAX {
            return;
        }
        let mut below = false;
        if let Some(reference) = schema.get("$ref").and_then(Json::as_str) {
            below = true;
            if let Some(target) = self.root.pointer(reference.trim_start_matches('#')) {
                self.gather(target, depth + 1, said);
            }
        }
        for key in ["anyOf", "oneOf", "allOf"] {
            for inner in schema
                .get(key)
                .and_then(Json::as_array)
                .into_iter()
                .flatten()
            {
                below = true;
                self.gather(inner, depth + 1, said);
            }
        }
        match schema.get("type") {
            Some(Json::String(kind)) => _ = said.types.insert(kind),
            Some(Json::Array(kinds)) => said.types.extend(kinds.iter().filter_map(Json::as_str)),
            _ if !below && schema.get("const").is_none() && schema.get("enum").is_none() => {
                said.open = true;
            }
            _ => {}
        }
        let listed = schema
            .get("enum")
            .and_then(Json::as_array)
            .into_iter()
            .flatten();
        let values = listed
            .chain(schema.get("const"))
            .filter(|value| !value.is_null());
        said.values.extend(values.map(ToString::to_string));
        if ["properties", "items", "additionalProperties"]
            .iter()
            .any(|key| schema.get(key).is_some())
        {
            said.parts.push(schema);
        }
    }
}

/// The JSON type of a field's values; none where any may stand.
fn word(field: &Field) -> Option<&'static str> {
    Some(match field.kind {
        Type::Bool => "boolean",
        Type::Int => "integer",
        Type::Float => "number",
        Type::Json => match field.inner {
            Some(Inner::List { .. }) => "array",
            Some(_) => "object",
            None => return None,
        },
        _ => "string",
    })
}
