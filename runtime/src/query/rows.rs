//! A table as it is read by query: which columns, in which order, and what rows of it are told as.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use lockstep_core::capture::listing::{Hasher, Known, UNSURE};
use lockstep_core::capture::watermark::{self, Overlap};
use lockstep_core::connector::{Filter, Reads};
use lockstep_core::diagnostic::suggestion;
use lockstep_core::error::{Error, Result};
use lockstep_core::position::Mark;
use lockstep_core::value::{Cell, Type, Value};
use lockstep_core::{Change, Op, Row, Shape};

use super::QueryTable;

/// How far back a reading by instants or days begins, where nothing is said.
const OVERLAP: Overlap = Overlap::Time(std::time::Duration::from_secs(60));
/// How far back one by numbers begins.
const OVERLAP_COUNT: u64 = 1000;

/// A table as it is read.
#[derive(Debug)]
pub(super) struct Table {
    /// Its columns and key.
    pub(super) shape: Arc<Shape>,
    /// The columns that are read: those of the key, others that name records, and the rest.
    pub(super) columns: Vec<String>,
    /// Where each stands in the shape.
    places: Vec<usize>,
    /// How many of them are the key.
    keys: usize,
    /// How many of them name the row and its record.
    names: usize,
    /// The column that grows with every change.
    pub(super) watermark: Option<Watermark>,
    /// What rows fulfil that flows want.
    pub(super) filter: Option<Filter>,
}

/// The column that grows with every change of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Watermark {
    pub(super) column: String,
    /// Where it is among the columns that are read.
    at: usize,
    pub(super) overlap: Overlap,
}

/// The shape of a table with its key, where the configuration says it.
///
/// # Errors
/// A table without a key, and a key of columns that it has not.
pub(super) fn keyed(shape: &Arc<Shape>, said: &QueryTable) -> Result<Arc<Shape>> {
    if said.key.is_empty() {
        if !shape.key.is_empty() {
            return Ok(Arc::clone(shape));
        }
        return Err(Error::config(format!(
            "nothing says what identifies a row of `{}`",
            shape.name
        ))
        .help(format!(
            "name the columns: `[systems.SYSTEM.query.tables.\"{}\"]` with `key = [\"…\"]`",
            shape.name
        )));
    }
    let find = |column: &String| position(shape, column, "key");
    let key = said.key.iter().map(find).collect::<Result<_>>()?;
    Ok(Arc::new(Shape {
        key,
        ..(**shape).clone()
    }))
}

fn position(shape: &Shape, column: &str, what: &str) -> Result<usize> {
    shape.position(column).ok_or_else(|| {
        let message = format!(
            "`{}` has no column `{column}`, which is its {what} by the configuration",
            shape.name
        );
        let known: Vec<&str> = shape.names().collect();
        Error::config(message).help(suggestion(column, known))
    })
}

impl Table {
    /// A table of a keyed shape.
    ///
    /// # Errors
    /// A watermark that cannot be one.
    pub(super) fn of(
        shape: Arc<Shape>,
        said: &QueryTable,
        reads: &Reads,
        naming: &BTreeSet<String>,
    ) -> Result<Table> {
        let mut places = shape.key.clone();
        let mut add = |wanted: &dyn Fn(&str) -> bool| {
            for (place, name) in shape.names().enumerate() {
                if wanted(name) && !places.contains(&place) {
                    places.push(place);
                }
            }
            places.len()
        };
        let keys = shape.key.len();
        let names = add(&|name| naming.contains(name));
        add(&|name| reads.wants(name) || said.watermark.as_deref() == Some(name));
        let columns: Vec<String> = places
            .iter()
            .map(|place| shape.columns[*place].name.clone())
            .collect();
        let watermark = match &said.watermark {
            None => None,
            Some(column) => Some(Watermark::of(&shape, &columns, column, said)?),
        };
        let filter = reads.filter(&shape);
        Ok(Table {
            shape,
            columns,
            places,
            keys,
            names,
            watermark,
            filter,
        })
    }

    /// The columns that rows are ordered by.
    pub(super) fn key(&self) -> &[String] {
        &self.columns[..self.keys]
    }

    /// How many columns the key has.
    pub(super) fn keys(&self) -> usize {
        self.keys
    }

    /// What its rows are named by: columns and their types, those of the key first.
    pub(super) fn named(&self) -> Vec<String> {
        let named = self.places[..self.names].iter().enumerate();
        let each = named.map(|(at, place)| {
            let column = &self.shape.columns[*place];
            let kind = column.kind.map_or("any", Type::name);
            let key = if at < self.keys { "key " } else { "" };
            format!("{key}{} {kind}", column.name)
        });
        each.collect()
    }

    /// The key of a row as it is read.
    pub(super) fn key_of(&self, row: &Row) -> Vec<Value> {
        values(&row.0[..self.keys])
    }

    /// The value of the watermark of a row as it is read.
    pub(super) fn watermark_of<'r>(&self, row: &'r Row) -> Option<&'r Value> {
        let at = self.watermark.as_ref()?.at;
        row.value(at).filter(|value| !value.is_null())
    }

    /// What rows are hashed with.
    pub(super) fn hasher(&self, secret: &str) -> Hasher {
        Hasher::new(secret, self.columns.iter().map(String::as_str))
    }

    /// What is known of a row that is told.
    pub(super) fn known(&self, row: &Row, hash: u64) -> Known {
        Known {
            name: values(&row.0[..self.names]),
            hash,
        }
    }

    /// Whether more than the key names a row, so that its record may get another name.
    pub(super) fn may_be_renamed(&self) -> bool {
        self.names > self.keys
    }

    /// What names a row of which only the key is known; none where the key does not name the record.
    pub(super) fn named_by_key(&self, key: &[Value]) -> Option<Known> {
        (!self.may_be_renamed()).then(|| Known {
            name: key.to_vec(),
            hash: UNSURE,
        })
    }

    /// A row as it is told.
    pub(super) fn upsert(&self, op: Op, row: Row, before: Option<&Known>, mark: Mark) -> Change {
        let mut told = Row::unchanged(self.shape.columns.len());
        for (place, cell) in self.places.iter().zip(row.0) {
            told.0[*place] = cell;
        }
        self.change(op, told, before.map(|known| self.by_name(known)), mark)
    }

    /// A row that is gone.
    pub(super) fn delete(&self, known: &Known, mark: Mark) -> Change {
        let before = self.by_name(known);
        let mut row = Row::unchanged(self.shape.columns.len());
        for place in &self.shape.key {
            row.0[*place] = before.0[*place].clone();
        }
        self.change(Op::Deleted, row, Some(before), mark)
    }

    /// What is known of a row by its name.
    fn by_name(&self, known: &Known) -> Row {
        let mut row = Row::unchanged(self.shape.columns.len());
        for (place, value) in self.places.iter().zip(&known.name) {
            row.0[*place] = Cell::Set(value.clone());
        }
        row
    }

    fn change(&self, op: Op, row: Row, before: Option<Row>, mark: Mark) -> Change {
        Change {
            shape: Arc::clone(&self.shape),
            op,
            row,
            before,
            mark,
            // When it happened is not known; when it was seen is.
            committed_at: Timestamp::now(),
            origin: None,
        }
    }
}

impl Watermark {
    fn of(shape: &Shape, columns: &[String], column: &str, said: &QueryTable) -> Result<Watermark> {
        let kind = shape.columns[position(shape, column, "watermark")?].kind;
        let refuse = |message: String| {
            Err(Error::config(message).code("LS-Q003").help(
                "name a column of integers, instants or days that grows with every change of a row, or leave `watermark` out",
            ))
        };
        if !watermark::fits(kind) {
            let held = kind.map_or("anything", Type::name);
            return refuse(format!(
                "column `{column}` of `{}` holds {held}, which cannot say how far the table was read",
                shape.name
            ));
        }
        let overlap = match (kind, said.overlap) {
            (Some(Type::Int), None) => Overlap::Count(OVERLAP_COUNT),
            (_, None) => OVERLAP,
            (Some(Type::Int), Some(count @ Overlap::Count(_))) => count,
            (Some(Type::Timestamp | Type::Date), Some(time @ Overlap::Time(_))) => time,
            (kind, Some(_)) => {
                let message = format!(
                    "the overlap of `{}` does not go together with its watermark `{column}`, which holds {}",
                    shape.name,
                    kind.map_or("anything", Type::name)
                );
                return Err(Error::config(message).code("LS-Q003").help(
                    "write a number (`overlap = 1000`) for integers, a time (`overlap = \"1m\"`) for instants and days",
                ));
            }
        };
        let at = columns.iter().position(|known| known == column);
        Ok(Watermark {
            column: column.to_owned(),
            at: at.unwrap_or_default(),
            overlap,
        })
    }
}

fn values(cells: &[Cell]) -> Vec<Value> {
    let value = |cell: &Cell| cell.value().cloned().unwrap_or(Value::Null);
    cells.iter().map(value).collect()
}
