//! What the tests share: settings for a simulator, and readers and sinks of it.

#![allow(dead_code, reason = "every test uses a part of it")]

use std::sync::Arc;

use lockstep_core::change::Op;
use lockstep_core::connector::{
    Batch, DynReader, DynSink, Noticed, OpenContext, Outcome, RawConfig, Receipt,
};
use lockstep_core::position::Mark;
use lockstep_core::{Change, Column, Result, Row, Shape, Type, Value};
use lockstep_simulators::salesforce::{CLIENT_ID, CLIENT_SECRET, Simulator};
use serde_json::{Value as Json, json};

/// Settings for a simulator, with some of one's own.
pub(crate) fn config(simulator: &Simulator, more: &Json) -> RawConfig {
    let mut config = json!({
        "url": simulator.url(),
        "client_id": CLIENT_ID,
        "client_secret": CLIENT_SECRET,
        "calls_per_second": 1000,
    });
    let settings = config.as_object_mut().unwrap();
    for (name, value) in more.as_object().unwrap() {
        settings.insert(name.clone(), value.clone());
        if name == "jwt" {
            settings.remove("client_secret");
        }
    }
    settings.clone().into_iter().collect()
}

pub(crate) fn context(simulator: &Simulator, tables: &[&str]) -> OpenContext {
    OpenContext {
        // One budget is shared by a name in a process: every simulator has its own.
        system: simulator.url(),
        folder: ".".into(),
        tables: tables.iter().map(|table| (*table).to_owned()).collect(),
        reads: Default::default(),
    }
}

pub(crate) async fn open_reader(
    simulator: &Simulator,
    tables: &[&str],
    more: &Json,
) -> Result<Box<dyn DynReader>> {
    let connector = lockstep_salesforce::connector();
    let opened = connector.open_reader(config(simulator, more), context(simulator, tables));
    opened.await
}

pub(crate) async fn reader(simulator: &Simulator, tables: &[&str]) -> Box<dyn DynReader> {
    open_reader(simulator, tables, &json!({})).await.unwrap()
}

pub(crate) async fn sink_with(simulator: &Simulator, more: &Json) -> Box<dyn DynSink> {
    let connector = lockstep_salesforce::connector();
    let opened = connector.open_sink(config(simulator, more), context(simulator, &["Account"]));
    opened.await.unwrap()
}

pub(crate) async fn sink(simulator: &Simulator) -> Box<dyn DynSink> {
    sink_with(simulator, &json!({})).await
}

pub(crate) fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A shape whose first column is its key.
pub(crate) fn shape(table: &str, columns: &[(&str, Type)]) -> Arc<Shape> {
    let column = |(name, kind): &(&str, Type)| Column::new(*name, *kind, true);
    Arc::new(Shape {
        name: table.to_owned(),
        columns: columns.iter().map(column).collect(),
        key: vec![0],
    })
}

pub(crate) fn change(shape: &Arc<Shape>, op: Op, values: &[Value]) -> Change {
    Change {
        shape: Arc::clone(shape),
        op,
        row: Row::of(values.iter().cloned()),
        before: None,
        mark: Mark::default(),
        committed_at: jiff::Timestamp::UNIX_EPOCH,
        origin: None,
    }
}

pub(crate) fn upsert(shape: &Arc<Shape>, values: &[Value]) -> Change {
    change(shape, Op::Updated, values)
}

pub(crate) async fn tried(sink: &dyn DynSink, changes: &[Change]) -> Result<Vec<Outcome>> {
    let batch = Batch {
        flow: "flow".to_owned(),
        changes: changes.to_vec(),
        progress: Vec::new(),
        follows: false,
    };
    match sink.apply(&batch).await? {
        Receipt::Committed(outcomes) => Ok(outcomes),
        receipt => panic!("{receipt:?}"),
    }
}

pub(crate) async fn apply(sink: &dyn DynSink, changes: &[Change]) -> Vec<Outcome> {
    tried(sink, changes).await.unwrap()
}

pub(crate) fn is_applied(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Applied { .. })
}

/// Why a change was refused.
pub(crate) fn reason(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Rejected { reason } => reason,
        other => panic!("not refused: {other:?}"),
    }
}

/// The ids that a journal named.
pub(crate) fn named(noticed: &Noticed) -> Vec<String> {
    let mut ids: Vec<String> = noticed
        .notices
        .iter()
        .map(|notice| notice.key[0].to_string())
        .collect();
    ids.sort();
    ids
}
