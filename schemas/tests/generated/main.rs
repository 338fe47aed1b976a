//! The types that `lockstep contract gen rust` writes compile, and agree with their contracts both ways.
//!
//! The runtime's tests hold the files beside this one to what the command writes.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read its data has failed"
)]

use std::path::Path;

use jsonschema::Validator;
use lockstep_core::contract::{Contract, NoLibrary, load, schema};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

/// Types as the command writes them; programs use them whole, this test only as documents.
macro_rules! generated {
    ($($entity:ident),*) => {
        $(
            #[expect(unreachable_pub, reason = "the types are made to be part of some crate")]
            #[allow(clippy::upper_case_acronyms, reason = "a listed value keeps its spelling")]
            mod $entity;
        )*
    };
}

generated!(
    customer,
    invoice,
    order,
    order_line,
    parcel,
    payment,
    product,
    stock_level
);

fn contract(path: &str) -> Contract {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = std::fs::read_to_string(path).unwrap();
    load("contract", &text, &NoLibrary).unwrap().contract
}

fn validator(schema: &Json) -> Validator {
    let options = jsonschema::options().should_validate_formats(true);
    options.build(schema).unwrap()
}

/// Every document that may be written is accepted by the type and its schema, and what the type writes may be written.
fn agree<T: Serialize + DeserializeOwned + JsonSchema>(path: &str, example: &Json) {
    let contract = contract(path);
    let writer = validator(&schema::writer(&contract));
    let settings = SchemaSettings::draft2020_12();
    let reads = settings
        .clone()
        .into_generator()
        .into_root_schema_for::<T>();
    let reads = validator(reads.as_value());
    let writes = settings
        .for_serialize()
        .into_generator()
        .into_root_schema_for::<T>();
    let writes = validator(writes.as_value());
    assert!(writer.is_valid(example), "{example:#}");
    let mut tried = [0, 0];
    for document in documents(example) {
        let valid = writer.is_valid(&document);
        tried[usize::from(valid)] += 1;
        let read: Result<T, _> = serde_json::from_value(document.clone());
        if !valid {
            continue;
        }
        assert!(
            reads.is_valid(&document),
            "{path}: the type's schema refuses {document}"
        );
        let read =
            read.unwrap_or_else(|error| panic!("{path}: the type refuses {document}: {error}"));
        let again = serde_json::to_value(&read).unwrap();
        assert!(writer.is_valid(&again), "{path}: the type writes {again}");
        assert!(
            writes.is_valid(&again),
            "{path}: against its schema, the type writes {again}"
        );
        assert!(
            keeps(&document, &again),
            "{path}: {document} came back as {again}"
        );
    }
    assert!(tried[0] > 5 && tried[1] > 5, "{path}: {tried:?}");
}

/// Whether everything that a document says comes back; null may stand where nothing was said.
fn keeps(document: &Json, again: &Json) -> bool {
    match (document, again) {
        (Json::Object(map), Json::Object(_)) => {
            map.iter().all(|(name, value)| keeps(value, &again[name]))
        }
        (Json::Array(list), Json::Array(other)) => {
            list.len() == other.len() && list.iter().zip(other).all(|(a, b)| keeps(a, b))
        }
        // A whole number is the same with and without its point.
        (Json::Number(a), Json::Number(b)) => a.as_f64() == b.as_f64(),
        (a, b) => a == b,
    }
}

/// The example, and documents that differ from it in one place.
fn documents(example: &Json) -> Vec<Json> {
    let others = [
        json!(null),
        json!(true),
        json!(false),
        json!(0),
        json!(1),
        json!(-1),
        json!(0.5),
        json!(""),
        json!("x"),
        json!("something else"),
        json!("0.00"),
        json!("12.34"),
        json!("999999999999999.00"),
        json!("2024-02-29"),
        json!("23:59:59"),
        json!("2024-02-29T12:00:00Z"),
        json!("open"),
        json!("small"),
        json!([]),
        json!({}),
        json!(["x", null]),
    ];
    let mut all = vec![example.clone()];
    for pointer in pointers(example, "") {
        for other in &others {
            let mut document = example.clone();
            *document.pointer_mut(&pointer).unwrap() = other.clone();
            all.push(document);
        }
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let mut document = example.clone();
        let parent = document.pointer_mut(parent).unwrap();
        if let Some(members) = parent.as_object_mut() {
            members.remove(name);
            all.push(document);
        }
    }
    all
}

fn pointers(json: &Json, at: &str) -> Vec<String> {
    let members: Vec<(String, &Json)> = match json {
        Json::Object(map) => map
            .iter()
            .map(|(name, value)| (name.clone(), value))
            .collect(),
        Json::Array(list) => list
            .iter()
            .enumerate()
            .map(|(i, value)| (i.to_string(), value))
            .collect(),
        _ => Vec::new(),
    };
    let each = members.into_iter().flat_map(|(name, value)| {
        let own = format!("{at}/{name}");
        let mut list = pointers(value, &own);
        list.push(own);
        list
    });
    each.collect()
}

#[test]
fn generated_types_agree_with_their_contracts_both_ways() {
    let ours = |entity: &str| format!("contracts/{entity}/{entity}.odcs.yaml");
    agree::<customer::Customer>(
        &ours("customer"),
        &json!({
            "id": "c1", "name": "Ann", "segment": "Consumer", "email": "a@b.c", "country": "US", "state": "NY", "city": "x",
            "postal_code": "01", "region": "East", "active": true
        }),
    );
    agree::<invoice::Invoice>(
        &ours("invoice"),
        &json!({
            "id": "i1", "order_id": "o1", "customer_id": "c1", "issued_on": "2024-01-01", "due_on": "2024-02-01",
            "amount": "1.00", "currency": "USD", "status": "draft"
        }),
    );
    agree::<order::Order>(
        &ours("order"),
        &json!({
            "id": "o1", "customer_id": "c1", "order_date": "2024-01-01", "ship_date": null, "ship_mode": "Same Day",
            "status": "open", "ship_city": "x", "ship_state": "y", "ship_postal_code": "01"
        }),
    );
    agree::<order_line::OrderLine>(
        &ours("order_line"),
        &json!({
            "order_id": "o1", "line_no": 1, "product_id": "p1", "quantity": 2, "sales": "1.0000", "discount": "0.10", "profit": "-1.0000"
        }),
    );
    agree::<payment::Payment>(
        &ours("payment"),
        &json!({
            "id": "p1", "invoice_id": "i1", "amount": "1.00", "currency": "USD", "method": "card", "received_at": "2024-01-01T00:00:00Z"
        }),
    );
    agree::<product::Product>(
        &ours("product"),
        &json!({
            "id": "p1", "name": "x", "category": "y", "sub_category": "z", "list_price": "1.00", "active": false
        }),
    );
    agree::<stock_level::StockLevel>(
        &ours("stock_level"),
        &json!({
            "product_id": "p1", "location": "l", "on_hand": 5, "reserved": 1, "counted_at": "2024-01-01T00:00:00Z"
        }),
    );
    agree::<parcel::Parcel>(
        "tests/generated/parcel.odcs.yaml",
        &json!({
            "id": "1b4e28ba-2fa1-4d2b-883f-0016d3cca427", "type": "2-part", "size": "small", "weight": 0.5, "price": "4.90",
            "pieces": 1, "sent_on": "2024-05-17", "cut_off": "12:30:00", "seen_at": "2024-05-17T12:00:00Z", "fragile": true,
            "mail": "a@b", "label": "BwcHBw==", "note": "x", "camelCase": "abc",
            "address": {"street": "s", "zip": "00000", "floor": 1},
            "items": [{"sku": "a", "value": "1.00"}], "tags": ["t"]
        }),
    );
}
