//! What several tests of the connector need: an opened sink with a table, and changes for it.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::Path;
use std::sync::Arc;

use lockstep_core::change::Op;
use lockstep_core::connector::{
    Batch, DynReader, DynSink, LaneProgress, OpenContext, Page, RawConfig, Receipt,
};
use lockstep_core::position::Mark;
use lockstep_core::{Change, Column, Result, Row, Shape, Type, Value};
use serde_json::json;

/// A table of everything that a column can be.
pub(crate) fn shape(name: &str) -> Shape {
    Shape {
        name: name.to_owned(),
        columns: vec![
            Column::new("id", Type::Int, false),
            Column::new("code", Type::Text, false),
            Column::new("amount", decimal(12, 2), true),
            Column::new("long", decimal(38, 10), true),
            Column::new("due", Type::Date, true),
            Column::new("seen", Type::Timestamp, true),
            Column::new("hour", Type::Time, true),
            Column::new("ref", Type::Uuid, true),
            Column::new("doc", Type::Json, true),
            Column::new("raw", Type::Bytes, true),
            Column::new("ok", Type::Bool, true),
            Column::new("ratio", Type::Float, true),
        ],
        key: vec![1, 0],
    }
}

pub(crate) fn decimal(precision: u32, scale: u32) -> Type {
    Type::Decimal {
        precision: Some(precision),
        scale: Some(scale),
    }
}

/// The row of a number; `version` stands for what is not its key.
pub(crate) fn row(id: i64, version: i64) -> Row {
    let odd = version % 2 == 1;
    Row::of([
        Value::Int(id),
        Value::text(format!("C-{}'{{\"ü", id % 3)),
        Value::Decimal(format!("-{version}.50").parse().unwrap()),
        Value::Decimal(
            format!("1234567890123456789012345{version}.0000000001")
                .parse()
                .unwrap(),
        ),
        Value::Date(jiff::civil::date(1969, 12, 1 + (version % 28) as i8)),
        Value::Timestamp(
            jiff::Timestamp::from_microsecond(-5_000_001 + version * 86_400_000_000).unwrap(),
        ),
        Value::Time(jiff::civil::time(23, 59, (version % 60) as i8, 999_999_000)),
        Value::Uuid(uuid::Uuid::from_u128(version.unsigned_abs().into())),
        Value::Json(if odd { r#"{"a":[1,null]}"# } else { "null" }.into()),
        if odd {
            Value::Bytes(vec![0, 255, b'\''])
        } else {
            Value::Null
        },
        Value::Bool(odd),
        if odd { Value::Float(0.1) } else { Value::Null },
    ])
}

pub(crate) fn change(shape: &Arc<Shape>, op: Op, row: Row, day: i64) -> Change {
    Change {
        shape: Arc::clone(shape),
        op,
        row,
        before: None,
        mark: Mark::default(),
        committed_at: jiff::Timestamp::from_second(1_706_745_600 + day * 86_400).unwrap(),
        origin: None,
    }
}

pub(crate) fn upsert(shape: &Arc<Shape>, id: i64, version: i64) -> Change {
    change(shape, Op::Updated, row(id, version), version)
}

pub(crate) fn delete(shape: &Arc<Shape>, id: i64, version: i64) -> Change {
    let mut row = row(id, version);
    for cell in &mut row.0[2..] {
        *cell = lockstep_core::Cell::Unchanged;
    }
    change(shape, Op::Deleted, row, version)
}

pub(crate) fn context(folder: &Path, table: &str) -> OpenContext {
    OpenContext {
        system: "lake".to_owned(),
        folder: folder.to_owned(),
        tables: vec![table.to_owned()],
        reads: Default::default(),
    }
}

pub(crate) fn config(value: serde_json::Value) -> RawConfig {
    serde_json::from_value(value).unwrap()
}

/// Settings of a lake in a folder whose compaction begins early.
pub(crate) fn in_folder(root: &Path) -> serde_json::Value {
    json!({ "root": root.to_str().unwrap(), "batch_max": 500, "compact_at": 4, "checkpoint_every": 3, "group_rows": 100 })
}

/// A lane of one flow into one table.
pub(crate) struct Lane {
    pub(crate) sink: Box<dyn DynSink>,
    pub(crate) shape: Arc<Shape>,
    pub(crate) flow: String,
    pub(crate) reached: u64,
}

impl Lane {
    pub(crate) async fn open(settings: &serde_json::Value, flow: &str, shape: &Shape) -> Lane {
        Lane::try_open(settings, flow, shape).await.unwrap()
    }

    pub(crate) async fn try_open(
        settings: &serde_json::Value,
        flow: &str,
        shape: &Shape,
    ) -> Result<Lane> {
        let context = context(Path::new("/"), &shape.name);
        let sink = lockstep_parquet::connector()
            .open_sink(config(settings.clone()), context)
            .await?;
        sink.create_table(shape).await?;
        let shape = Arc::new(shape.clone());
        sink.prepare(&[Arc::clone(&shape)]).await?;
        let lanes = sink.progress(flow).await?;
        let reached = lanes.first().map_or(0, |lane| lane.reached);
        Ok(Lane {
            sink,
            shape,
            flow: flow.to_owned(),
            reached,
        })
    }

    pub(crate) fn batch(&self, changes: Vec<Change>) -> Batch {
        Batch {
            flow: self.flow.clone(),
            changes,
            progress: vec![LaneProgress {
                lane: "lane.0".to_owned(),
                expected: self.reached,
                reached: self.reached + 1,
                position: None,
            }],
            follows: false,
        }
    }

    pub(crate) async fn commit(&mut self, changes: Vec<Change>) {
        let receipt = self.sink.apply(&self.batch(changes)).await.unwrap();
        assert!(matches!(receipt, Receipt::Committed(_)), "{receipt:?}");
        self.reached += 1;
    }

    /// Commits rows with these numbers.
    pub(crate) async fn upserts(&mut self, ids: impl Iterator<Item = i64>, version: i64) {
        let changes = ids.map(|id| upsert(&self.shape, id, version)).collect();
        self.commit(changes).await;
    }
}

pub(crate) async fn reader(settings: &serde_json::Value, table: &str) -> Box<dyn DynReader> {
    lockstep_parquet::connector()
        .open_reader(config(settings.clone()), context(Path::new("/"), table))
        .await
        .unwrap()
}

/// All rows of a table, in pages of an odd size.
pub(crate) async fn rows(settings: &serde_json::Value, shape: &Shape) -> Vec<Row> {
    let reader = reader(settings, &shape.name).await;
    let columns: Vec<String> = shape.names().map(str::to_owned).collect();
    let key: Vec<String> = shape.key.iter().map(|at| columns[*at].clone()).collect();
    let mut rows: Vec<Row> = Vec::new();
    loop {
        let after: Option<Vec<Value>> = rows.last().map(|row| {
            let value = |at: &usize| row.value(*at).cloned().unwrap();
            shape.key.iter().map(value).collect()
        });
        let page = Page {
            table: &shape.name,
            columns: &columns,
            key: &key,
            after: after.as_deref(),
            limit: 37,
            ..Page::default()
        };
        let page = reader.scan(page).await.unwrap();
        let is_last = page.len() < 37;
        rows.extend(page);
        if is_last {
            return rows;
        }
    }
}

/// Waits until something is so.
pub(crate) fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = std::time::Duration::from_secs(20);
    lockstep_servers::wait::until(what, deadline, || Ok(is_so().then_some(()))).unwrap();
}
