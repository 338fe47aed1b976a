//! The conformance kit's checks: what every connector promises, a test for each promise.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod stand_in;

use std::sync::Arc;

use lockstep_core::connector::{Connector, RawConfig};
use lockstep_core::{Column, Decimal, Row, Shape, Type, Value};
use lockstep_tests::{Creates, Manifest, ReaderHarness, SinkHarness, System};
use serde_json::{Value as Json, json};

use stand_in::{Record, StandIn, TOKEN};

lockstep_tests::reader_conformance!(Customers);
lockstep_tests::sink_conformance!(Customers);

/// A system of its own for every check, with customers, who are told apart by a code.
struct Customers(StandIn);

/// The columns that checks write; the first is the key.
const WRITTEN: &[(&str, Type, bool)] = &[
    ("code", Type::Text, false),
    ("name", Type::Text, false),
    ("credit", Type::DECIMAL, true),
    ("active", Type::Bool, false),
    ("notes", Type::Text, true),
];

impl System for Customers {
    async fn start() -> Self {
        Customers(StandIn::start().await)
    }

    fn connector() -> Connector {
        lockstep_acme::connector()
    }

    /// What the connector can do beyond, and cannot do of, the usual: checks hold it to that.
    fn manifest() -> Manifest {
        Manifest {
            creates: Creates::LookUp,
            key_changes: true,
            bounds: true,
            ..Manifest::API
        }
    }

    fn config(&self) -> RawConfig {
        // Small pages, so that there are many; and no waiting for a budget.
        let config = json!({
            "url": self.0.url(), "token": TOKEN, "page_max": 10, "calls_per_second": 1000,
        });
        serde_json::from_value(config).unwrap()
    }

    fn tables(&self) -> Vec<String> {
        vec!["customers".to_owned()]
    }
}

/// What a record holds, read by the test's own means and not by the connector's.
fn value(record: &Record, name: &str, kind: Option<Type>) -> Value {
    let text = match &record[name] {
        Json::Null => return Value::Null,
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    match kind {
        Some(Type::Bool) => Value::Bool(text == "true"),
        Some(Type::Decimal { .. }) => Value::Decimal(text.parse().unwrap()),
        Some(Type::Timestamp) => Value::Timestamp(text.parse().unwrap()),
        _ => Value::Text(text),
    }
}

impl Customers {
    /// All records as rows of the discovered shape, by their ids as texts.
    async fn rows(&self) -> Vec<Row> {
        let reader = Self::connector()
            .open_reader(self.config(), self.context())
            .await;
        let shape = reader.unwrap().discover().await.unwrap().remove(0);
        let mut records = self.0.records();
        records.sort_by_key(|record| record["id"].to_string());
        let row = |record: &Record| {
            let columns = shape.columns.iter();
            Row::of(columns.map(|column| value(record, &column.name, column.kind)))
        };
        records.iter().map(row).collect()
    }
}

impl ReaderHarness for Customers {
    async fn fill(&self, count: usize) {
        // The ids c1, c2, … c10 are in another order as texts.
        for n in 0..count {
            self.0.put(
                &json!({ "name": format!("Customer {n} \"ü\""), "credit": format!("{n}.50") }),
            );
        }
    }

    async fn fill_odd(&self) -> Option<Vec<Row>> {
        let credit = "12345678901234567890.1234567890";
        self.0.put(&json!({ "name": "", "credit": credit }));
        self.0.put(&json!({ "name": "a/b & c", "notes": "" }));
        Some(self.rows().await)
    }

    async fn rows_by_key(&self) -> Vec<Row> {
        self.rows().await
    }

    fn missing_key(&self) -> Vec<Value> {
        vec![Value::text("c0")]
    }
}

impl SinkHarness for Customers {
    fn target(&self) -> Arc<Shape> {
        let column =
            |(name, kind, nullable): &(&str, Type, bool)| Column::new(*name, *kind, *nullable);
        Arc::new(Shape {
            name: "customers".to_owned(),
            columns: WRITTEN.iter().map(column).collect(),
            key: vec![0],
        })
    }

    fn row(&self, id: i64, version: i64) -> Row {
        Row::of([
            Value::text(format!("K-{id} 'x'")),
            Value::text(format!("{version} & \"ü\"")),
            Value::Decimal(Decimal::from_units(version * 1250, 2)),
            Value::Bool(version % 2 == 0),
            match version % 3 {
                0 => Value::Null,
                1 => Value::text(""),
                _ => Value::text("a\nb"),
            },
        ])
    }

    fn refused(&self, id: i64) -> Option<Row> {
        let mut row = self.row(id, 1);
        row.0[2] = Value::Decimal(Decimal::from(-1)).into();
        Some(row)
    }

    async fn read_back(&self) -> Vec<Row> {
        let row = |record: &Record| {
            let columns = WRITTEN.iter();
            Row::of(columns.map(|(name, kind, _)| value(record, name, Some(*kind))))
        };
        self.0.records().iter().map(row).collect()
    }

    async fn writes(&self) -> Option<u64> {
        Some(self.0.writes())
    }
}
