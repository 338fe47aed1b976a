//! Rows by column position, and the shape that names the positions.
//!
//! Whoever works on many rows looks names up once, in the [`Shape`], and then goes by position.

use serde::{Deserialize, Serialize};

use crate::value::{Cell, Type, Value};

/// The columns of a table of a system, or the fields of a contract.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shape {
    /// The table's or the entity's name.
    pub name: String,
    /// The columns in their order.
    pub columns: Vec<Column>,
    /// Positions of the columns that identify a row, in key order.
    pub key: Vec<usize>,
}

/// One column of a [`Shape`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type; `None` where the system does not fix one (SQLite columns without a declared type).
    pub kind: Option<Type>,
    /// Whether it may hold null.
    pub nullable: bool,
    /// Most characters of its texts, where the system says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<u32>,
    /// Whether its documents are lists, where the system says.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub list: bool,
}

/// One row, by column position of its [`Shape`].
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Row(pub Vec<Cell>);

impl Shape {
    /// The position of a column.
    #[must_use]
    pub fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// The columns' names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }
}

impl Column {
    /// A column of a known type.
    pub fn new(name: impl Into<String>, kind: Type, nullable: bool) -> Self {
        Column {
            name: name.into(),
            kind: Some(kind),
            nullable,
            length: None,
            list: false,
        }
    }

    /// The column with a bound on its texts.
    #[must_use]
    pub fn within(self, length: Option<u32>) -> Self {
        Column { length, ..self }
    }

    /// The column as one whose documents are lists, or not.
    #[must_use]
    pub fn listing(self, list: bool) -> Self {
        Column { list, ..self }
    }
}

impl Row {
    /// A row whose every column is known.
    pub fn of(values: impl IntoIterator<Item = Value>) -> Self {
        Row(values.into_iter().map(Cell::Set).collect())
    }

    /// A row of `width` columns of which nothing is known.
    #[must_use]
    pub fn unchanged(width: usize) -> Self {
        Row(vec![Cell::Unchanged; width])
    }

    /// The cell at a position; a row shorter than its shape says nothing about the rest.
    #[inline]
    #[must_use]
    pub fn cell(&self, position: usize) -> &Cell {
        self.0.get(position).unwrap_or(&Cell::Unchanged)
    }

    /// The value at a position, if the source sent it.
    #[must_use]
    pub fn value(&self, position: usize) -> Option<&Value> {
        self.cell(position).value()
    }

    /// Tells whether every column is known.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.0.iter().all(|cell| !cell.is_unchanged())
    }
}
