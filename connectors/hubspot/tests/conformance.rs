//! The conformance kit's checks, on our own simulator of HubSpot.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::sync::Arc;

use lockstep_core::connector::{Connector, OpenContext, RawConfig};
use lockstep_core::{Column, Decimal, Row, Shape, Type, Value};
use lockstep_simulators::hubspot::{Options, Record, Simulator, TOKEN};
use lockstep_tests::{Creates, Deletes, Manifest, ReaderHarness, SinkHarness, System};
use serde_json::json;

mod deals {
    use super::*;
    lockstep_tests::reader_conformance!(Deals);
    lockstep_tests::sink_conformance!(Deals);
}

/// Deals, told apart by a property of unique values.
struct Deals(Simulator);

const COLUMNS: [(&str, Type); 5] = [
    ("erp_id", Type::Text),
    ("dealname", Type::Text),
    ("amount", Type::DECIMAL),
    ("closedate", Type::Timestamp),
    ("won", Type::Bool),
];

impl System for Deals {
    async fn start() -> Self {
        let simulator = Simulator::start(Options::default()).await.unwrap();
        simulator.unique("deals", "erp_id");
        simulator.property("deals", "won", "bool");
        Deals(simulator)
    }

    fn connector() -> Connector {
        lockstep_hubspot::connector()
    }

    fn config(&self) -> RawConfig {
        [
            ("access_token".to_owned(), json!(TOKEN)),
            ("url".to_owned(), json!(self.0.url())),
            ("calls_per_second".to_owned(), json!(1000)),
            ("page_max".to_owned(), json!(10)),
        ]
        .into()
    }

    fn tables(&self) -> Vec<String> {
        vec!["deals".to_owned()]
    }

    fn manifest() -> Manifest {
        Manifest {
            creates: Creates::Upsert,
            deletes: Deletes::Soft,
            key_changes: true,
            bounds: true,
            growing: true,
            calls: true,
            ..Manifest::API
        }
    }

    fn context(&self) -> OpenContext {
        OpenContext {
            // One budget is shared by a name in a process: every simulator has its own.
            system: self.0.url(),
            folder: ".".into(),
            tables: self.tables(),
            reads: Default::default(),
        }
    }
}

fn value(record: &Record, name: &str, kind: Option<Type>) -> Value {
    let text = match name {
        "id" => Some(record.id.to_string()),
        "createdAt" => Some(record.created.to_string()),
        "updatedAt" => Some(record.updated.to_string()),
        name => record.properties.get(name).cloned(),
    };
    let Some(text) = text else { return Value::Null };
    match kind {
        Some(Type::Decimal { .. }) => Value::Decimal(text.parse().unwrap()),
        Some(Type::Bool) => Value::Bool(text == "true"),
        Some(Type::Timestamp) => Value::Timestamp(match text.parse::<i64>() {
            Ok(ms) => jiff::Timestamp::from_millisecond(ms).unwrap(),
            Err(_) => text.parse().unwrap(),
        }),
        _ => Value::Text(text),
    }
}

impl ReaderHarness for Deals {
    async fn fill(&self, count: usize) {
        for n in 0..count {
            let name = format!("Deal {n} \"ü\"");
            self.0.edit(
                "deals",
                None,
                &[("dealname", &name), ("amount", &format!("{n}.50"))],
            );
        }
    }

    async fn rows_by_key(&self) -> Vec<Row> {
        let reader = Self::connector()
            .open_reader(self.config(), self.context())
            .await;
        let shape = reader.unwrap().discover().await.unwrap().remove(0);
        let mut all = self.0.records("deals");
        all.sort_by_key(|record| record.id.to_string());
        let row = |record: &Record| {
            Row::of(
                shape
                    .columns
                    .iter()
                    .map(|column| value(record, &column.name, column.kind)),
            )
        };
        all.iter().map(row).collect()
    }

    fn missing_key(&self) -> Vec<Value> {
        vec![Value::text("99999999")]
    }
}

impl SinkHarness for Deals {
    fn target(&self) -> Arc<Shape> {
        let column = |(name, kind): &(&str, Type)| Column::new(*name, *kind, *name != "erp_id");
        Arc::new(Shape {
            name: "deals".to_owned(),
            columns: COLUMNS.iter().map(column).collect(),
            key: vec![0],
        })
    }

    fn row(&self, id: i64, version: i64) -> Row {
        let odd = version % 2 == 1;
        Row::of([
            Value::text(format!("D-{id} 'x'")),
            Value::text(format!("{version} & \"ü\"")),
            Value::Decimal(Decimal::from_units(version * 1250, 2)),
            if odd {
                let at = jiff::Timestamp::from_millisecond(1_700_000_000_000 + version);
                Value::Timestamp(at.unwrap())
            } else {
                Value::Null
            },
            if odd {
                Value::Null
            } else {
                Value::Bool(version % 4 == 0)
            },
        ])
    }

    fn refused(&self, id: i64) -> Option<Row> {
        let mut row = self.row(id, 1);
        row.0[2] = Value::text("a lot").into();
        Some(row)
    }

    async fn read_back(&self) -> Vec<Row> {
        let row = |record: &Record| {
            Row::of(
                COLUMNS
                    .iter()
                    .map(|(name, kind)| value(record, name, Some(*kind))),
            )
        };
        self.0.records("deals").iter().map(row).collect()
    }

    async fn writes(&self) -> Option<u64> {
        Some(self.0.writes())
    }
}
