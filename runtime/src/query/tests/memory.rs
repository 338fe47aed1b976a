//! A table in memory, read by an order of its own, with a journal and calls.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use lockstep_core::connector::{Call, Filter, Heard, Noticed, OpenContext, Page, Reader, Sign};
use lockstep_core::error::{Error, Kind, Result};
use lockstep_core::{Cell, Column, Row, Shape, Type, Value};

use super::notices::{Journal, notice};

/// A row: its state, and when it changed.
pub(super) type State = (String, i64);

/// A table in memory, whose keys have an order of their own.
#[derive(Clone, Default)]
pub(super) struct Memory(Arc<Mutex<BTreeMap<i64, State>>>, Arc<Mutex<Journal>>);

impl Memory {
    pub(super) fn rows(&self) -> MutexGuard<'_, BTreeMap<i64, State>> {
        self.0.lock().unwrap()
    }

    pub(super) fn journal(&self) -> MutexGuard<'_, Journal> {
        self.1.lock().unwrap()
    }

    pub(super) fn put(&self, id: i64, state: &str, at: i64) {
        self.rows().insert(id, (state.to_owned(), at));
    }
}

pub(super) fn shape() -> Arc<Shape> {
    Arc::new(Shape {
        name: "orders".to_owned(),
        columns: vec![
            Column::new("id", Type::Int, false),
            Column::new("state", Type::Text, false),
            Column::new("at", Type::Int, false),
            Column::new("secret", Type::Text, true),
        ],
        key: vec![0],
    })
}

/// Odd keys come before even ones: nobody but the table knows its order.
pub(super) fn order(a: &[Value], b: &[Value]) -> Ordering {
    let rank = |values: &[Value]| -> Vec<(bool, i64)> {
        let number = |value: &Value| match value {
            Value::Int(number) => *number,
            other => panic!("no key: {other}"),
        };
        let numbers: Vec<i64> = values.iter().map(number).collect();
        match numbers.as_slice() {
            [id] => vec![(id % 2 == 0, *id)],
            [at, id] => vec![(false, *at), (id % 2 == 0, *id)],
            other => panic!("no key: {other:?}"),
        }
    };
    rank(a).cmp(&rank(b))
}

pub(super) fn holds(filter: &Filter, row: &State) -> bool {
    match filter {
        Filter::All(parts) => parts.iter().all(|part| holds(part, row)),
        Filter::Any(parts) => parts.iter().any(|part| holds(part, row)),
        Filter::Compare(column, Sign::GreaterOrEqual, Value::Int(from)) if column == "at" => {
            row.1 >= *from
        }
        Filter::Compare(column, Sign::Equal, Value::Text(state)) if column == "state" => {
            row.0 == *state
        }
        other => panic!("the table does not know {other:?}"),
    }
}

impl Memory {
    fn cells(columns: &[String], id: i64, (state, at): &State) -> Row {
        let cell = |column: &String| {
            Cell::Set(match column.as_str() {
                "id" => Value::Int(id),
                "state" => Value::text(state),
                "at" => Value::Int(*at),
                other => panic!("column {other} is nobody's business"),
            })
        };
        Row(columns.iter().map(cell).collect())
    }
}

impl Reader for Memory {
    type Config = ();

    async fn open((): (), _: OpenContext) -> Result<Self> {
        Err(Error::unexpected("opened by hand"))
    }

    async fn discover(&self) -> Result<Vec<Arc<Shape>>> {
        Ok(vec![shape()])
    }

    fn has_journal(&self) -> bool {
        self.journal().is_kept
    }

    async fn noticed(&self, cursor: Option<&str>) -> Result<Noticed> {
        let journal = self.journal();
        let Some(cursor) = cursor else {
            return Ok(Noticed {
                notices: Vec::new(),
                cursor: journal.named.len().to_string(),
                more: false,
            });
        };
        let from: usize = cursor.parse().unwrap();
        if from < journal.forgotten {
            return Err(Error::invalid("so old"));
        }
        // Two at a time, and the one before again.
        let some = &journal.named[from.saturating_sub(1)..];
        let some = &some[..some.len().min(3)];
        let until = (from + 2).min(journal.named.len());
        Ok(Noticed {
            notices: some.iter().map(|id| notice(*id)).collect(),
            cursor: until.to_string(),
            more: until < journal.named.len(),
        })
    }

    fn hear(&self, call: &Call) -> Result<Heard> {
        if call.headers.get("signature").map(String::as_str) != Some("good") {
            return Err(Error::new(Kind::Unauthorized, "a forged call"));
        }
        let id = String::from_utf8_lossy(&call.body).parse().unwrap();
        Ok(Heard {
            notices: vec![notice(id)],
            answer: Some("heard".to_owned()),
        })
    }

    async fn scan(&self, page: Page<'_>) -> Result<Vec<Row>> {
        let asked = page.filter.map(Filter::columns).unwrap_or_default();
        if asked.contains("secret") {
            return Err(Error::config("permission denied for column secret"));
        }
        let rows = self.rows().clone();
        let key = |id: i64, state: &State| -> Vec<Value> {
            let value = |column: &String| if column == "at" { state.1 } else { id };
            page.key
                .iter()
                .map(|column| Value::Int(value(column)))
                .collect()
        };
        let mut found: Vec<(Vec<Value>, Row)> = rows
            .iter()
            .filter(|(_, state)| page.filter.is_none_or(|filter| holds(filter, state)))
            .map(|(id, state)| (key(*id, state), Memory::cells(page.columns, *id, state)))
            .filter(|(key, _)| page.after.is_none_or(|after| order(key, after).is_gt()))
            .filter(|(key, _)| page.until.is_none_or(|until| order(key, until).is_le()))
            .collect();
        found.sort_by(|a, b| order(&a.0, &b.0));
        if page.backwards {
            found.reverse();
        }
        found.truncate(page.limit);
        Ok(found.into_iter().map(|(_, row)| row).collect())
    }

    async fn fetch(
        &self,
        _: &str,
        columns: &[String],
        _: &[String],
        keys: &[Vec<Value>],
    ) -> Result<Vec<Row>> {
        let rows = self.rows();
        let find = |key: &Vec<Value>| match key.as_slice() {
            [Value::Int(id)] => Some(Memory::cells(columns, *id, rows.get(id)?)),
            other => panic!("no key: {other:?}"),
        };
        Ok(keys.iter().filter_map(find).collect())
    }
}
