//! Contract, JSON Schema and Rust type of each canonical entity say the same.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read its data has failed"
)]

mod things;

use std::collections::BTreeSet;
use std::fmt::Debug;

use jsonschema::Validator;
use lockstep_core::contract::{Checker, Contract, Loaded, NoLibrary, load, schema, wire};
use lockstep_core::value::{Type, Value};
use lockstep_core::{Cell, Decimal, Row};
use lockstep_schemas::*;
use proptest::prelude::*;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};
use things::*;

#[test]
fn every_contract_loads_without_a_warning_and_stands_where_its_name_says() {
    for source in contracts() {
        let Loaded {
            contract,
            findings: warnings,
            ..
        } = load(source.path, source.text, &NoLibrary).unwrap();
        assert_eq!(warnings, [], "{}", source.path);
        assert_eq!(contract.entity, source.entity);
        assert!(contract.description.is_some() && contract.owner.is_some());
        for field in &contract.fields {
            assert!(field.description.is_some(), "{}", field.name);
        }
    }
}

#[test]
fn every_contract_of_the_folder_is_embedded() {
    let embedded: BTreeSet<String> = contracts().iter().map(|c| c.entity.to_owned()).collect();
    let present: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(embedded, present);
}

#[test]
fn the_generated_schemas_are_current() {
    let mut changed = generate(&folder(), true).unwrap();
    changed.extend(generate_editor_schema(true).unwrap());
    assert!(
        changed.is_empty(),
        "out of date, run `cargo run -p lockstep-schemas --bin generate-schemas`: {changed:?}"
    );
}

#[test]
fn keys_lanes_and_owners_are_the_agreed_ones() {
    let said: Vec<String> = contracts()
        .iter()
        .map(|source| {
            let contract = contract(source.entity);
            let names = |positions: &[usize]| {
                let names: Vec<&str> = positions
                    .iter()
                    .map(|i| contract.fields[*i].name.as_str())
                    .collect();
                names.join("+")
            };
            let (key, lane) = (names(&contract.key), names(&contract.lane_key));
            let owner = contract.owner.as_deref().unwrap_or("nobody");
            format!("{}: {key} by {lane} of {owner}", contract.entity)
        })
        .collect();
    assert_eq!(
        said,
        [
            "customer: id by id of crm",
            "invoice: id by id of billing",
            "order: id by id of erp",
            "order_line: order_id+line_no by order_id of erp",
            "payment: id by id of billing",
            "product: id by id of erp",
            "stock_level: product_id+location by product_id+location of erp",
        ]
    );
}

#[test]
fn the_guides_example_is_a_contract() {
    let guide = include_str!("../../README.md");
    let text = guide.split("```yaml\n").nth(1).unwrap();
    let text = text.split("```").next().unwrap();
    let Loaded {
        contract,
        findings: warnings,
        ..
    } = load("README.md", text, &NoLibrary).unwrap();
    assert_eq!((contract.entity.as_str(), warnings.len()), ("ticket", 0));
}

fn contract(entity: &str) -> Contract {
    let source = contracts().iter().find(|c| c.entity == entity).unwrap();
    load(source.path, source.text, &NoLibrary).unwrap().contract
}

/// One entity as contract, schemas and compiled check.
struct Judges {
    contract: Contract,
    writer: Validator,
    reader: Validator,
    checker: Checker,
}

impl Judges {
    fn of(entity: &str) -> Judges {
        let contract = contract(entity);
        let build = |schema: Json| {
            let options = jsonschema::options().should_validate_formats(true);
            options.build(&schema).unwrap()
        };
        Judges {
            writer: build(schema::writer(&contract)),
            reader: build(schema::reader(&contract)),
            checker: Checker::compile(&contract).unwrap(),
            contract,
        }
    }

    /// A written document passes everything and comes back as it was.
    fn accept<T: Serialize + DeserializeOwned + PartialEq + Debug>(&self, thing: &T) {
        let document = serde_json::to_value(thing).unwrap();
        let errors: Vec<String> = self
            .writer
            .iter_errors(&document)
            .map(|e| e.to_string())
            .collect();
        assert!(errors.is_empty(), "{document}: {errors:?}");
        assert!(self.reader.is_valid(&document), "{document}");
        let mut found = Vec::new();
        self.checker.check(&self.row(&document), true, &mut found);
        assert!(found.is_empty(), "{document}: {found:?}");
        assert_eq!(&serde_json::from_value::<T>(document).unwrap(), thing);
    }

    fn row(&self, document: &Json) -> Row {
        let cell = |(name, kind): (&str, Type)| match document.get(name) {
            None => Cell::Unchanged,
            Some(json) => Cell::Set(wire::from_json(kind, json).unwrap()),
        };
        let fields = self.contract.fields.iter();
        Row(fields.map(|f| cell((f.name.as_str(), f.kind))).collect())
    }

    /// Documents at the boundaries of the writer schema fit the type: nothing that may be written is lost on a Rust reader.
    fn boundaries<T: Serialize + DeserializeOwned>(&self, sample: &T) {
        let sample = serde_json::to_value(sample).unwrap();
        for field in &self.contract.fields {
            let mut outside = 0;
            for candidate in candidates(field) {
                let mut document = sample.clone();
                document[&field.name] = candidate;
                self.fits::<T>(&document, &mut outside);
            }
            let mut without = sample.clone();
            without.as_object_mut().unwrap().remove(&field.name);
            self.fits::<T>(&without, &mut outside);
            assert!(outside > 0, "no boundary of `{}` was crossed", field.name);
        }
    }

    fn fits<T: Serialize + DeserializeOwned>(&self, document: &Json, outside: &mut usize) {
        if !self.writer.is_valid(document) {
            *outside += 1;
            return;
        }
        let read: T = serde_json::from_value(document.clone())
            .unwrap_or_else(|error| panic!("{document} may be written: {error}"));
        let again = serde_json::to_value(&read).unwrap();
        for (name, value) in document.as_object().unwrap() {
            assert_eq!(&again[name], value, "{name}");
        }
    }

    /// The type's own schema has the contract's fields, each as optional and as listed as there.
    fn same_fields<T: JsonSchema>(&self) {
        let schema = schemars::schema_for!(T);
        let own = schema.as_value();
        let names: Vec<&String> = own["properties"].as_object().unwrap().keys().collect();
        let ours: Vec<&String> = self.contract.fields.iter().map(|f| &f.name).collect();
        assert_eq!(names, ours);
        let required: BTreeSet<&str> = own["required"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Json::as_str)
            .collect();
        for field in &self.contract.fields {
            let property = resolve(own, &own["properties"][&field.name]);
            let nullable = property["type"]
                .as_array()
                .is_some_and(|types| types.contains(&json!("null")));
            assert_eq!(
                required.contains(field.name.as_str()),
                field.required,
                "{}",
                field.name
            );
            assert_eq!(nullable, field.nullable, "{}", field.name);
            let word = match field.kind {
                Type::Bool => "boolean",
                Type::Int => "integer",
                _ => "string",
            };
            let types = match &property["oneOf"][0] {
                Json::Null => &property["type"],
                listed => &listed["type"],
            };
            assert!(types == word || types[0] == word, "{}: {types}", field.name);
            let listed = values(property);
            match &field.allowed {
                Some(allowed) if !allowed.open => {
                    let ours: BTreeSet<String> =
                        allowed.values.iter().map(Value::to_string).collect();
                    assert_eq!(listed, ours, "{}", field.name);
                }
                _ => assert!(listed.is_empty(), "{}", field.name),
            }
        }
    }
}

fn resolve<'s>(root: &'s Json, property: &'s Json) -> &'s Json {
    match property["$ref"].as_str() {
        Some(reference) => root.pointer(reference.trim_start_matches('#')).unwrap(),
        None => property,
    }
}

/// The values of an enumeration, which schemars writes as `enum`, or as `oneOf` with a `const` each once they are documented.
fn values(property: &Json) -> BTreeSet<String> {
    let texts = |list: &Json, pick: fn(&Json) -> Option<&Json>| -> BTreeSet<String> {
        let items = list.as_array().into_iter().flatten();
        items
            .filter_map(pick)
            .filter_map(Json::as_str)
            .map(str::to_owned)
            .collect()
    };
    let mut all = texts(&property["enum"], |item| Some(item));
    all.extend(texts(&property["oneOf"], |item| item.get("const")));
    all
}

/// Values at, inside and outside the limits of a field.
fn candidates(field: &lockstep_core::contract::Field) -> Vec<Json> {
    let mut all = vec![Json::Null, json!([]), json!(1.5), json!("\u{0}")];
    if let Some(allowed) = &field.allowed {
        all.extend(allowed.values.iter().map(wire::to_json));
    }
    for length in [field.limits.min_length, field.limits.max_length]
        .into_iter()
        .flatten()
    {
        for length in [length.saturating_sub(1), length, length + 1] {
            all.push("ä".repeat(length as usize).into());
        }
    }
    for bound in [&field.limits.minimum, &field.limits.maximum]
        .into_iter()
        .flatten()
    {
        match bound {
            Value::Int(number) => {
                let near = [number.saturating_sub(1), *number, number.saturating_add(1)];
                all.extend(near.map(Json::from));
            }
            Value::Decimal(number) => {
                let units = number.to_units(number.scale()).unwrap();
                let near = [units - 1, units, units + 1];
                all.extend(
                    near.map(|units| Decimal::from_units(units, number.scale()).as_str().into()),
                );
            }
            _ => {}
        }
    }
    all.extend(match field.kind {
        Type::Bool => vec![json!(true), json!(false), json!("true")],
        Type::Int => vec![json!(i64::MIN), json!(i64::MAX), json!(u64::MAX), json!(0)],
        Type::Date => vec![
            json!("0000-01-01"),
            json!("9999-12-31"),
            json!("2023-02-29"),
            json!("2024-02-29"),
        ],
        Type::Timestamp => vec![
            json!("0000-01-01T00:00:00Z"),
            json!("2024-06-30T23:59:59.123456789Z"),
            json!("2024-06-30T23:59:60Z"),
            json!("2024-06-30T23:59:59+02:00"),
        ],
        Type::Decimal {
            precision: Some(precision),
            scale: Some(scale),
        } => {
            let most = 10i64.pow(precision) - 1;
            let near = [-most - 1, -most, -1, 0, 1, most, most + 1];
            near.map(|units| Decimal::from_units(units, scale).as_str().into())
                .to_vec()
        }
        _ => vec![json!("a"), json!("A@b.c"), json!("US"), json!("")],
    });
    all
}

macro_rules! agree {
    ($($entity:ident: $type:ty, $values:expr;)*) => {$(
        mod $entity {
            use super::*;

            #[test]
            fn the_type_has_the_contracts_fields() {
                Judges::of(stringify!($entity)).same_fields::<$type>();
            }

            #[test]
            fn what_the_type_writes_passes_schema_and_check_and_what_may_be_written_it_reads() {
                let judges = Judges::of(stringify!($entity));
                let mut runner = proptest::test_runner::TestRunner::default();
                runner
                    .run(&$values, |thing| {
                        judges.accept(&thing);
                        Ok(())
                    })
                    .unwrap();
                let mut runner = proptest::test_runner::TestRunner::deterministic();
                let sample = $values.new_tree(&mut runner).unwrap();
                judges.boundaries::<$type>(&proptest::strategy::ValueTree::current(&sample));
            }
        }
    )*};
}

agree! {
    customer: Customer, customers();
    product: Product, products();
    order: Order, orders();
    order_line: OrderLine, order_lines();
    invoice: Invoice, invoices();
    payment: Payment, payments();
    stock_level: StockLevel, stock_levels();
}
