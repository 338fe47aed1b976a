//! The conformance kit's sink and reader checks: tables of current rows and of events in a folder, and in a bucket.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use lockstep_core::connector::{Connector, RawConfig};
use lockstep_core::{Row, Shape, Value};
use lockstep_servers::s3;
use lockstep_tests::{ReaderHarness, SinkHarness, System};
use serde_json::json;

mod current_rows_in_a_folder {
    use super::*;
    lockstep_tests::sink_conformance!(Folder<false>);
    lockstep_tests::reader_conformance!(Folder<false>);
}

mod events_in_a_folder {
    use super::*;
    lockstep_tests::sink_conformance!(Folder<true>);
    lockstep_tests::reader_conformance!(Folder<true>);
}

mod current_rows_in_a_bucket {
    use super::*;
    lockstep_tests::sink_conformance!(Bucket);
    lockstep_tests::reader_conformance!(Bucket);
}

/// A name that is no name of a folder.
const TABLE: &str = "weird/. na'me";

/// A lake in a temporary folder.
struct Folder<const EVENTS: bool> {
    folder: tempfile::TempDir,
}

impl<const EVENTS: bool> Folder<EVENTS> {
    fn settings(&self) -> serde_json::Value {
        let mut settings = common::in_folder(Path::new("lake"));
        if EVENTS {
            settings["tables"] = json!({ TABLE: { "history": "append", "partition": ["due:month", "_committed_at:day"], "compact": true } });
        }
        settings
    }
}

impl<const EVENTS: bool> System for Folder<EVENTS> {
    async fn start() -> Self {
        let system = Folder {
            folder: tempfile::tempdir().unwrap(),
        };
        make(&system).await;
        system
    }

    fn connector() -> Connector {
        lockstep_parquet::connector()
    }

    fn config(&self) -> RawConfig {
        common::config(self.settings())
    }

    fn tables(&self) -> Vec<String> {
        vec![TABLE.to_owned()]
    }

    fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }
}

/// A lake in a bucket of a store of its own.
struct Bucket {
    server: s3::Server,
}

impl System for Bucket {
    async fn start() -> Self {
        let server = s3::Server::launch().unwrap();
        server.make_bucket("shop").unwrap();
        let system = Bucket { server };
        make(&system).await;
        system
    }

    fn is_available() -> bool {
        let found = lockstep_servers::find::moto().is_some();
        if !found {
            lockstep_servers::skip("moto");
        }
        found
    }

    fn connector() -> Connector {
        lockstep_parquet::connector()
    }

    fn config(&self) -> RawConfig {
        let mut settings = common::in_folder(Path::new("s3://shop/some lake/of ours"));
        settings["endpoint"] = json!(self.server.url());
        settings["access_key"] = json!("key");
        settings["secret_key"] = json!("secret");
        common::config(settings)
    }

    fn tables(&self) -> Vec<String> {
        vec![TABLE.to_owned()]
    }
}

/// Makes the table that checks work on, as the runtime does where `create_tables` says so.
async fn make<S: System>(system: &S) {
    let sink = S::connector()
        .open_sink(system.config(), system.context())
        .await
        .unwrap();
    assert_eq!(sink.missing().await.unwrap(), [TABLE]);
    sink.create_table(&common::shape(TABLE)).await.unwrap();
    assert!(sink.missing().await.unwrap().is_empty());
    let id = sink.incarnation(TABLE).await.unwrap().unwrap();
    sink.create_table(&common::shape(TABLE)).await.unwrap();
    assert_eq!(sink.incarnation(TABLE).await.unwrap().unwrap(), id);
}

/// The table's rows through the connector's own reader; what other readers see is in `engines.rs`.
async fn rows<S: System>(system: &S) -> Vec<Row> {
    let reader = S::connector()
        .open_reader(system.config(), system.context())
        .await
        .unwrap();
    let shape = common::shape(TABLE);
    let columns: Vec<String> = shape.names().map(str::to_owned).collect();
    let key = ["code".to_owned(), "id".to_owned()];
    let page = lockstep_core::connector::Page {
        table: TABLE,
        columns: &columns,
        key: &key,
        limit: 100_000,
        ..Default::default()
    };
    reader.scan(page).await.unwrap()
}

macro_rules! harness {
    ($system:ty, $($generics:tt)*) => {
        impl $($generics)* SinkHarness for $system {
            fn target(&self) -> Arc<Shape> {
                Arc::new(common::shape(TABLE))
            }

            fn row(&self, id: i64, version: i64) -> Row {
                common::row(id, version)
            }

            fn refused(&self, id: i64) -> Option<Row> {
                let mut row = common::row(id, 1);
                row.0[2] = Value::Decimal("0.001".parse().unwrap()).into();
                Some(row)
            }

            async fn read_back(&self) -> Vec<Row> {
                rows(self).await
            }
        }

        impl $($generics)* ReaderHarness for $system {
            async fn fill(&self, count: usize) {
                let sink = <$system>::connector().open_sink(self.config(), self.context()).await.unwrap();
                let mut lane = common::Lane {
                    sink,
                    shape: Arc::new(common::shape(TABLE)),
                    flow: "fill".to_owned(),
                    reached: 0,
                };
                let count = i64::try_from(count).unwrap();
                // Older versions, deleted rows, and commits of a few rows each.
                lane.upserts(0..count + 5, 3).await;
                let gone = (count..count + 5).map(|id| common::delete(&lane.shape, id, 3)).collect();
                lane.commit(gone).await;
                for from in (0..count).step_by(11) {
                    lane.upserts((from..count.min(from + 11)).rev(), from % 5).await;
                }
            }

            async fn rows_by_key(&self) -> Vec<Row> {
                let mut rows = rows(self).await;
                let key = |row: &Row| format!("{:?} {:09}", row.value(1), match row.value(0) {
                    Some(Value::Int(id)) => *id,
                    other => panic!("{other:?}"),
                });
                rows.sort_by_key(key);
                rows
            }

            fn missing_key(&self) -> Vec<Value> {
                vec![Value::text("none"), Value::Int(-1)]
            }

            async fn fill_odd(&self) -> Option<Vec<Row>> {
                let sink = <$system>::connector().open_sink(self.config(), self.context()).await.unwrap();
                let mut lane = common::Lane {
                    sink,
                    shape: Arc::new(common::shape(TABLE)),
                    flow: "odd".to_owned(),
                    reached: 0,
                };
                let mut most = common::row(i64::MAX, 1);
                most.0[1] = Value::text("").into();
                most.0[2] = Value::Decimal("9999999999.99".parse().unwrap()).into();
                most.0[3] = Value::Decimal("-9999999999999999999999999999.9999999999".parse().unwrap()).into();
                most.0[8] = Value::Null.into();
                most.0[9] = Value::Bytes(Vec::new()).into();
                most.0[11] = Value::Float(f64::NEG_INFINITY).into();
                let mut least = common::row(i64::MIN, 1);
                least.0[1] = Value::text("\u{10ffff}\0").into();
                for cell in &mut least.0[2..] {
                    *cell = Value::Null.into();
                }
                let rows = vec![most, least];
                let changes = rows.iter().map(|row| common::change(&lane.shape, lockstep_core::change::Op::Created, row.clone(), 1));
                lane.commit(changes.collect()).await;
                Some(rows)
            }
        }
    };
}

harness!(Folder<EVENTS>, <const EVENTS: bool>);
harness!(Bucket,);
