//! What comes out of every import is a contract, what cannot be said is told, and nothing breaks.

mod links;
mod properties;
mod statements;

use lockstep_core::contract::{Contract, Extra, Field, Inner, NoLibrary, load};
use lockstep_core::diagnostic::Diagnostic;
use lockstep_core::value::{Type, Value};

use super::*;
use crate::contract::data::Form;
use crate::contract::generate::{self, json_schema::Side, sql::Dialect};

/// What foreign keys of the tests lead to.
fn customers() -> Other {
    let stand = Stand {
        table: "shop.customers".to_owned(),
        columns: vec![("nr".to_owned(), "number".to_owned())],
    };
    Other {
        entity: "customer".to_owned(),
        fields: vec!["id".to_owned(), "number".to_owned()],
        key: Some("id".to_owned()),
        tables: vec![stand],
    }
}

fn asked(key: &[&str]) -> Asked {
    Asked {
        key: key.iter().map(|key| (*key).to_owned()).collect(),
        owner: Some("shop".to_owned()),
        others: vec![customers()],
        ..Asked::default()
    }
}

fn one(imported: Imported) -> Draft {
    let mut drafts = imported.unwrap_or_else(|found| panic!("{found:#?}"));
    assert_eq!(drafts.len(), 1);
    drafts.remove(0)
}

/// The contract as its own text says it.
fn written(draft: &Draft) -> Contract {
    let text = text("out.odcs.yaml", draft).unwrap_or_else(|found| panic!("{found:#?}"));
    load("out.odcs.yaml", &text, &NoLibrary).unwrap().contract
}

fn codes(found: &[Diagnostic]) -> Vec<&str> {
    found.iter().map(|found| found.code).collect()
}

fn said(draft: &Draft) -> String {
    draft
        .findings
        .iter()
        .map(|found| format!("{found}\n"))
        .collect()
}

/// What every form keeps of a field: name, type, inside, presence.
fn skeleton(fields: &[Field]) -> String {
    let field = |field: &Field| {
        let inside = match &field.inner {
            None => String::new(),
            Some(inner) => {
                let mut fields = inner.fields().to_vec();
                if !matches!(inner, Inner::Object { .. }) {
                    // An item or value is there wherever it is.
                    fields[0].required = true;
                }
                format!("{{{}}}", skeleton(&fields))
            }
        };
        format!(
            "{}:{}{}{}{inside}",
            field.name,
            field.kind,
            if field.required { "!" } else { "" },
            if field.nullable { "?" } else { "" }
        )
    };
    fields.iter().map(field).collect::<Vec<_>>().join(" ")
}

#[test]
fn our_own_contracts_come_back_from_json_schema_and_avro() {
    for contract in generate::tests::all() {
        let schema = generate::json_schema::schema(&contract, Side::Writer).to_string();
        let draft = one(json_schema::import("x.json", &schema, &asked(&[])));
        let back = written(&draft);
        assert_eq!(
            skeleton(&back.fields),
            skeleton(&contract.fields),
            "{}",
            said(&draft)
        );
        assert_eq!(
            (back.entity.as_str(), &back.key),
            (contract.entity.as_str(), &contract.key)
        );
        for (own, back) in contract.fields.iter().zip(&back.fields) {
            assert_eq!(
                own.allowed.as_ref().map(|list| &list.values),
                back.allowed.as_ref().map(|list| &list.values)
            );
            assert_eq!(own.default, back.default);
            assert_eq!(own.limits, back.limits, "{}", own.name);
        }
        assert_eq!(back.extra, contract.extra);

        let schema = generate::avro::schema(&contract).to_string();
        let draft = one(avro::import("x.avsc", &schema, &asked(&[])));
        let back = written(&draft);
        assert_eq!(
            skeleton(&back.fields),
            skeleton(&contract.fields),
            "{}",
            said(&draft)
        );
        assert_eq!(back.key, contract.key);
        for (own, back) in contract.fields.iter().zip(&back.fields) {
            assert_eq!(own.default, back.default);
        }

        let ddl = generate::sql::ddl(&contract, Dialect::Postgres, None);
        let back = written(&one(sql::import("x.sql", &ddl, "postgres", &asked(&[]))));
        assert_eq!(
            (&back.key, &back.description.is_some()),
            (&contract.key, &contract.description.is_some())
        );
        for (own, back) in contract.fields.iter().zip(&back.fields) {
            assert_eq!((&own.name, own.kind), (&back.name, back.kind));
            assert_eq!(back.nullable, own.nullable || !own.required);
            assert_eq!(own.limits.minimum, back.limits.minimum, "{}", own.name);
            let closed = own.allowed.as_ref().filter(|list| !list.open);
            assert_eq!(
                closed.map(|list| &list.values),
                back.allowed.as_ref().map(|list| &list.values)
            );
        }
    }
}

#[test]
fn json_schema_says_what_it_can_and_tells_the_rest() {
    let text = r##"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "title": "Customer Account",
  "type": "object",
  "required": ["account-no", "name", "address"],
  "properties": {
    "account-no": {"type": "string", "maxLength": 12, "pattern": "^(?=A)A"},
    "name": {"$ref": "#/$defs/text", "description": "Who it is."},
    "email": {"type": ["string", "null"], "format": "email"},
    "since": {"type": "string", "format": "date"},
    "state": {"oneOf": [{"const": "open"}, {"const": "closed"}]},
    "level": {"anyOf": [{"type": "integer", "minimum": 1, "exclusiveMaximum": 10}, {"type": "null"}], "default": 1},
    "address": {"allOf": [{"$ref": "#/$defs/place"}, {"properties": {"floor": {"type": "integer"}}}]},
    "either": {"oneOf": [{"type": "string"}, {"type": "integer"}]},
    "labels": {"type": "object", "additionalProperties": {"type": "string"}, "maxProperties": 9},
    "lines": {"type": "array", "minItems": 1, "uniqueItems": true, "items": {"type": "number", "multipleOf": 0.01}},
    "in": {"type": "boolean", "x-tool": 1}
  },
  "if": {"required": ["since"]},
  "$defs": {
    "text": {"type": "string", "minLength": 1},
    "place": {"type": "object", "required": ["city"], "properties": {"city": {"type": "string"}}, "additionalProperties": false}
  }
}"##;
    let draft = one(json_schema::import("a.json", text, &asked(&["account-no"])));
    let contract = written(&draft);
    assert_eq!(contract.entity, "customer_account");
    assert_eq!(
        skeleton(&contract.fields),
        "account_no:text! name:text! email:text? since:date state:text level:int? \
         address:json!{city:text! floor:int} either:json labels:json{values:text!} lines:json{items:float!} in_:bool"
    );
    let field = |name: &str| &contract.fields[contract.field(name).unwrap()];
    assert_eq!(field("account_no").limits.pattern, None);
    assert_eq!(field("level").default, Some(Value::Int(1)));
    assert!(field("level").limits.exclusive_maximum);
    assert_eq!(
        field("state").allowed.as_ref().unwrap().values,
        [Value::text("open"), Value::text("closed")]
    );
    assert_eq!(contract.extra, Extra::Keep);
    let said = said(&draft);
    for (line, part) in [
        (
            7,
            "`account_no`: the pattern `^(?=A)A` is not read alike everywhere",
        ),
        (14, "`either`: `oneOf` with 2 alternatives is not checked"),
        (16, "`multipleOf: 0.01` is not checked"),
        (17, "`x-tool` is not checked"),
        (19, "`if` is not checked"),
    ] {
        let found = said
            .lines()
            .find(|found| found.contains(part))
            .unwrap_or_else(|| panic!("{part}\n{said}"));
        assert!(
            found.starts_with(&format!("a.json:{line}:")),
            "{line} {found}"
        );
    }
    // What is told also stands in the contract.
    let text = super::text("x.yaml", &draft).unwrap();
    assert!(
        text.contains("      # the name was `account-no`\n"),
        "{text}"
    );
    assert!(text.contains("# `if` is not checked\n"), "{text}");
}

#[test]
fn older_drafts_are_read_as_far_as_they_say_the_same() {
    let text = r##"{"$schema": "http://json-schema.org/draft-04/schema#", "id": "http://x/y#", "properties": {
        "id": {"type": "string", "required": true},
        "n": {"type": "integer", "minimum": 0, "exclusiveMinimum": true, "divisibleBy": 5},
        "p": {"$ref": "#/definitions/p"}}, "definitions": {"p": {"type": "boolean"}}}"##;
    let contract = written(&one(json_schema::import("y.json", text, &asked(&[]))));
    assert_eq!(skeleton(&contract.fields), "id:text! n:int p:bool");
    let limits = &contract.fields[1].limits;
    assert_eq!(
        (limits.exclusive_minimum, &limits.multiple_of),
        (true, &Some(Value::Int(5)))
    );
}

#[test]
fn what_cannot_be_imported_is_refused_with_its_place() {
    let remote = "{\"properties\": {\n \"a\": {\"$ref\": \"https://example.com/a.json\"}}}";
    let circle =
        "{\"properties\": {\"a\": {\"properties\": {\"b\":\n {\"$ref\": \"#/properties/a\"}}}}}";
    let lost = "{\"properties\": {\"a\": {\"$ref\": \"#/$defs/x\"}}}";
    let twice = "{\"properties\": {\"a\": {},\n  \"a\": {}}}";
    let several = "{\"$defs\": {\"a\": {\"properties\": {}}, \"b\": {\"properties\": {}}}}";
    let itself = "{\"type\": \"record\", \"name\": \"A\", \"fields\": [\n {\"name\": \"a\", \"type\": \"A\"}]}";
    let unknown = "{\"type\": \"record\", \"name\": \"A\", \"fields\": [\n {\"name\": \"a\", \"type\": \"Bb\"}]}";
    let two = "apiVersion: v2.2.2\nkind: DataContract\nquantumName: x\n";
    let broken = "SELECT 1;\nCREATE TABLE b (id int,, x);";
    let quote = "a,b\n1,\"x\n";
    let cases: [(&str, Imported, &str, usize); 12] = [
        (
            "remote",
            json_schema::import("f", remote, &asked(&[])),
            "LS-I104",
            2,
        ),
        (
            "circle",
            json_schema::import("f", circle, &asked(&[])),
            "LS-I104",
            1,
        ),
        (
            "lost",
            json_schema::import("f", lost, &asked(&[])),
            "LS-I104",
            1,
        ),
        (
            "twice",
            json_schema::import("f", twice, &asked(&[])),
            "LS-I115",
            2,
        ),
        (
            "several",
            json_schema::import("f", several, &asked(&[])),
            "LS-I105",
            1,
        ),
        (
            "itself",
            avro::import("f", itself, &asked(&[])),
            "LS-I104",
            1,
        ),
        (
            "unknown",
            avro::import("f", unknown, &asked(&[])),
            "LS-I104",
            2,
        ),
        ("two", odcs::import("f", two, &asked(&[])), "LS-I109", 1),
        (
            "broken",
            sql::import("f", broken, "generic", &asked(&[])),
            "LS-I102",
            2,
        ),
        (
            "nothing",
            sql::import("f", "SELECT 1", "generic", &asked(&[])),
            "LS-I105",
            1,
        ),
        (
            "quote",
            sample::import("f", quote.as_bytes(), Form::Table, &asked(&[])),
            "LS-I102",
            2,
        ),
        (
            "key",
            json_schema::import(
                "f",
                "{\"properties\": {\"abc\": {\"type\": \"string\"}}}",
                &asked(&["abd"]),
            ),
            "LS-I106",
            1,
        ),
    ];
    for (name, imported, code, line) in cases {
        let found = imported.map(|drafts| drafts.len()).unwrap_err();
        assert_eq!(codes(&found), [code], "{name}");
        let place = found[0].place.as_ref().unwrap();
        assert_eq!(
            (place.file.as_str(), place.line),
            ("f", line),
            "{name}: {}",
            found[0]
        );
        assert!(found[0].help.is_some());
    }
}

#[test]
fn tables_say_what_their_database_checks() {
    let text = "
SET search_path = public;
CREATE TYPE public.mood AS ENUM ('sad', 'it''s ok');
CREATE TABLE public.\"Order\" (
    id bigint NOT NULL,
    customer_id bigint NOT NULL REFERENCES customers(id),
    state character varying(20) DEFAULT 'open'::character varying NOT NULL,
    mood public.mood,
    amount numeric(12,2) CHECK (amount >= 0 AND amount < 1000000),
    code text CHECK (char_length(code) BETWEEN 2 AND 8),
    paid boolean DEFAULT false NOT NULL,
    at timestamp with time zone DEFAULT now(),
    local timestamp(3) without time zone,
    doc jsonb,
    words text[],
    total numeric GENERATED ALWAYS AS (amount * 2) STORED,
    place point,
    CONSTRAINT state_check CHECK (((state)::text = ANY ((ARRAY['open'::character varying, 'paid'::character varying])::text[]))),
    CHECK (paid OR amount > 10)
);
ALTER TABLE ONLY public.\"Order\" ADD CONSTRAINT order_pkey PRIMARY KEY (id);
COMMENT ON TABLE public.\"Order\" IS 'What was ordered.';
COMMENT ON COLUMN public.\"Order\".code IS 'A code.';
COPY public.\"Order\" (id) FROM stdin;
";
    let draft = one(sql::import("dump.sql", text, "postgres", &asked(&[])));
    let contract = written(&draft);
    assert_eq!(
        skeleton(&contract.fields),
        "id:int! customer_id:int! state:text! mood:text? amount:decimal(12,2)? code:text? paid:bool! at:timestamp? local:timestamp? doc:json? words:json?{items:text!?} place:text?"
    );
    assert_eq!(
        (
            contract.entity.as_str(),
            contract.description.as_deref(),
            &contract.key
        ),
        ("order", Some("What was ordered."), &vec![0])
    );
    let field = |name: &str| &contract.fields[contract.field(name).unwrap()];
    assert_eq!(
        field("customer_id")
            .reference
            .as_ref()
            .map(|r| (r.entity.as_str(), r.field.as_str())),
        Some(("customer", "id"))
    );
    assert_eq!(field("state").default, Some(Value::text("open")));
    assert_eq!(field("state").allowed.as_ref().unwrap().values.len(), 2);
    assert_eq!(
        field("mood").allowed.as_ref().unwrap().values[1],
        Value::text("it's ok")
    );
    assert!(field("amount").limits.minimum.is_some() && field("amount").limits.exclusive_maximum);
    assert_eq!(
        (
            field("code").limits.min_length,
            field("code").limits.max_length
        ),
        (Some(2), Some(8))
    );
    assert_eq!(field("code").description.as_deref(), Some("A code."));
    let said = said(&draft);
    for part in [
        "`paid OR amount > 10` is not checked",
        "the column `total` that the database computes",
        "`POINT` is read as a text",
        "`now()` is the database's own",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
}

#[test]
fn other_dialects_are_read() {
    let mysql = "CREATE TABLE `kunden` (`nr` int unsigned NOT NULL AUTO_INCREMENT, `art` enum('a','b') NOT NULL COMMENT 'Die Art', `aktiv` tinyint(1) NOT NULL, `gross` bigint unsigned, PRIMARY KEY (`nr`)) ENGINE=InnoDB COMMENT='Wer kauft';";
    let contract = written(&one(sql::import("f", mysql, "mysql", &asked(&[]))));
    assert_eq!(
        skeleton(&contract.fields),
        "nr:int! art:text! aktiv:bool! gross:decimal(20,0)?"
    );
    assert_eq!(
        (
            contract.fields[1].description.as_deref(),
            contract.description.as_deref()
        ),
        (Some("Die Art"), Some("Wer kauft"))
    );
    let mssql = "CREATE TABLE [dbo].[Item] ([Id] uniqueidentifier NOT NULL PRIMARY KEY, [Name] nvarchar(50) NULL, [At] datetime2(7) NOT NULL, [Price] money NOT NULL);";
    let contract = written(&one(sql::import("f", mssql, "mssql", &asked(&[]))));
    assert_eq!(
        skeleton(&contract.fields),
        "Id:uuid! Name:text? At:timestamp! Price:decimal(19,4)!"
    );
    let sqlite =
        "CREATE TABLE t (id INTEGER PRIMARY KEY, a, b TEXT NOT NULL, c REAL, d BLOB) STRICT;";
    let contract = written(&one(sql::import("f", sqlite, "sqlite", &asked(&[]))));
    assert_eq!(
        skeleton(&contract.fields),
        "id:int! a:text? b:text! c:float? d:bytes?"
    );
    assert_eq!(
        codes(&sql::import("f", sqlite, "orcale", &asked(&[])).unwrap_err()),
        ["LS-I102"]
    );
}

#[test]
fn avro_types_keep_their_meaning() {
    let text = r#"[{"type": "enum", "name": "x.Kind", "symbols": ["A", "B"]},
      {"type": "record", "name": "x.Thing", "doc": "A thing.", "fields": [
        {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "kind", "type": "Kind", "aliases": ["art"]},
        {"name": "at", "type": ["null", {"type": "long", "logicalType": "local-timestamp-millis"}], "default": null},
        {"name": "price", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}, "default": "\u0001\u0000"},
        {"name": "hash", "type": {"type": "fixed", "name": "H", "size": 16}},
        {"name": "other", "type": ["int", "string"]},
        {"name": "parts", "type": {"type": "map", "values": {"type": "record", "name": "Part", "fields": [{"name": "n", "type": "int"}]}}}
      ]}]"#;
    let draft = one(avro::import("t.avsc", text, &asked(&[])));
    let contract = written(&draft);
    assert_eq!(
        skeleton(&contract.fields),
        "id:uuid! kind:text! at:timestamp? price:decimal(9,2)! hash:bytes! other:json! parts:json!{values:json!{n:int!}}"
    );
    assert_eq!(
        contract.fields[3]
            .default
            .as_ref()
            .map(ToString::to_string)
            .as_deref(),
        Some("2.56")
    );
    assert_eq!(contract.fields[4].limits.max_length, Some(16));
    let said = said(&draft);
    for part in [
        "it is one of 2 types",
        "a local timestamp has no offset",
        "`aliases`",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
}

#[test]
fn a_sample_says_what_holds_and_how_sure_that_is() {
    let mut csv = "Row ID,Order Date,Ship Mode,Amount,Mail,Phone,Zip,Note,Flag\n".to_owned();
    for i in 0..100 {
        let mode = ["First", "Second, slow"][i % 2];
        csv.push_str(&format!(
            "{},2024-01-{:02},\"{mode}\",{i}.5,p{i}@example.com,555-{i},0{i:04},{},true\n",
            i + 1,
            i % 28 + 1,
            if i % 3 == 0 { "" } else { "x" }
        ));
    }
    let draft = one(sample::import(
        "orders.csv",
        csv.as_bytes(),
        Form::Table,
        &asked(&[]),
    ));
    let contract = written(&draft);
    assert_eq!(
        skeleton(&contract.fields),
        "Row_ID:int! Order_Date:date! Ship_Mode:text! Amount:decimal(5,1)! Mail:text! Phone:text! Zip:text! Note:text? Flag:bool!"
    );
    assert_eq!(
        (contract.entity.as_str(), &contract.key),
        ("orders", &vec![0])
    );
    let list = contract.fields[2].allowed.as_ref().unwrap();
    assert_eq!((list.values.len(), list.open), (2, true));
    use lockstep_core::contract::Class;
    assert_eq!(
        (contract.fields[4].class, contract.fields[5].class),
        (Class::Personal, Class::Personal)
    );
    let text = text("x.yaml", &draft).unwrap();
    assert!(
        text.contains("# inferred from 100 rows: true of every row looked at"),
        "{text}"
    );
    assert!(text.contains("# null in 34 of 100 rows"), "{text}");
    // Nobody's address and number stands in the contract.
    assert!(
        !text.contains("example.com") && !text.contains("555-"),
        "{text}"
    );

    let json = "{\"id\": \"5f3c1b52-6e5a-4f7d-9a51-0d3c7f1e2b3a\", \"n\": 1, \"a\": {\"b\": 1.5}, \"l\": [1, 2], \"m\": 1}\n\n{\"id\": \"5f3c1b52-6e5a-4f7d-9a51-0d3c7f1e2b3b\", \"n\": null, \"a\": {}, \"l\": [], \"m\": \"x\"}\n";
    let draft = one(sample::import(
        "x.jsonl",
        json.as_bytes(),
        Form::Lines,
        &asked(&[]),
    ));
    let contract = written(&draft);
    assert_eq!(
        skeleton(&contract.fields),
        "id:uuid! n:int!? a:json!{b:float} l:json!{items:int!} m:json!"
    );
    assert!(text_of(&draft).contains("few rows, so mostly guesses"));
}

fn text_of(draft: &Draft) -> String {
    text("x.yaml", draft).unwrap()
}

#[test]
fn a_table_gives_its_shape() {
    use lockstep_core::{Column, Row, Shape};
    let shape = Shape {
        name: "public.customers".to_owned(),
        columns: vec![
            Column::new("id", Type::Int, false),
            Column::new("land", Type::Text, false),
            Column {
                name: "any".to_owned(),
                kind: None,
                nullable: true,
                length: None,
                list: false,
            },
        ],
        key: vec![0],
    };
    let rows: Vec<Row> = (0..60)
        .map(|i| {
            Row::of([
                Value::Int(i),
                Value::text(["DE", "FR"][i as usize % 2]),
                Value::Null,
            ])
        })
        .collect();
    let draft = one(table::import("shop", &shape, None, &rows, &asked(&[])));
    let contract = written(&draft);
    assert_eq!(
        (contract.entity.as_str(), contract.owner.as_deref()),
        ("customers", Some("shop"))
    );
    assert_eq!(skeleton(&contract.fields), "id:int! land:text! any:text?");
    assert_eq!(contract.fields[1].allowed.as_ref().unwrap().values.len(), 2);
}

#[test]
fn files_of_others_are_split_and_keep_what_lockstep_does_not_know() {
    let text = "
apiVersion: v3.0.2
kind: DataContract
id: sales
version: '2'
team:
  - {username: ann, role: owner}
servers: [{server: x, type: postgres, host: h, port: 5432, database: d, schema: s}]
schema:
  - name: Order Lines
    physicalName: tbl_ol
    tags: [a]
    properties:
      - {name: Line No, logicalType: integer, primaryKey: true, primaryKeyPosition: 1}
      - {name: total, logicalType: number, physicalType: 'NUMERIC(10,2)', customProperties: [{property: vendor.x, value: 1}]}
      - {name: rate, logicalType: number}
      - {name: at, physicalType: TIMESTAMP}
  - name: person
    properties:
      - {name: nr, logicalType: string}
";
    let drafts = odcs::import("f.yaml", text, &asked(&[])).unwrap();
    let contracts: Vec<Contract> = drafts.iter().map(written).collect();
    assert_eq!(
        contracts
            .iter()
            .map(|c| (c.entity.as_str(), c.id.as_str()))
            .collect::<Vec<_>>(),
        [
            ("order_lines", "sales-order_lines"),
            ("person", "sales-person")
        ]
    );
    assert_eq!(
        skeleton(&contracts[0].fields),
        "Line_No:int! total:decimal(10,2)? rate:float? at:timestamp?"
    );
    let text = text_of(&drafts[0]);
    for part in [
        "vendor.x",
        "physicalName: tbl_ol",
        "physicalName: Line No",
        "servers:",
        "username: ann",
        "version: 2.0.0",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(said(&drafts[1]).contains("guessed to identify a record"));
}

/// Those of the standard's examples that cannot be imported, and why.
const REFUSED: &[(&str, &str)] = &[
    ("azure-server.odcs.yaml", "it describes no entity"),
    ("basic-four-dpo.odcs.yaml", "it describes no entity"),
    (
        "column-accuracy.odcs.yaml",
        "its only property is a measurement, which cannot be a key",
    ),
    ("database-table-sla.odcs.yaml", "it describes no entity"),
    (
        "kafka-schemaregistry.odcs.yaml",
        "its entity has no properties",
    ),
    ("kafka-server.odcs.yaml", "its entity has no properties"),
    (
        "service-and-operational-roles.odcs.yaml",
        "it describes no entity",
    ),
];

#[test]
fn the_standards_examples_become_contracts() {
    let Some(data) = generate::tests::data() else {
        return;
    };
    let mut folders = vec![data.join("odcs-examples/docs/examples")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "yaml") {
                files.push(path);
            }
        }
    }
    assert!(files.len() >= 18, "{}", files.len());
    let mut refused = Vec::new();
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        match odcs::import(&name, &std::fs::read_to_string(&file).unwrap(), &asked(&[])) {
            Ok(drafts) => drafts.iter().for_each(|draft| _ = written(draft)),
            Err(found) => refused.push((
                name,
                found
                    .iter()
                    .map(|found| format!("{found}\n"))
                    .collect::<String>(),
            )),
        }
    }
    refused.sort();
    let names: Vec<&str> = refused.iter().map(|(name, _)| name.as_str()).collect();
    let expected: Vec<&str> = REFUSED.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, expected, "{refused:#?}");
}
