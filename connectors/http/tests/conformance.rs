//! The conformance kit on an API of each shape, and what is special to descriptions.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod calls;
mod desk;
mod files;
mod stand_in;
mod trouble;

use std::path::PathBuf;
use std::sync::Arc;

use lockstep_core::connector::{Connector, RawConfig};
use lockstep_core::{Column, Row, Shape, Type, Value};
use lockstep_http_client::Json;
use lockstep_tests::{Creates, Deletes, Manifest, ReaderHarness, SinkHarness, System};

use desk::{Desk, Style};

/// A desk whose listing has one style.
struct Styled<const STYLE: usize> {
    desk: Desk,
    folder: tempfile::TempDir,
}

const STYLES: [Style; 5] = [
    Style::Cursor,
    Style::Offset,
    Style::Number,
    Style::Link,
    Style::Url,
];

mod by_cursor {
    use super::*;
    lockstep_tests::reader_conformance!(Styled<0>);
    lockstep_tests::sink_conformance!(Styled<0>);
}

mod by_offset {
    use super::*;
    lockstep_tests::reader_conformance!(Styled<1>);
}

mod by_number {
    use super::*;
    lockstep_tests::reader_conformance!(Styled<2>);
}

mod by_link {
    use super::*;
    lockstep_tests::reader_conformance!(Styled<3>);
}

mod by_url {
    use super::*;
    lockstep_tests::reader_conformance!(Styled<4>);
}

impl<const STYLE: usize> System for Styled<STYLE> {
    async fn start() -> Self {
        let desk = Desk::start(STYLES[STYLE]).await;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("desk.yaml"), desk.description()).unwrap();
        Styled { desk, folder }
    }

    fn connector() -> Connector {
        lockstep_http::connector()
    }

    fn manifest() -> Manifest {
        Manifest {
            creates: Creates::IdempotencyKey,
            deletes: Deletes::Hard,
            key_changes: true,
            bounds: true,
            calls: true,
            ..Manifest::API
        }
    }

    fn config(&self) -> RawConfig {
        let settings = serde_json::json!({
            "file": "desk.yaml",
            "secrets": { "token": desk::TOKEN, "hook": "whsec" },
        });
        serde_json::from_value(settings).unwrap()
    }

    fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    fn tables(&self) -> Vec<String> {
        vec!["items".to_owned()]
    }
}

/// A record as the connector has to read it: amount, id, name, note, ref, updated.
fn row(record: &Json) -> Row {
    let text = |path: &str| match record.at(path) {
        Some(Json::Text(text)) => Value::Text(text.clone()),
        _ => Value::Null,
    };
    let amount = record.at("money.amount").and_then(Json::plain);
    let updated = record.at("updated_at").and_then(Json::as_str).unwrap();
    Row::of([
        amount.map_or(Value::Null, |amount| {
            Value::Decimal(amount.parse().unwrap())
        }),
        text("id"),
        text("name"),
        text("note"),
        text("ref"),
        Value::Timestamp(updated.parse().unwrap()),
    ])
}

impl<const STYLE: usize> ReaderHarness for Styled<STYLE> {
    async fn fill(&self, count: usize) {
        for i in 0..count {
            // 7919 is prime: references are not in the order of creation.
            let reference = format!("r{:04}", i * 7919 % 10_000);
            self.desk.add(&reference, &format!("thing {i}"), "12.50");
        }
    }

    async fn rows_by_key(&self) -> Vec<Row> {
        let mut rows: Vec<Row> = self.desk.records().iter().map(row).collect();
        let id = |row: &Row| row.value(1).unwrap().to_string();
        rows.sort_by_key(id);
        rows
    }

    fn missing_key(&self) -> Vec<Value> {
        vec![Value::text("i99999")]
    }

    async fn fill_odd(&self) -> Option<Vec<Row>> {
        let long = "123456789012345678901234567890.10";
        for (reference, amount) in [("a", long), ("b", "-0.01"), ("c", "0.00"), ("d", "100")] {
            self.desk.add(reference, "", amount);
        }
        Some(self.rows_by_key().await)
    }
}

impl<const STYLE: usize> SinkHarness for Styled<STYLE> {
    fn target(&self) -> Arc<Shape> {
        let decimal = Type::Decimal {
            precision: Some(12),
            scale: Some(2),
        };
        Arc::new(Shape {
            name: "items".to_owned(),
            columns: vec![
                Column::new("name", Type::Text, true),
                Column::new("ref", Type::Text, false),
                Column::new("amount", decimal, true),
                Column::new("note", Type::Text, true),
            ],
            key: vec![1],
        })
    }

    fn row(&self, id: i64, version: i64) -> Row {
        let note = match version % 3 {
            0 => Value::Null,
            1 => Value::text(""),
            _ => Value::text("ä/?&=#"),
        };
        Row::of([
            Value::text(format!("version {version}")),
            Value::text(format!("ref {id}/ü&x")),
            Value::Decimal(lockstep_core::Decimal::from_units(version, 2)),
            note,
        ])
    }

    fn refused(&self, id: i64) -> Option<Row> {
        let mut row = self.row(id, 1);
        row.0[2] = Value::Decimal("-1.00".parse().unwrap()).into();
        Some(row)
    }

    async fn read_back(&self) -> Vec<Row> {
        let chosen = |record: &Json| {
            let Row(cells) = row(record);
            Row([2, 4, 0, 3]
                .iter()
                .map(|column| cells[*column].clone())
                .collect())
        };
        self.desk.records().iter().map(chosen).collect()
    }

    async fn writes(&self) -> Option<u64> {
        Some(self.desk.writes())
    }
}
