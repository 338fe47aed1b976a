//! The conformance kit's checks: the reader on both stand-ins, which list in opposite orders, the sink on localstripe, which can delete.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::sync::Arc;

use common::Stand;
use lockstep_core::connector::{Connector, RawConfig};
use lockstep_core::{Column, Row, Shape, Type, Value};
use lockstep_servers::stripe::Kind;
use lockstep_servers::{find, skip};
use lockstep_tests::{Manifest, ReaderHarness, SinkHarness, System};
use serde_json::{Value as Json, json};

mod on_localstripe {
    use super::*;
    lockstep_tests::reader_conformance!(Customers<true>);
    lockstep_tests::sink_conformance!(Customers<true>);
}

mod on_the_stateful_mock {
    use super::*;
    lockstep_tests::reader_conformance!(Customers<false>);
}

/// Customers of localstripe or of stripe-stateful-mock.
struct Customers<const LOCAL: bool>(Stand);

const COLUMNS: [&str; 5] = [
    "metadata.crm_id",
    "description",
    "email",
    "metadata.tier",
    "phone",
];

impl<const LOCAL: bool> System for Customers<LOCAL> {
    async fn start() -> Self {
        let kind = if LOCAL { Kind::Local } else { Kind::Stateful };
        Customers(Stand::start(kind).await.unwrap())
    }

    fn is_available() -> bool {
        let (is_there, name) = match LOCAL {
            true => (find::localstripe().is_some(), "localstripe"),
            false => (find::stripe_mock().is_some(), "stripe-stateful-mock"),
        };
        if !is_there {
            skip(name);
        }
        is_there
    }

    fn connector() -> Connector {
        lockstep_stripe::connector()
    }

    fn config(&self) -> RawConfig {
        let columns =
            json!({ "customers": { "metadata.crm_id": "text", "metadata.tier": "text" } });
        self.0
            .config(&json!({ "columns": columns, "page_max": 10 }))
    }

    fn manifest() -> Manifest {
        Manifest {
            key_changes: true,
            truncates: true,
            bounds: true,
            growing: false,
            journal: true,
            calls: true,
            ..Manifest::API
        }
    }

    fn tables(&self) -> Vec<String> {
        vec!["customers".to_owned()]
    }

    fn context(&self) -> lockstep_core::connector::OpenContext {
        // One budget is shared by a name in a process: every server has its own.
        common::context(&format!("stripe-{}", self.0.between.port), &["customers"])
    }
}

impl<const LOCAL: bool> ReaderHarness for Customers<LOCAL> {
    async fn fill(&self, count: usize) {
        for n in 0..count {
            let (name, id) = (format!("Ann {n} & \"Söhne\""), n.to_string());
            let pairs = [("description", name.as_str()), ("metadata[crm_id]", &id)];
            self.0.make("v1/customers", &pairs).await;
        }
    }

    async fn rows_by_key(&self) -> Vec<Row> {
        let reader = Self::connector()
            .open_reader(self.config(), self.context())
            .await;
        let shape = reader.unwrap().discover().await.unwrap().remove(0);
        let mut all = self.0.all("v1/customers").await;
        all.sort_by(|a, b| a["id"].as_str().cmp(&b["id"].as_str()));
        let cell = |object: &Json, column: &Column| {
            let mut at = object;
            for part in column.name.split('.') {
                at = &at[part];
            }
            match (at, column.kind) {
                (Json::Null, _) => Value::Null,
                (Json::String(text), Some(Type::Text)) => Value::text(text),
                (Json::Bool(is), _) => Value::Bool(*is),
                (Json::Number(n), Some(Type::Timestamp)) => {
                    Value::Timestamp(jiff::Timestamp::from_second(n.as_i64().unwrap()).unwrap())
                }
                (Json::Number(n), _) => Value::Int(n.as_i64().unwrap()),
                (other, _) => Value::Json(other.to_string().into()),
            }
        };
        let row = |object: &Json| Row::of(shape.columns.iter().map(|column| cell(object, column)));
        all.iter().map(row).collect()
    }

    fn missing_key(&self) -> Vec<Value> {
        vec![Value::text("cus_missing")]
    }
}

impl<const LOCAL: bool> SinkHarness for Customers<LOCAL> {
    fn target(&self) -> Arc<Shape> {
        Arc::new(Shape {
            name: "customers".to_owned(),
            columns: COLUMNS
                .iter()
                .enumerate()
                .map(|(at, name)| Column::new(*name, Type::Text, at > 0))
                .collect(),
            key: vec![0],
        })
    }

    fn row(&self, id: i64, version: i64) -> Row {
        let odd = version % 2 == 1;
        let name = ["Ann|", "ann&=%", "O'Ne\"il\\", "{$x}[]"][version as usize % 4];
        Row::of([
            Value::text(format!("C-{id}'s")),
            Value::text(format!("{name} {version}")),
            if odd {
                Value::text(format!("a{version}@example.com"))
            } else {
                Value::Null
            },
            Value::text(format!("tier {version} ü")),
            if odd {
                Value::Null
            } else {
                Value::text("+49 1")
            },
        ])
    }

    fn refused(&self, id: i64) -> Option<Row> {
        let mut row = self.row(id, 1);
        row.0[1] = Value::Float(0.5).into();
        Some(row)
    }

    async fn read_back(&self) -> Vec<Row> {
        let all = self.0.all("v1/customers").await;
        let cell = |object: &Json, column: &str| {
            let at = column.split('.').fold(object, |at, part| &at[part]);
            match at.as_str() {
                Some(text) if !text.is_empty() => Value::text(text),
                _ => Value::Null,
            }
        };
        let row = |object: &Json| Row::of(COLUMNS.iter().map(|column| cell(object, column)));
        all.iter().map(row).collect()
    }

    async fn writes(&self) -> Option<u64> {
        Some(self.0.between.writes())
    }
}
