//! The conformance kit's checks, on fe-mockserver-core and on our own stand-in.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::sync::Arc;

use common::{Asked, Stand};
use lockstep_core::connector::{Connector, OpenContext, RawConfig};
use lockstep_core::{Column, Decimal, Row, Shape, Type, Value};
use lockstep_servers::odata::Server;
use lockstep_tests::{Creates, Manifest, ReaderHarness, SinkHarness, System};
use serde_json::{Value as Json, json};

/// On the independent server: lines, told apart by the two parts of their own key.
mod lines {
    use super::*;
    lockstep_tests::reader_conformance!(Lines);
    lockstep_tests::sink_conformance!(Lines);
}

/// On the independent server: customers, told apart by an id that the service gives, and written by a code.
mod customers {
    use super::*;
    lockstep_tests::reader_conformance!(Customers<Mock>);
    lockstep_tests::sink_conformance!(Customers<Mock>);
}

/// On our own stand-in, which knows versions, batches in JSON and tokens against forged requests.
mod stand {
    use super::*;
    lockstep_tests::reader_conformance!(Customers<Stand>);
    lockstep_tests::sink_conformance!(Customers<Stand>);
}

/// A service to ask by its own interface.
trait Service: Sized + Send + Sync + 'static {
    fn start() -> impl Future<Output = Self> + Send;
    fn is_available() -> bool;
    fn url(&self) -> String;
    /// How many writes came so far, where that is counted.
    fn writes(&self) -> Option<u64>;
    fn more() -> Json;
}

struct Mock(Server);

impl Service for Mock {
    async fn start() -> Self {
        let metadata = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shop.xml");
        Mock(Server::start(&metadata).unwrap())
    }

    fn is_available() -> bool {
        lockstep_servers::find::odata().is_some() || {
            lockstep_servers::skip("fe-mockserver-core");
            false
        }
    }

    fn url(&self) -> String {
        self.0.url()
    }

    fn writes(&self) -> Option<u64> {
        None
    }

    fn more() -> Json {
        json!({})
    }
}

impl Service for Stand {
    async fn start() -> Self {
        Stand::start("4.01").await
    }

    fn is_available() -> bool {
        true
    }

    fn url(&self) -> String {
        Stand::url(self)
    }

    fn writes(&self) -> Option<u64> {
        Some(self.count(Asked::is_write))
    }

    fn more() -> Json {
        json!({"user": "u", "password": "p"})
    }
}

fn context(url: String, tables: Vec<String>) -> OpenContext {
    OpenContext {
        // One budget is shared by a name in a process: every server has its own.
        system: url,
        folder: ".".into(),
        tables,
        reads: Default::default(),
    }
}

fn config(url: &str, more: Json) -> RawConfig {
    let mut config = json!({"url": url, "page_max": 10, "modified": "ChangedAt"});
    if let (Json::Object(config), Json::Object(more)) = (&mut config, more) {
        config.extend(more);
    }
    serde_json::from_value(config).unwrap()
}

async fn all(url: &str, set: &str) -> Vec<Json> {
    let (mut all, mut next) = (Vec::new(), Some(set.to_owned()));
    while let Some(path) = next {
        let answer = common::ask(url, "GET", &path, &Json::Null).await;
        all.extend(answer["value"].as_array().unwrap().clone());
        next = answer["@odata.nextLink"].as_str().map(str::to_owned);
    }
    all
}

fn value(record: &Json, column: &Column) -> Value {
    let text = match &record[&column.name] {
        Json::Null => return Value::Null,
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    match column.kind.unwrap() {
        Type::Bool => Value::Bool(text == "true"),
        Type::Int => Value::Int(text.parse().unwrap()),
        Type::Decimal { .. } => Value::Decimal(text.parse().unwrap()),
        Type::Date => Value::Date(text.parse().unwrap()),
        Type::Timestamp => Value::Timestamp(text.parse().unwrap()),
        Type::Uuid => Value::Uuid(text.parse().unwrap()),
        _ => Value::Text(text),
    }
}

fn row(record: &Json, shape: &Shape) -> Row {
    Row::of(shape.columns.iter().map(|column| value(record, column)))
}

struct Lines(Mock);

impl System for Lines {
    async fn start() -> Self {
        Lines(Mock::start().await)
    }

    fn is_available() -> bool {
        Mock::is_available()
    }

    fn connector() -> Connector {
        lockstep_odata::connector()
    }

    fn manifest() -> Manifest {
        Manifest {
            creates: Creates::LookUp,
            bounds: true,
            growing: false,
            ..Manifest::API
        }
    }

    fn config(&self) -> RawConfig {
        config(&self.0.url(), json!({}))
    }

    fn tables(&self) -> Vec<String> {
        vec!["Lines".to_owned()]
    }

    fn context(&self) -> OpenContext {
        context(self.0.url(), self.tables())
    }
}

async fn shape<S: System>(system: &S) -> Arc<Shape> {
    let reader = S::connector()
        .open_reader(system.config(), system.context())
        .await;
    reader.unwrap().discover().await.unwrap().remove(0)
}

impl ReaderHarness for Lines {
    async fn fill(&self, count: usize) {
        for n in 0..count {
            // Keys that come in no order.
            let n = n * 37 % 101;
            let line = json!({"Order": format!("O {}", n % 5), "No": n, "Amount": format!("{n}.50"), "Text": "a/b & c"});
            common::ask(&self.0.url(), "POST", "Lines", &line).await;
        }
    }

    async fn rows_by_key(&self) -> Vec<Row> {
        let shape = shape(self).await;
        let mut lines = all(&self.0.url(), "Lines").await;
        lines.sort_by_key(|line| (line["Order"].to_string(), line["No"].as_i64()));
        lines.iter().map(|line| row(line, &shape)).collect()
    }

    fn missing_key(&self) -> Vec<Value> {
        vec![Value::text("nobody"), Value::Int(5)]
    }

    async fn fill_odd(&self) -> Option<Vec<Row>> {
        let line = json!({"Order": "A", "No": 1, "Amount": "1234567890123.10", "Text": "", "Seen": "9007199254740993"});
        common::ask(&self.0.url(), "POST", "Lines", &line).await;
        Some(self.rows_by_key().await)
    }
}

impl SinkHarness for Lines {
    fn target(&self) -> Arc<Shape> {
        let amount = Type::Decimal {
            precision: Some(15),
            scale: Some(2),
        };
        Arc::new(Shape {
            name: "Lines".to_owned(),
            columns: vec![
                Column::new("Order", Type::Text, false),
                Column::new("No", Type::Int, false),
                Column::new("Amount", amount, true),
                Column::new("Text", Type::Text, true),
            ],
            key: vec![0, 1],
        })
    }

    fn row(&self, id: i64, version: i64) -> Row {
        Row::of([
            Value::text(format!("O {}/ü", id % 3)),
            Value::Int(id),
            Value::Decimal(Decimal::from_units(version * 125, 2)),
            if version % 2 == 1 {
                Value::Null
            } else {
                Value::text(format!("{version} & \"x\""))
            },
        ])
    }

    fn refused(&self, id: i64) -> Option<Row> {
        let mut row = self.row(id, 1);
        row.0[2] = Value::Decimal("1.001".parse().unwrap()).into();
        Some(row)
    }

    async fn read_back(&self) -> Vec<Row> {
        let lines = all(&self.0.url(), "Lines").await;
        lines.iter().map(|line| row(line, &self.target())).collect()
    }
}

struct Customers<S>(S);

impl<S: Service> System for Customers<S> {
    async fn start() -> Self {
        Customers(S::start().await)
    }

    fn is_available() -> bool {
        S::is_available()
    }

    fn connector() -> Connector {
        lockstep_odata::connector()
    }

    fn manifest() -> Manifest {
        Manifest {
            creates: Creates::LookUp,
            key_changes: true,
            bounds: true,
            growing: true,
            ..Manifest::API
        }
    }

    fn config(&self) -> RawConfig {
        config(&self.0.url(), S::more())
    }

    fn tables(&self) -> Vec<String> {
        vec!["Customers".to_owned()]
    }

    fn context(&self) -> OpenContext {
        context(self.0.url(), self.tables())
    }
}

impl<S: Service> ReaderHarness for Customers<S> {
    async fn fill(&self, count: usize) {
        for n in 0..count as u64 {
            let id = uuid::Uuid::from_u128(u128::from(n.wrapping_mul(0x9E37_79B9_7F4A_7C15)) << 40);
            let at = format!("2024-05-06T07:{:02}:09.1234567Z", n % 7);
            let one = json!({"ID": id, "Code": format!("C {n}"), "Name": "Ärger & Söhne", "Credit": format!("{n}.50"), "ChangedAt": at, "Active": n % 2 == 0, "Since": "2024-02-29"});
            common::ask(&self.0.url(), "POST", "Customers", &one).await;
        }
    }

    async fn rows_by_key(&self) -> Vec<Row> {
        let shape = shape(self).await;
        let mut all = all(&self.0.url(), "Customers").await;
        all.sort_by_key(|one| one["ID"].to_string());
        all.iter().map(|one| row(one, &shape)).collect()
    }

    fn missing_key(&self) -> Vec<Value> {
        vec![Value::Uuid(uuid::Uuid::from_u128(7))]
    }
}

impl<S: Service> SinkHarness for Customers<S> {
    fn target(&self) -> Arc<Shape> {
        let credit = Type::Decimal {
            precision: Some(15),
            scale: Some(2),
        };
        Arc::new(Shape {
            name: "Customers".to_owned(),
            columns: vec![
                Column::new("Code", Type::Text, false),
                Column::new("Name", Type::Text, true),
                Column::new("Credit", credit, true),
                Column::new("Since", Type::Date, true),
                Column::new("Active", Type::Bool, true),
            ],
            key: vec![0],
        })
    }

    fn row(&self, id: i64, version: i64) -> Row {
        let odd = version % 2 == 1;
        Row::of([
            Value::text(format!("C-{id}/ü")),
            Value::text(format!("{version} & \"ü\"")),
            Value::Decimal(Decimal::from_units(version * 1250, 2)),
            if odd {
                Value::Date(jiff::civil::date(2024, 2, 29))
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
        let all = all(&self.0.url(), "Customers").await;
        all.iter().map(|one| row(one, &self.target())).collect()
    }

    async fn writes(&self) -> Option<u64> {
        self.0.writes()
    }
}
