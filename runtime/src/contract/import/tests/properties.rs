//! Whatever comes in: nothing breaks, and what goes out comes back.

use lockstep_core::contract::{Contract, Extra, Field, Inner, Limits};
use lockstep_core::diagnostic::Severity;
use lockstep_core::value::Type;
use proptest::prelude::*;

use super::super::*;
use super::{asked, codes, one, said, skeleton, written};
use crate::contract::data::Form;
use crate::contract::generate::{self, json_schema::Side, sql::Dialect};

fn kinds() -> impl Strategy<Value = Type> {
    prop_oneof![
        Just(Type::Bool),
        Just(Type::Int),
        Just(Type::Float),
        Just(Type::Text),
        Just(Type::Bytes),
        Just(Type::Date),
        Just(Type::Time),
        Just(Type::Timestamp),
        Just(Type::Uuid),
        (1u32..30)
            .prop_flat_map(|precision| (Just(precision), 0..=precision))
            .prop_map(|(precision, scale)| Type::Decimal {
                precision: Some(precision),
                scale: Some(scale)
            }),
    ]
}

fn fields(depth: u32) -> BoxedStrategy<Vec<Field>> {
    let name = "[a-z][a-zA-Z0-9_]{0,7}".prop_filter("no word of CEL", |name| {
        !["in", "true", "false", "null"].contains(&name.as_str())
    });
    let names = proptest::collection::hash_set(name, 1..5);
    names
        .prop_flat_map(move |names| {
            let mut names: Vec<String> = names.into_iter().collect();
            names.sort();
            names
                .into_iter()
                .map(|name| field(name, depth))
                .collect::<Vec<_>>()
        })
        .boxed()
}

fn field(name: String, depth: u32) -> BoxedStrategy<Field> {
    let plain = (
        kinds(),
        any::<bool>(),
        any::<bool>(),
        proptest::option::of(0u64..20),
    )
        .prop_map({
            let name = name.clone();
            move |(kind, required, nullable, most)| {
                let mut field = Field {
                    required,
                    nullable,
                    ..Field::new(&name, kind)
                };
                if kind == Type::Text {
                    field.limits = Limits {
                        max_length: most,
                        ..Limits::default()
                    };
                }
                field
            }
        });
    if depth == 0 {
        return plain.boxed();
    }
    let nested = (fields(depth - 1), any::<bool>(), any::<bool>(), 0..3u8).prop_map(
        move |(fields, required, nullable, shape)| {
            let inner = match shape {
                0 => Inner::Object {
                    fields,
                    extra: Extra::Reject,
                },
                shape => {
                    let mut only = fields.into_iter().next().unwrap();
                    only.required = true;
                    only.name = if shape == 1 { "items" } else { "values" }.to_owned();
                    match shape {
                        1 => Inner::List {
                            items: Box::new(only),
                            least: None,
                            most: None,
                            unique: false,
                        },
                        _ => Inner::Map {
                            values: Box::new(only),
                            least: None,
                            most: None,
                        },
                    }
                }
            };
            Field {
                required,
                nullable,
                inner: Some(inner),
                ..Field::new(&name, Type::Json)
            }
        },
    );
    prop_oneof![3 => plain, 1 => nested].boxed()
}

fn contracts() -> impl Strategy<Value = Contract> {
    fields(2).prop_map(|rest| {
        let mut fields = vec![Field::new("the_key", Type::Text)];
        fields.extend(rest);
        Contract::new("thing", semver::Version::new(1, 0, 0), fields)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn fields_types_and_presence_come_back(contract in contracts()) {
        let schema = generate::json_schema::schema(&contract, Side::Writer).to_string();
        let back = written(&one(json_schema::import("x.json", &schema, &asked(&[]))));
        prop_assert_eq!(skeleton(&back.fields), skeleton(&contract.fields));

        let schema = generate::avro::schema(&contract).to_string();
        prop_assert!(apache_avro::Schema::parse_str(&schema).is_ok(), "{}", schema);
        let back = written(&one(avro::import("x.avsc", &schema, &asked(&[]))));
        // Avro has no field that is always there and null, apart from one without a default.
        prop_assert_eq!(skeleton(&back.fields), skeleton(&contract.fields));

        let ddl = generate::sql::ddl(&contract, Dialect::Postgres, None);
        let back = written(&one(sql::import("x.sql", &ddl, "postgres", &asked(&[]))));
        for (own, back) in contract.fields.iter().zip(&back.fields) {
            prop_assert_eq!((&own.name, own.kind), (&back.name, back.kind));
            prop_assert_eq!(back.nullable, own.nullable || !own.required);
        }
    }

    #[test]
    fn no_bytes_break_an_import(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(text) = readable("x", &bytes) {
            every(text);
        }
    }

    #[test]
    fn no_mutation_of_a_good_text_breaks_an_import(seed in 0..SEEDS.len(), at in 0..2000usize, cut in 0..20usize, put in r#"[\[\]{}():,"';\\/#$a-z0-9 \n*&|<>-]{0,12}"#) {
        let mut text = SEEDS[seed].to_owned();
        let mut from = at % (text.len() + 1);
        while !text.is_char_boundary(from) { from -= 1; }
        let mut to = (from + cut).min(text.len());
        while !text.is_char_boundary(to) { to += 1; }
        text.replace_range(from..to, &put);
        every(&text);
    }
}

const SEEDS: [&str; 5] = [
    r##"{"$defs": {"a": {"type": ["string", "null"], "maxLength": 3, "pattern": "^a$"}}, "properties": {"id": {"$ref": "#/$defs/a"}, "n": {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 9}, {"type": "null"}]}, "l": {"type": "array", "items": {"properties": {"x": {"enum": [1, 2]}}}, "default": []}}, "required": ["id"]}"##,
    r#"{"type": "record", "name": "a.B", "fields": [{"name": "id", "type": "string", "default": "x"}, {"name": "d", "type": ["null", {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}], "default": null}, {"name": "e", "type": {"type": "enum", "name": "E", "symbols": ["A", "B"], "default": "A"}}, {"name": "r", "type": {"type": "array", "items": {"type": "record", "name": "C", "fields": []}}}]}"#,
    "CREATE TABLE \"order\" (id bigint PRIMARY KEY, state varchar(9) NOT NULL CHECK (state IN ('a', 'b')), n numeric(9,2) DEFAULT 1.5, at timestamptz, CHECK (n > 0 AND length(state) <= 4));\nCOMMENT ON COLUMN \"order\".state IS 'x';\nCREATE TYPE mood AS ENUM ('a');",
    "apiVersion: v3.1.0\nkind: DataContract\nid: x\nversion: 1.0.0\nstatus: active\nschema:\n  - name: a b\n    properties:\n      - {name: id, logicalType: string, primaryKey: true}\n      - {name: n, logicalType: number, logicalTypeOptions: {minimum: 1}}\n      - {name: o, logicalType: object, properties: [{name: x, logicalType: date}]}\n",
    "id,name,at,price\n1,\"a \"\"b\"\", c\",2024-01-01,1.50\n2,x,2024-01-02,2.25\n",
];

/// Every import of a text: each gives contracts that load, or reasons.
fn every(text: &str) {
    let asked = Asked::default();
    let imports = [
        json_schema::import("x", text, &asked),
        avro::import("x", text, &asked),
        odcs::import("x", text, &asked),
        sql::import("x", text, "postgres", &asked),
        sql::import("x", text, "generic", &asked),
        sample::import("x", text.as_bytes(), Form::Document, &asked),
        sample::import("x", text.as_bytes(), Form::Lines, &asked),
        sample::import("x", text.as_bytes(), Form::Table, &asked),
    ];
    for imported in imports {
        match imported {
            Ok(drafts) => {
                for draft in drafts {
                    written(&draft);
                }
            }
            Err(found) => assert!(
                found.iter().any(|found| found.severity == Severity::Error),
                "{found:?}"
            ),
        }
    }
}

#[test]
fn references_that_multiply_are_bounded() {
    let mut definitions = vec!["\"d0\": {\"type\": \"string\"}".to_owned()];
    for i in 1..40 {
        let down = i - 1;
        definitions.push(format!("\"d{i}\": {{\"properties\": {{\"a\": {{\"$ref\": \"#/$defs/d{down}\"}}, \"b\": {{\"$ref\": \"#/$defs/d{down}\"}}}}}}"));
    }
    let text = format!(
        "{{\"properties\": {{\"x\": {{\"$ref\": \"#/$defs/d39\"}}}}, \"$defs\": {{{}}}}}",
        definitions.join(", ")
    );
    assert_eq!(
        codes(&json_schema::import("f", &text, &asked(&[])).unwrap_err()),
        ["LS-I103"]
    );
    let all: Vec<String> = (0..40).map(|i| format!("\"d{i}\": {{\"allOf\": [{{\"$ref\": \"#/$defs/d{}\"}}, {{\"$ref\": \"#/$defs/d{}\"}}]}}", i + 1, i + 1)).collect();
    let text = format!(
        "{{\"properties\": {{\"x\": {{\"$ref\": \"#/$defs/d0\"}}}}, \"$defs\": {{{}, \"d40\": {{}}}}}}",
        all.join(", ")
    );
    assert!(json_schema::import("f", &text, &asked(&[])).is_err());
}

#[test]
fn large_and_odd_texts_are_refused_or_read_in_bounded_time() {
    let started = std::time::Instant::now();
    assert_eq!(
        codes(&readable("f", &vec![b' '; 10 << 20]).unwrap_err()),
        ["LS-I101"]
    );
    assert_eq!(codes(&readable("f", b"a\n\xff").unwrap_err()), ["LS-I101"]);
    assert_eq!(readable("f", b"\xef\xbb\xbf{}").unwrap(), "{}");
    every(&"[".repeat(1 << 20));
    every(&"{\"a\":".repeat(1 << 18));
    every(&format!(
        "CREATE TABLE t (a int CHECK {}1{})",
        "(".repeat(100_000),
        ")".repeat(100_000)
    ));
    let bomb: String = (0..30)
        .map(|i| {
            format!(
                "a{i}: &a{i} [{}]\n",
                vec![format!("*a{}", i - 1); if i == 0 { 0 } else { 9 }].join(", ")
            )
        })
        .collect();
    every(&bomb);
    let values: Vec<String> = (0..100_000).map(|i| format!("\"v{i}\"")).collect();
    let huge = format!(
        "{{\"properties\": {{\"id\": {{\"type\": \"string\"}}, \"e\": {{\"enum\": [{}]}}}}}}",
        values.join(",")
    );
    let draft = one(json_schema::import("f", &huge, &asked(&[])));
    assert!(
        written(&draft).fields[1].allowed.is_none() && said(&draft).contains("too many to list")
    );
    let fields: Vec<String> = (0..5000).map(|i| format!("\"f{i}\": {{}}")).collect();
    let wide = format!("{{\"properties\": {{{}}}}}", fields.join(","));
    assert_eq!(
        codes(&json_schema::import("f", &wide, &asked(&[])).unwrap_err()),
        ["LS-I103"]
    );
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}
