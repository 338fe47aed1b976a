//! The tables of the system: their columns, and which of them is for what.
//!
//! Written down here, because the API does not describe itself; one that does is asked instead, and what it says is kept.

use std::sync::Arc;

use lockstep_core::contract::drift::GONE;
use lockstep_core::diagnostic::suggestion;
use lockstep_core::{Column, Error, Result, Row, Shape, Type};
use lockstep_http_client::Json;

use crate::convert;

/// The column of the id that the system itself gives a record.
pub(crate) const ID: &str = "id";
/// The column whose value grows with every change of a record.
pub(crate) const GROWING: &str = "changed_at";
/// The column with an identity from outside: records are looked up by it, and no two bear the same.
pub(crate) const CODE: &str = "code";
/// The columns that the system fills.
pub(crate) const FILLED: [&str; 2] = [ID, GROWING];

/// Every table, with its columns, their types, and whether they may be null.
const TABLES: &[Table] = &[Table {
    name: "customers",
    columns: &[
        (ID, Type::Text, false),
        (CODE, Type::Text, true),
        ("name", Type::Text, false),
        ("credit", Type::DECIMAL, true),
        ("active", Type::Bool, false),
        ("notes", Type::Text, true),
        (GROWING, Type::Timestamp, false),
    ],
}];

/// A table of the system.
#[derive(Debug)]
pub(crate) struct Table {
    /// What it is called in paths and in configurations.
    pub(crate) name: &'static str,
    columns: &'static [(&'static str, Type, bool)],
}

/// The table of a name.
///
/// # Errors
/// A name that no table has, under the code for tables that are gone.
pub(crate) fn table(name: &str) -> Result<&'static Table> {
    let found = TABLES.iter().find(|table| table.name == name);
    found.ok_or_else(|| {
        let known = TABLES.iter().map(|table| table.name);
        Error::config(format!("no such table `{name}`"))
            .code(GONE)
            .help(suggestion(name, known))
    })
}

/// The shapes of tables, in the order of their names.
///
/// # Errors
/// As [`table`].
pub(crate) fn shapes(names: &[String]) -> Result<Vec<Arc<Shape>>> {
    let shape = |name: &String| Ok(Arc::new(table(name)?.shape()));
    names.iter().map(shape).collect()
}

impl Table {
    /// The shape of its rows; their key is the system's own id.
    pub(crate) fn shape(&self) -> Shape {
        let columns = self.columns.iter();
        Shape {
            name: self.name.to_owned(),
            columns: columns
                .map(|(name, kind, nullable)| Column::new(*name, *kind, *nullable))
                .collect(),
            key: vec![0],
        }
    }

    /// The type of a column.
    ///
    /// # Errors
    /// A column that the table has not, with the nearest one.
    pub(crate) fn kind(&self, column: &str) -> Result<Type> {
        let found = self.columns.iter().find(|(name, ..)| *name == column);
        found.map(|(_, kind, _)| *kind).ok_or_else(|| {
            let known = self.columns.iter().map(|(name, ..)| *name);
            Error::config(format!("`{}` has no column `{column}`", self.name))
                .help(suggestion(column, known))
        })
    }

    /// Columns with their types.
    ///
    /// # Errors
    /// As [`Table::kind`].
    pub(crate) fn kinds(&self, columns: &[String]) -> Result<Vec<(String, Type)>> {
        let kind = |column: &String| Ok((column.clone(), self.kind(column)?));
        columns.iter().map(kind).collect()
    }
}

/// A record as a row of these columns.
pub(crate) fn row(record: &Json, columns: &[(String, Type)]) -> Row {
    let cell = |(name, kind): &(String, Type)| convert::read(record.get(name), *kind);
    Row::of(columns.iter().map(cell))
}

/// The system's own id of a record.
///
/// # Errors
/// A record without one.
pub(crate) fn id(record: &Json) -> Result<String> {
    let id = record.get(ID).and_then(Json::plain);
    id.ok_or_else(|| Error::unexpected("a record of the system bears no `id`"))
}
