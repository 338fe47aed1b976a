//! A sink at work on one table, and changes for it.

#![allow(dead_code, reason = "each test program uses a part of this")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]
#![allow(
    clippy::needless_pass_by_value,
    reason = "tests write values where they are used"
)]

use std::sync::Arc;

use lockstep_core::change::Op;
use lockstep_core::connector::{Batch, DynSink, OpenContext, Outcome, Receipt};
use lockstep_core::position::Mark;
use lockstep_core::{Cell, Change, Result, Row, Shape};
use serde_json::Value as Json;

pub(crate) struct Sink {
    pub(crate) sink: Box<dyn DynSink>,
    pub(crate) shape: Arc<Shape>,
}

impl Sink {
    /// Opens a sink for some columns of a table, each with whether it is of the key.
    pub(crate) async fn open(url: &str, table: &str, columns: &[(&str, bool)], more: Json) -> Sink {
        let cx = OpenContext {
            system: "erp".to_owned(),
            folder: ".".into(),
            tables: vec![table.to_owned()],
            reads: Default::default(),
        };
        let config = crate::common::config(url, more);
        let sink = lockstep_tryton::connector()
            .open_sink(config, cx)
            .await
            .unwrap();
        let whole = sink.discover().await.unwrap().remove(0);
        let place = |(name, _): &(&str, bool)| whole.columns[whole.position(name).unwrap()].clone();
        let keys = columns
            .iter()
            .enumerate()
            .filter(|(_, (_, is_key))| *is_key);
        let shape = Arc::new(Shape {
            name: table.to_owned(),
            columns: columns.iter().map(place).collect(),
            key: keys.map(|(at, _)| at).collect(),
        });
        Sink { sink, shape }
    }

    /// A row of values as the server would write them.
    pub(crate) fn upsert<const N: usize>(&self, values: [Json; N]) -> Change {
        let cells = values
            .iter()
            .map(|json| Cell::Set(crate::common::value(json)));
        self.change(Op::Updated, Row(cells.collect()))
    }

    pub(crate) fn change(&self, op: Op, row: Row) -> Change {
        Change {
            shape: Arc::clone(&self.shape),
            op,
            row,
            before: None,
            mark: Mark {
                commit: 1,
                ordinal: 0,
            },
            committed_at: jiff::Timestamp::UNIX_EPOCH,
            origin: None,
        }
    }

    pub(crate) async fn apply(&self, changes: &[Change]) -> Result<Vec<Outcome>> {
        let batch = Batch {
            flow: "flow".to_owned(),
            changes: changes.to_vec(),
            progress: Vec::new(),
            follows: false,
        };
        match self.sink.apply(&batch).await? {
            Receipt::Committed(outcomes) => Ok(outcomes),
            receipt => panic!("{receipt:?}"),
        }
    }
}
