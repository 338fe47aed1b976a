//! The conformance kit's checks, on our own simulator of Salesforce.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::sync::Arc;

use lockstep_core::connector::{Connector, OpenContext, RawConfig};
use lockstep_core::{Column, Decimal, Row, Shape, Type, Value};
use lockstep_simulators::salesforce::{Field, Options, Record, Simulator};
use lockstep_tests::{Creates, Deletes, Manifest, ReaderHarness, SinkHarness, System};
use serde_json::{Value as Json, json};

mod opportunities {
    use super::*;
    lockstep_tests::reader_conformance!(Opportunities);
    lockstep_tests::sink_conformance!(Opportunities);
}

/// Opportunities, told apart by an external id.
struct Opportunities(Simulator);

const COLUMNS: [(&str, Type); 7] = [
    ("Erp__c", Type::Text),
    ("Name", Type::Text),
    ("StageName", Type::Text),
    ("Amount", Type::DECIMAL),
    ("CloseDate", Type::Date),
    ("Seen__c", Type::Timestamp),
    ("Won__c", Type::Bool),
];

impl System for Opportunities {
    async fn start() -> Self {
        let options = Options {
            page: 4,
            ..Options::default()
        };
        let simulator = Simulator::start(options).await.unwrap();
        for field in [
            Field::external("Erp__c"),
            Field::new("Seen__c", "datetime"),
            Field::new("Won__c", "boolean"),
        ] {
            simulator.field("Opportunity", field);
        }
        Opportunities(simulator)
    }

    fn connector() -> Connector {
        lockstep_salesforce::connector()
    }

    fn config(&self) -> RawConfig {
        common::config(&self.0, &json!({"page_max": 10}))
    }

    fn tables(&self) -> Vec<String> {
        vec!["Opportunity".to_owned()]
    }

    fn manifest() -> Manifest {
        Manifest {
            creates: Creates::Upsert,
            deletes: Deletes::Soft,
            key_changes: true,
            bounds: true,
            growing: true,
            journal: true,
            ..Manifest::API
        }
    }

    fn context(&self) -> OpenContext {
        common::context(&self.0, &["Opportunity"])
    }
}

fn value(record: &Record, name: &str, kind: Type) -> Value {
    let at = |second| Value::Timestamp(jiff::Timestamp::from_second(second).unwrap());
    let held = match name {
        "Id" => return Value::text(&record.id),
        "IsDeleted" => return Value::Bool(false),
        "CreatedDate" => return at(record.created),
        "LastModifiedDate" | "SystemModstamp" => return at(record.stamp),
        name => record.values.get(name),
    };
    match (held, kind) {
        (Some(Json::Number(number)), _) => {
            let text = format!("{:.2}", number.as_f64().unwrap());
            Value::Decimal(text.parse().unwrap())
        }
        (Some(Json::Bool(is)), _) => Value::Bool(*is),
        (None, Type::Bool) => Value::Bool(false),
        (Some(Json::String(text)), Type::Date) => Value::Date(text.parse().unwrap()),
        (Some(Json::String(text)), Type::Timestamp) => Value::Timestamp(text.parse().unwrap()),
        (Some(Json::String(text)), _) => Value::text(text),
        (None, _) => Value::Null,
        (Some(other), _) => panic!("{other}"),
    }
}

impl Opportunities {
    async fn shape(&self) -> Arc<Shape> {
        let connector = Self::connector();
        let opened = connector.open_reader(self.config(), self.context());
        opened.await.unwrap().discover().await.unwrap().remove(0)
    }

    fn row_of(shape: &Shape, record: &Record) -> Row {
        let columns = shape.columns.iter();
        Row::of(columns.map(|column| value(record, &column.name, column.kind.unwrap())))
    }
}

impl ReaderHarness for Opportunities {
    async fn fill(&self, count: usize) {
        for n in 0..count {
            let name = format!("Deal {} \"ü\"", n * 7919 % 100);
            let amount = json!(n as f64 * 1e6 + 0.5);
            let stage = json!("Prospecting");
            let fields = [
                ("Name", json!(name)),
                ("Amount", amount),
                ("StageName", stage),
            ];
            self.0.edit("Opportunity", None, &fields);
            if n % 5 == 4 {
                // Windows hold rows of one instant, and of several.
                self.0.pass(1);
            }
        }
    }

    async fn rows_by_key(&self) -> Vec<Row> {
        let shape = self.shape().await;
        let records = self.0.records("Opportunity");
        records
            .iter()
            .map(|record| Self::row_of(&shape, record))
            .collect()
    }

    fn missing_key(&self) -> Vec<Value> {
        vec![Value::text("003zzzzzzzzzzzzAAA")]
    }

    async fn fill_odd(&self) -> Option<Vec<Row>> {
        for (name, amount) in [
            ("'; DROP", json!(0.1)),
            ("back\\slash\nline", json!(1_234_567_890_123.45)),
            ("none", Json::Null),
            ("less", json!(-0.01)),
        ] {
            self.0.edit(
                "Opportunity",
                None,
                &[("Name", json!(name)), ("Amount", amount)],
            );
        }
        Some(self.rows_by_key().await)
    }
}

impl SinkHarness for Opportunities {
    fn target(&self) -> Arc<Shape> {
        let column = |(name, kind): &(&str, Type)| {
            let kind = match *name {
                "Amount" => Type::Decimal {
                    precision: Some(18),
                    scale: Some(2),
                },
                _ => *kind,
            };
            Column::new(*name, kind, *name != "Erp__c")
        };
        Arc::new(Shape {
            name: "Opportunity".to_owned(),
            columns: COLUMNS.iter().map(column).collect(),
            key: vec![0],
        })
    }

    fn row(&self, id: i64, version: i64) -> Row {
        let odd = version % 2 == 1;
        let or_null = |is: bool, value: Value| if is { value } else { Value::Null };
        let at = jiff::Timestamp::from_second(1_700_000_000 + version).unwrap();
        let day = jiff::civil::date(2024, 2, 1 + (version % 28) as i8);
        Row::of([
            Value::text(format!("O-{id} 'x' \\ \"ü\"")),
            Value::text(format!("{version} & <ü>")),
            or_null(
                odd,
                Value::text(if version % 3 == 0 {
                    "Closed Won"
                } else {
                    "Prospecting"
                }),
            ),
            or_null(
                version != 0,
                Value::Decimal(Decimal::from_units(version * 1250, 2)),
            ),
            or_null(!odd, Value::Date(day)),
            or_null(odd, Value::Timestamp(at)),
            Value::Bool(version % 4 == 0),
        ])
    }

    fn refused(&self, id: i64) -> Option<Row> {
        let mut row = self.row(id, 1);
        row.0[2] = Value::text("Nowhere").into();
        Some(row)
    }

    async fn read_back(&self) -> Vec<Row> {
        let row = |record: &Record| {
            Row::of(
                COLUMNS
                    .iter()
                    .map(|(name, kind)| value(record, name, *kind)),
            )
        };
        self.0.records("Opportunity").iter().map(row).collect()
    }

    async fn writes(&self) -> Option<u64> {
        Some(self.0.writes())
    }
}
