//! Every form of every contract is what its own judges accept.

use std::path::{Path, PathBuf};

use lockstep_core::contract::{Contract, Field, Inner, NoLibrary, load, schema, wire};
use lockstep_core::value::{Type, Value};
use serde_json::{Value as Json, json};

use super::lineage::{End, Flow};
use super::sql::{Dialect, ddl};
use super::*;

/// A contract with everything that a contract can say about fields.
pub(in crate::contract) const RICH: &str =
    include_str!("../../../../schemas/tests/generated/parcel.odcs.yaml");

pub(in crate::contract) fn of(text: &str) -> Contract {
    let loaded = load("test.odcs.yaml", text, &NoLibrary);
    loaded.unwrap_or_else(|found| panic!("{found:#?}")).contract
}

pub(in crate::contract) fn rich() -> Contract {
    of(RICH)
}

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The contracts of this project, and one that says everything.
pub(in crate::contract) fn all() -> Vec<Contract> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(project().join("schemas/contracts"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    let mut all: Vec<Contract> = folders
        .iter()
        .map(|folder| {
            let name = folder.file_name().unwrap().to_string_lossy();
            of(&std::fs::read_to_string(folder.join(format!("{name}.odcs.yaml"))).unwrap())
        })
        .collect();
    all.push(rich());
    all
}

/// The public test data, if it is there.
pub(in crate::contract) fn data() -> Option<PathBuf> {
    let folder = std::env::var_os("LOCKSTEP_TEST_DATA");
    if folder.is_none() {
        let mut out = std::io::stderr();
        let _ = std::io::Write::write_all(&mut out, b"skipped: LOCKSTEP_TEST_DATA is not set\n");
    }
    folder.map(|folder| Path::new(&folder).join("contracts"))
}

fn read(path: &Path) -> Json {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn examples_are_what_their_contracts_allow() {
    for contract in all() {
        let example = example::record(&contract);
        for schema in [schema::writer(&contract), schema::reader(&contract)] {
            let validator = jsonschema::options()
                .should_validate_formats(true)
                .build(&schema)
                .unwrap();
            let errors: Vec<String> = validator
                .iter_errors(&example)
                .map(|e| format!("{}: {e}", e.instance_path()))
                .collect();
            assert!(
                errors.is_empty(),
                "{}: {errors:?}\n{example:#}",
                contract.entity
            );
        }
    }
}

#[test]
fn hints_are_no_part_of_what_a_schema_demands() {
    for contract in all() {
        let mut own = json_schema::schema(&contract, json_schema::Side::Writer);
        strip(&mut own);
        let mut plain = schema::writer(&contract);
        strip(&mut plain);
        assert_eq!(own, plain);
    }
}

fn strip(schema: &mut Json) {
    match schema {
        Json::Object(map) => {
            map.shift_remove("$comment");
            map.values_mut().for_each(strip);
        }
        Json::Array(list) => list.iter_mut().for_each(strip),
        _ => {}
    }
}

/// The types stand beside the test that compiles them; `LOCKSTEP_UPDATE=1` writes them.
#[test]
fn the_rust_types_are_those_that_are_compiled_and_tried() {
    let folder = project().join("schemas/tests/generated");
    for contract in all() {
        let path = folder.join(format!("{}.rs", contract.entity));
        let text = rust::text(&contract);
        if std::env::var_os("LOCKSTEP_UPDATE").is_some() {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            committed,
            text,
            "{} is out of date; run the test with LOCKSTEP_UPDATE=1",
            path.display()
        );
    }
}

#[test]
fn the_rust_types_are_formatted() {
    let found = std::process::Command::new("rustfmt")
        .arg("--version")
        .output();
    if !found.is_ok_and(|output| output.status.success()) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for contract in all() {
        let path = folder.path().join(format!("{}.rs", contract.entity));
        std::fs::write(&path, rust::text(&contract)).unwrap();
        let output = std::process::Command::new("rustfmt")
            .args(["--check", "--edition", "2024"])
            .arg(&path)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
}

#[test]
fn names_that_rust_keeps_for_itself_are_kept_apart() {
    let fields = ["type", "self", "Self", "userName", "user_name", "crate"];
    let fields = fields.map(|name| Field::new(name, Type::Text)).into();
    let text = rust::text(&Contract::new(
        "option",
        semver::Version::new(1, 0, 0),
        fields,
    ));
    for line in [
        "pub struct OptionRecord {",
        "pub r#type: String,",
        "pub self_: String,",
        "pub self__: String,",
        "pub user_name: String,",
        "#[serde(rename = \"userName\")]",
        "pub user_name_: String,",
        "pub crate_: String,",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn documentation_says_everything_and_nothing_in_it_is_markup() {
    let contract = rich();
    let page = docs::markdown(&contract);
    for part in [
        "# parcel 2.1.0",
        "| `id` | uuid | key |",
        "`address.zip`",
        "`items[].sku`",
        "light\\_is\\_cheap",
        "more may come",
        "absent means 4.9",
    ] {
        let part = part.replace("light\\_is\\_cheap", "`light_is_cheap`");
        assert!(page.contains(&part), "{part}\n{page}");
    }
    assert!(
        !page.contains("<script>") && !page.contains("<b>"),
        "{page}"
    );
    for line in page.lines().filter(|line| line.starts_with('|')) {
        // Borders that are escaped are text.
        let borders = line.replace("\\|", "").matches('|').count();
        assert!(
            borders == 7 || borders == 3 || borders == 5 || borders == 4,
            "{line}"
        );
    }
    let html = docs::html(&contract);
    assert!(
        !html.contains("<script") && html.contains("&lt;script&gt;"),
        "{html}"
    );
    assert!(
        !html.contains("http:") && !html.contains("https:"),
        "it needs nothing else"
    );
    assert_eq!(html, docs::html(&contract));
}

#[test]
fn asyncapi_documents_are_valid() {
    let contracts = all();
    let contracts: Vec<&Contract> = contracts.iter().collect();
    let document = asyncapi::document(&contracts, "3.0.0");
    let channel = &document["channels"]["order.settled"];
    assert_eq!(channel["address"], "ls.set.order.v1.{lane}");
    assert_eq!(
        channel["parameters"]["lane"]["enum"]
            .as_array()
            .unwrap()
            .len(),
        8
    );
    assert_eq!(
        document["channels"]["order.inbox"]["address"],
        "ls.inbox.{system}.order"
    );
    // Every reference leads somewhere.
    let text = document.to_string();
    for pointer in text
        .split("\"$ref\":\"#")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
    {
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
    let Some(data) = data() else { return };
    for version in asyncapi::VERSIONS {
        let schema = read(&data.join(format!("asyncapi-schemas/{version}.json")));
        let validator = jsonschema::validator_for(&schema).unwrap();
        for contracts in [contracts.as_slice(), &contracts[..1]] {
            let document = asyncapi::document(contracts, version);
            let errors: Vec<String> = validator
                .iter_errors(&document)
                .map(|e| format!("{}: {e}", e.instance_path()))
                .take(3)
                .collect();
            assert!(errors.is_empty(), "{version}: {errors:#?}");
        }
    }
}

#[test]
fn avro_schemas_parse_and_hold_an_example() {
    for contract in all() {
        let text = avro::schema(&contract).to_string();
        let schema =
            apache_avro::Schema::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        let mut writer = apache_avro::Writer::new(&schema, Vec::new());
        let fields = contract
            .fields
            .iter()
            .map(|field| (field.name.clone(), held(field)));
        let record = apache_avro::types::Value::Record(fields.collect());
        let record = record
            .resolve(&schema)
            .unwrap_or_else(|error| panic!("{}: {error}", contract.entity));
        writer.append(record).unwrap();
        let bytes = writer.into_inner().unwrap();
        let back = apache_avro::Reader::new(bytes.as_slice()).unwrap();
        assert_eq!(
            back.map(|record| record.is_ok()).collect::<Vec<_>>(),
            [true]
        );
    }
}

/// The big-endian two's complement of the decimal's units, in as few bytes as hold it.
fn unscaled(number: &lockstep_core::Decimal, scale: u32) -> Option<Vec<u8>> {
    let digits: String = number
        .rescale(scale)?
        .as_str()
        .chars()
        .filter(|c| *c != '.')
        .collect();
    let units: i128 = digits.parse().ok()?;
    let bytes = units.to_be_bytes();
    let sign = if units < 0 { 0xff } else { 0 };
    let mut start = 0;
    while start < bytes.len() - 1 && bytes[start] == sign && (bytes[start + 1] ^ sign) < 0x80 {
        start += 1;
    }
    Some(bytes[start..].to_vec())
}

/// The example of a field as a value of Avro.
fn held(field: &Field) -> apache_avro::types::Value {
    use apache_avro::types::Value as Avro;
    fn plain(kind: Type, value: &Value) -> Avro {
        match value {
            Value::Bool(flag) => Avro::Boolean(*flag),
            Value::Int(number) => Avro::Long(*number),
            Value::Float(number) => Avro::Double(*number),
            Value::Decimal(number) => match kind {
                Type::Decimal {
                    scale: Some(scale), ..
                } => {
                    // The crate wants as many bytes as the precision may need.
                    let mut bytes = unscaled(number, scale).unwrap();
                    while bytes.len() < 16 {
                        bytes.insert(0, if bytes[0] < 0x80 { 0 } else { 255 });
                    }
                    Avro::Decimal(apache_avro::Decimal::from(bytes))
                }
                _ => Avro::String(number.to_string()),
            },
            Value::Text(text) => Avro::String(text.clone()),
            Value::Bytes(bytes) => Avro::Bytes(bytes.clone()),
            Value::Date(date) => Avro::Date(
                date.since(jiff::civil::date(1970, 1, 1))
                    .unwrap()
                    .get_days(),
            ),
            Value::Time(time) => Avro::TimeMicros(i64::from(time.hour()) * 3_600_000_000),
            Value::Timestamp(at) => Avro::TimestampMicros(at.as_microsecond()),
            Value::Uuid(id) => Avro::Uuid(apache_avro::Uuid::from_u128(id.as_u128())),
            Value::Json(text) => Avro::String(text.to_string()),
            Value::Null => Avro::Null,
        }
    }
    fn inside(field: &Field, json: &Json) -> Avro {
        let value = match (&field.inner, json) {
            (Some(Inner::Object { fields, .. }), json) => Avro::Record(
                fields
                    .iter()
                    .map(|field| (field.name.clone(), inside(field, &json[&field.name])))
                    .collect(),
            ),
            (Some(Inner::List { items, .. }), Json::Array(list)) => {
                Avro::Array(list.iter().map(|item| inside(items, item)).collect())
            }
            (Some(Inner::Map { values, .. }), Json::Object(map)) => Avro::Map(
                map.iter()
                    .map(|(name, value)| (name.clone(), inside(values, value)))
                    .collect(),
            ),
            (_, json) => plain(field.kind, &wire::from_json(field.kind, json).unwrap()),
        };
        if field.nullable || !field.required {
            let at = u32::from(field.default.is_none());
            return Avro::Union(at, Box::new(value));
        }
        value
    }
    let json = example::value(field);
    inside(field, &json)
}

#[test]
fn avro_defaults_fit_the_first_branch() {
    let schema = avro::schema(&rich());
    let field = |name: &str| {
        schema["fields"]
            .as_array()
            .unwrap()
            .iter()
            .find(|field| field["name"] == name)
            .unwrap()
            .clone()
    };
    assert_eq!(
        (
            &field("price")["default"],
            &field("price")["lockstep.default"]
        ),
        (&Json::Null, &json!("4.90"))
    );
    assert_eq!(field("pieces")["type"], "int");
    assert_eq!(
        field("seen_at")["type"],
        json!(["null", {"type": "long", "logicalType": "timestamp-micros"}])
    );
    assert_eq!(field("seen_at")["default"], Json::Null);
    // Names that Avro does not allow, and lists to which others may come, are texts.
    assert_eq!(
        (&field("type")["type"], &field("size")["type"]),
        (&json!("string"), &json!(["null", "string"]))
    );
    assert_eq!(field("note")["lockstep.nullable"], false);
}

/// A row that keeps the contract, and rows of which each breaks one thing.
fn rows(contract: &Contract) -> (Json, Vec<(&'static str, Json)>) {
    let good = example::record(contract);
    let broken = match contract.entity.as_str() {
        "parcel" => vec![
            ("type", json!("crate")),
            ("weight", json!(0.0)),
            ("price", json!("0.40")),
            ("price", json!("1000.00")),
            ("pieces", json!(0)),
            ("pieces", json!(100)),
            ("sent_on", json!("2019-12-31")),
            ("camelCase", json!("x")),
            ("camelCase", json!("longer than ten")),
            ("fragile", Json::Null),
            ("id", Json::Null),
        ],
        "order" => vec![
            ("status", json!("lost")),
            ("id", json!("")),
            ("customer_id", Json::Null),
        ],
        "invoice" => vec![("currency", json!("XXX")), ("amount", Json::Null)],
        _ => Vec::new(),
    };
    (good, broken)
}

fn literal(field: &Field, value: &Json, dialect: Dialect) -> String {
    match value {
        Json::Null => "NULL".to_owned(),
        Json::Bool(flag) if dialect == Dialect::Sqlite => u8::from(*flag).to_string(),
        Json::Bool(_) | Json::Number(_) => value.to_string(),
        Json::String(text) if field.kind == Type::Bytes => {
            let bytes = wire::from_json(Type::Bytes, &json!(text)).unwrap();
            let Value::Bytes(bytes) = bytes else {
                panic!("{text}")
            };
            let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
            if dialect == Dialect::Sqlite {
                format!("x'{hex}'")
            } else {
                format!("'\\x{hex}'")
            }
        }
        Json::String(text) => format!("'{}'", text.replace('\'', "''")),
        document => format!("'{}'", document.to_string().replace('\'', "''")),
    }
}

fn insert(contract: &Contract, row: &Json, dialect: Dialect) -> String {
    let names: Vec<String> = contract
        .fields
        .iter()
        .map(|field| sql::quote(&field.name, dialect))
        .collect();
    let values: Vec<String> = contract
        .fields
        .iter()
        .map(|field| literal(field, &row[&field.name], dialect))
        .collect();
    let table = sql::quote(&contract.entity, dialect);
    format!(
        "INSERT INTO {table} ({}) VALUES ({})",
        names.join(", "),
        values.join(", ")
    )
}

#[test]
fn sqlite_takes_good_rows_and_refuses_bad_ones() {
    for contract in all() {
        let database = rusqlite::Connection::open_in_memory().unwrap();
        let ddl = ddl(&contract, Dialect::Sqlite, None);
        database
            .execute_batch(&ddl)
            .unwrap_or_else(|error| panic!("{error}\n{ddl}"));
        let (good, broken) = rows(&contract);
        for (name, value) in broken {
            let mut row = good.clone();
            row[name] = value.clone();
            let done = database.execute_batch(&insert(&contract, &row, Dialect::Sqlite));
            assert!(done.is_err(), "{}: {name} = {value}", contract.entity);
        }
        let insert = insert(&contract, &good, Dialect::Sqlite);
        database
            .execute_batch(&insert)
            .unwrap_or_else(|error| panic!("{error}\n{insert}\n{ddl}"));
    }
}

#[test]
fn postgres_takes_good_rows_and_refuses_bad_ones() {
    let Some(server) =
        lockstep_servers::postgres::Server::start(&lockstep_servers::postgres::Options::default())
    else {
        return;
    };
    for contract in all() {
        let ddl = ddl(&contract, Dialect::Postgres, None);
        server
            .sql("postgres", &ddl)
            .unwrap_or_else(|error| panic!("{error}\n{ddl}"));
        let (good, broken) = rows(&contract);
        for (name, value) in broken {
            let mut row = good.clone();
            row[name] = value.clone();
            let done = server.sql("postgres", &insert(&contract, &row, Dialect::Postgres));
            assert!(done.is_err(), "{}: {name} = {value}", contract.entity);
        }
        let insert = insert(&contract, &good, Dialect::Postgres);
        server
            .sql("postgres", &insert)
            .unwrap_or_else(|error| panic!("{error}\n{insert}\n{ddl}"));
    }
}

#[test]
fn names_and_texts_cannot_leave_their_quotes() {
    let mut field = Field::new("a", Type::Text);
    field.name = "x\"`]; DROP TABLE t; --".to_owned();
    field.description = Some("it's\n'; DROP TABLE t; --".to_owned());
    field.default = Some(Value::text("'); DROP \\"));
    let contract = Contract::new("t", semver::Version::new(1, 0, 0), vec![field]);
    for (dialect, name, default) in [
        (
            Dialect::Postgres,
            "\"x\"\"`]; DROP TABLE t; --\"",
            "'''); DROP \\'",
        ),
        (
            Dialect::MySql,
            "`x\"``]; DROP TABLE t; --`",
            "'''); DROP \\\\'",
        ),
        (
            Dialect::Sqlite,
            "\"x\"\"`]; DROP TABLE t; --\"",
            "'''); DROP \\'",
        ),
        (
            Dialect::MsSql,
            "[x\"`]]; DROP TABLE t; --]",
            "N'''); DROP \\'",
        ),
    ] {
        let text = ddl(&contract, dialect, None);
        assert!(text.contains(name), "{text}");
        assert!(
            dialect == Dialect::MySql || text.contains(default),
            "{default}\n{text}"
        );
    }
    let database = rusqlite::Connection::open_in_memory().unwrap();
    database
        .execute_batch(&ddl(&contract, Dialect::Sqlite, None))
        .unwrap();
}

#[test]
fn lineage_events_are_valid_and_say_what_is_masked() {
    let mut contract = rich();
    let mail = contract.field("mail").unwrap();
    contract.fields[mail]
        .handling
        .insert("office".to_owned(), lockstep_core::contract::Handling::Hash);
    contract.fields[mail]
        .handling
        .insert("depot".to_owned(), lockstep_core::contract::Handling::Drop);
    let mapping = |text: &str| serde_json::from_str(text).unwrap();
    let shop = mapping(
        r#"{"table": "parcels", "fields": {"id": "nr", "mail": {"column": "email"}, "price": {"read": "row.cents / row.rate"}}}"#,
    );
    let office = mapping(
        r#"{"table": "out", "fields": {"id": "id", "mail": "mail"}, "columns": {"title": {"cel": "type + size"}}}"#,
    );
    let flow = Flow {
        name: "parcels",
        contract: &contract,
        from: End {
            system: "shop",
            mapping: Some(&shop),
        },
        to: vec![
            End {
                system: "office",
                mapping: Some(&office),
            },
            End {
                system: "depot",
                mapping: None,
            },
        ],
    };
    let at = jiff::Timestamp::UNIX_EPOCH;
    let job = lineage::job(&flow, at);
    let mail = &job["outputs"][1]["facets"]["columnLineage"]["fields"]["mail"]["inputFields"][0]["transformations"]
        [0];
    assert_eq!(
        (&mail["masking"], &mail["description"]),
        (&json!(true), &json!("hash"))
    );
    let settled = &job["outputs"][0]["facets"]["columnLineage"]["fields"];
    assert_eq!(settled["price"]["inputFields"][1]["field"], "rate");
    assert!(
        job["outputs"][2]["facets"]["columnLineage"]["fields"]
            .get("mail")
            .is_none()
    );
    let title = job["outputs"][1]["facets"]["columnLineage"]["fields"]["title"]["inputFields"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(title, 2);

    let Some(data) = data() else { return };
    let folder = data.join("openlineage/spec");
    let spec = read(&folder.join("OpenLineage.json"));
    let mut resources = vec![spec.clone()];
    for entry in std::fs::read_dir(folder.join("facets")).unwrap() {
        resources.push(read(&entry.unwrap().path()));
    }
    let build = |schema: &Json| {
        let registry = resources.iter().map(|resource| {
            (
                resource["$id"].as_str().unwrap().to_owned(),
                jsonschema::Resource::from_contents(resource.clone()),
            )
        });
        let registry = jsonschema::Registry::new()
            .extend(registry)
            .unwrap()
            .prepare()
            .unwrap();
        jsonschema::options()
            .with_registry(&registry)
            .should_validate_formats(true)
            .build(schema)
            .unwrap()
    };
    let whole = build(&spec);
    let mut events: Vec<Json> = all()
        .iter()
        .map(|contract| lineage::dataset(contract, at))
        .collect();
    events.push(job);
    for event in events {
        let errors: Vec<String> = whole
            .iter_errors(&event)
            .map(|e| format!("{}: {e}", e.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{errors:?}\n{event:#}");
        let datasets = event
            .get("dataset")
            .into_iter()
            .chain(event["outputs"].as_array().into_iter().flatten());
        for facets in datasets
            .filter_map(|dataset| dataset.get("facets"))
            .chain(event.pointer("/job/facets"))
        {
            for (key, facet) in facets.as_object().unwrap() {
                // The facet names the schema that it follows.
                let id = facet["_schemaURL"]
                    .as_str()
                    .unwrap()
                    .split('#')
                    .next()
                    .unwrap();
                let schema = resources
                    .iter()
                    .find(|resource| resource["$id"] == id)
                    .unwrap_or_else(|| panic!("no schema {id}"));
                let errors: Vec<String> = build(schema)
                    .iter_errors(&json!({key: facet}))
                    .map(|e| e.to_string())
                    .collect();
                assert!(errors.is_empty(), "{key}: {errors:?}");
            }
        }
    }
}
